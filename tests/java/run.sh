#!/usr/bin/env bash
# run.sh CLASS ARGUMENT...: compiles the programs of this folder when they have changed, then runs CLASS (Peer, Bench).
# EXTRA_JARS names further jars, which run time needs: JdbcPipeline's driver.
# The RocketMQ jars come from tests/cluster/rocketmq/install.sh; classes and client logs go to the same cache folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../cluster/versions.env
. "$here/../cluster/versions.env"
version=${ROCKETMQ_CLIENT_VERSION:-${ROCKETMQ_VERSIONS##* }}
cache=${ROCKETMQ_CONNECTOR_CACHE:-$HOME/.cache/rocketmq-connector}
library=$cache/rocketmq/lib-$version
[ -f "$library/rocketmq-client-$version.jar" ] || {
  echo "error: $library holds no rocketmq-client-$version.jar: run tests/cluster/rocketmq/install.sh" >&2; exit 1; }
[ $# -gt 0 ] || { echo "error: class missing: run.sh Peer|Bench ARGUMENT..." >&2; exit 2; }

# Classes are kept per content of the sources, so a concurrent run never sees a half-written folder.
sum=$(cat "$here"/*.java | sha256sum | cut -c1-16)
classes=$cache/java/$version-$sum
if [ ! -d "$classes" ]; then
  mkdir -p "$cache/java"
  fresh=$(mktemp -d "$cache/java/build.XXXXXX")
  javac -nowarn -XDsuppressNotes -cp "$library/*" -d "$fresh" "$here"/*.java
  mv -T "$fresh" "$classes" 2>/dev/null || rm -rf "$fresh"
fi

case $1 in
  Bench | JdbcPipeline) flags="-Xms256m -Xmx512m" ;;                                               # the JVM's own choice of compilers and collector
  *) flags="-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto" ;;      # quick to start
esac
# shellcheck disable=SC2086
exec java $flags ${JAVA_FLAGS:-} -Drocketmq.client.logUseSlf4j=false -Drocketmq.client.logRoot="$cache/java/logs" \
  -Drmq.logback.configurationFile=/nonexistent -cp "$classes:$library/*${EXTRA_JARS:+:$EXTRA_JARS}" "$@"
