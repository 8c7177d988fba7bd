#!/usr/bin/env bash
# RocketMQ's own administration tool against an instance, as its super user.
#   mqadmin.sh INSTANCE SUBCOMMAND [ARGUMENT...]      e.g. mqadmin.sh 5.4.0-plain topicList
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

[ $# -ge 2 ] || die "usage: mqadmin.sh INSTANCE SUBCOMMAND [ARGUMENT...]"
folder=$RUN/$1
[ -f "$folder/env" ] || die "instance \"$1\" does not exist in $RUN"
# shellcheck source=/dev/null
. "$folder/env"
shift
home=$folder/tools
mkdir -p "$home/conf" "$home/logs"
printf 'accessKey: %s\nsecretKey: %s\n' "$ADMIN_ACCESS_KEY" "$ADMIN_SECRET_KEY" > "$home/conf/tools.yml"
cat > "$home/conf/logback_tools.xml" <<EOF
<configuration><appender name="FILE" class="ch.qos.logback.core.FileAppender"><file>$home/logs/tools.log</file>
<encoder><pattern>%d %p %t %c - %m%n</pattern></encoder></appender><root level="WARN"><appender-ref ref="FILE"/></root></configuration>
EOF
cp "$home/conf/logback_tools.xml" "$home/conf/rmq.tools.logback.xml"
tls=()
[ "$VARIANT" != tls ] || tls=(-Dtls.enable=true "-Dtls.config.file=$folder/tls.properties")
ROCKETMQ_HOME=$home NAMESRV_ADDR=$NAME_SERVER exec java "-Duser.home=$home" -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
  "${tls[@]}" "-Drocketmq.namesrv.addr=$NAME_SERVER" -cp "$home/conf:$CACHE/rocketmq/lib-$VERSION/*" \
  org.apache.rocketmq.tools.command.MQAdminStartup "$@"
