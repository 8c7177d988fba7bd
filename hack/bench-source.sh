#!/usr/bin/env bash
# Compares the change capture of a sync from PostgreSQL to RocketMQ with Debezium Server's RocketMQ sink, and with pg_recvlogical, which
# only reads the changes, as the limit; in turns, on one database and one broker. Medians and ratios go into docs/benchmarks.md.
#   bench-source.sh
# Environment:
#   ROUNDS=3            rounds; the figures are medians
#   ROWS=200000         rows of about 1 KiB that wait in the log
#   VERSION=5.4.0       RocketMQ of the broker
#   WORKER=FILE         a compiled rocketmq-connector instead of building it in release
#   DEBEZIUM_JAVA=FILE  a java of 21 or newer; without one Debezium is left out
#   WRITE=0             print the table only
# Debezium Server's archive (780 MB) is fetched from Maven Central, once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/rocketmq/settings.sh"
. "$REPOSITORY/hack/bench-servers.sh"
cd "$REPOSITORY"
export ROUNDS=${ROUNDS:-3} ROWS=${ROWS:-200000} VERSION=${VERSION:-5.4.0} WRITE=${WRITE:-1}
INSTANCE=bench-source DATABASE_INSTANCE=bench-source BASE_PORT=28800 PORT=28890
export NAME_SERVER=127.0.0.1:$BASE_PORT BROKER=127.0.0.1:$((BASE_PORT + 11)) RESULTS=$CACHE/bench-source
rm -rf "$RESULTS" # an offset of another database would stand in the way
mkdir -p "$RESULTS"

# The first java on this machine that Debezium Server runs with.
find_java() {
  local java
  for java in "${DEBEZIUM_JAVA:-}" /usr/lib/jvm/*/bin/java; do
    [ -x "$java" ] && [ "$("$java" -version 2>&1 | sed -n '1s/[^"]*"\([0-9]*\).*/\1/p')" -ge 21 ] && { echo "$java"; return; }
  done
}

release_build WORKER
export WORKER
JAVA=$(find_java)
export JAVA DEBEZIUM=$CACHE/debezium/debezium-server DEBEZIUM_VERSION
if [ -n "$JAVA" ] && [ ! -d "$DEBEZIUM/lib" ]; then
  step "fetching Debezium Server $DEBEZIUM_VERSION"
  mvn -q -B "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:unpack" \
    "-Dartifact=io.debezium:debezium-server-dist:$DEBEZIUM_VERSION:tar.gz" "-DoutputDirectory=$CACHE/debezium"
fi

stop_at_end
"$CLUSTER_SCRIPTS/rocketmq/install.sh" "$VERSION"
"$CLUSTER_SCRIPTS/databases/install.sh"
DATABASES=$("$CLUSTER_SCRIPTS/databases/status.sh" folder)
SETTINGS="shared_buffers=256MB max_wal_size=4GB" "$CLUSTER_SCRIPTS/databases/up.sh" postgres "$DATABASE_INSTANCE" "$PORT"
# the JVM's own choice of compilers: the broker should not be the slowest part
INSTANCE=$INSTANCE PROXY=none HEAP=1g JAVA_OPTIONS='' "$CLUSTER_SCRIPTS/rocketmq/up.sh" "$VERSION" plain "$BASE_PORT"
set -a
# shellcheck source=/dev/null
. "$DATABASES/$DATABASE_INSTANCE/env"
set +a
export PATH=$PATH:/usr/lib/postgresql/$POSTGRES_VERSION/bin
for round in $(seq "$ROUNDS"); do
  for run in ours debezium; do
    "$CLUSTER_SCRIPTS/rocketmq/mqadmin.sh" "$INSTANCE" updateTopic -c DefaultCluster -t "bench-$run-$round" -r 8 -w 8 > /dev/null
  done
done
python3 hack/bench-source.py docs/benchmarks.md
