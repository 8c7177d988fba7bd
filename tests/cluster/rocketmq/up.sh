#!/usr/bin/env bash
# Starts one RocketMQ name server and broker on loopback, and waits until the broker has registered itself.
#   up.sh VERSION VARIANT BASEPORT
#     VERSION   4.9.7 | 5.4.0 (any version that install.sh resolved)
#     VARIANT   plain | acl (4.x: ACL 1.0, 5.x: ACL 2.0) | tls (enforcing, certificates by mkcert.sh)
#     BASEPORT  name server; broker = +11, its fast port +9, its HA port +12, 5.x proxy: remoting +20, gRPC +21
# State is kept in $RUN/INSTANCE; its `env` file names the addresses, the users and the certificates.
#
# Environment:
#   INSTANCE=VERSION-VARIANT   name of the instance's folder
#   BIND_ADDRESS=127.0.0.1     address to listen on and to advertise; a cluster's pods need the bridge's address.
#                              (4.9 and the 5.x proxy cannot choose their listen address: there it is only the advertised one)
#   WHAT=all|ns|broker         (re)start only that one
#   KEEP=1                     keep the store of an earlier run; default for WHAT=ns and WHAT=broker
#   BROKER_NAME=broker-a BROKER_ID=0 BROKER_ROLE=ASYNC_MASTER|SYNC_MASTER|SLAVE
#                              another name or id adds a broker (without a proxy) to an instance that already runs
#   BROKER_PORT=PORT           default BASEPORT+11; added brokers: slave of broker-a +41, broker-b +61, its slave +81
#   HEAP=384m JAVA_OPTIONS="-XX:TieredStopAtLevel=1" LOG_LEVEL=WARN
#   PROXY=none                 5.x without the gRPC proxy
#   TLS_CLIENT_AUTH=optional   none | optional | require: whether the tls servers ask for a client certificate
#   BROKER_SETTINGS="k=v"      further lines for broker.conf
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

[ $# = 3 ] || die "usage: up.sh VERSION VARIANT BASEPORT"
VERSION=$1 VARIANT=$2 BASE_PORT=$3
case $VARIANT in plain | acl | tls) ;; *) die "variant \"$VARIANT\" is not known; use plain, acl or tls" ;; esac
INSTANCE=${INSTANCE:-$VERSION-$VARIANT}
BIND_ADDRESS=${BIND_ADDRESS:-127.0.0.1}
WHAT=${WHAT:-all}
HEAP=${HEAP:-384m}
JAVA_OPTIONS=${JAVA_OPTIONS--XX:TieredStopAtLevel=1}
LOG_LEVEL=${LOG_LEVEL:-WARN}
BROKER_NAME=${BROKER_NAME:-broker-a} BROKER_ID=${BROKER_ID:-0} BROKER_ROLE=${BROKER_ROLE:-ASYNC_MASTER}

LIBRARIES=$CACHE/rocketmq/lib-$VERSION
FOLDER=$RUN/$INSTANCE
NAME_SERVER_HOME=$FOLDER/name-server
BROKER_HOME=$FOLDER/$BROKER_NAME-$BROKER_ID
PROXY_GRPC_PORT=$((BASE_PORT + 21))

# The instance's own broker, or one that is added to it?
case $BROKER_NAME-$BROKER_ID in
  broker-a-0) ADDED='' default_broker_port=$((BASE_PORT + 11)) ;;
  broker-a-*) ADDED=1 default_broker_port=$((BASE_PORT + 41)) ;;
  *-0) ADDED=1 default_broker_port=$((BASE_PORT + 61)) ;;
  *) ADDED=1 default_broker_port=$((BASE_PORT + 81)) ;;
esac
BROKER_PORT=${BROKER_PORT:-$default_broker_port}
[ -z "$ADDED" ] || WHAT=broker
HAS_PROXY=
case $VERSION in 4.*) ;; *) [ -n "$ADDED" ] || [ "${PROXY:-local}" = none ] || HAS_PROXY=1 ;; esac

# ---- configuration files

write_env() {
  cat > "$FOLDER/env" <<EOF
INSTANCE=$INSTANCE
VERSION=$VERSION
VARIANT=$VARIANT
BASE_PORT=$BASE_PORT
NAME_SERVER=$BIND_ADDRESS:$BASE_PORT
BROKER=$BIND_ADDRESS:$((BASE_PORT + 11))
PROXY_GRPC=${HAS_PROXY:+$BIND_ADDRESS:$PROXY_GRPC_PORT}
EOF
  case $VARIANT in
    acl) cat >> "$FOLDER/env" <<EOF
ADMIN_ACCESS_KEY=$ADMIN_ACCESS_KEY
ADMIN_SECRET_KEY=$ADMIN_SECRET_KEY
APP_ACCESS_KEY=$APP_ACCESS_KEY
APP_SECRET_KEY=$APP_SECRET_KEY
EOF
      ;;
    tls) cat >> "$FOLDER/env" <<EOF
CA_FILE=$CERTIFICATES/ca.pem
CLIENT_CERTIFICATE_FILE=$CERTIFICATES/client.pem
CLIENT_KEY_FILE=$CERTIFICATES/client.key
OTHER_CA_FILE=$CERTIFICATES/other-ca.pem
OTHER_CLIENT_CERTIFICATE_FILE=$CERTIFICATES/other-client.pem
OTHER_CLIENT_KEY_FILE=$CERTIFICATES/other-client.key
EOF
      ;;
  esac
}

# 4.x finds its logging configuration in ROCKETMQ_HOME/conf and, without it, writes below the user's home.
write_logback() { # HOME NAME
  cat > "$1/conf/logback_$2.xml" <<EOF
<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>$1/logs/$2.log</file><encoder><pattern>%d %p %t %c - %m%n</pattern></encoder>
  </appender>
  <root level="$LOG_LEVEL"><appender-ref ref="FILE"/></root>
</configuration>
EOF
}

write_name_server_configuration() {
  mkdir -p "$NAME_SERVER_HOME/conf" "$NAME_SERVER_HOME/logs"
  cat > "$NAME_SERVER_HOME/conf/namesrv.properties" <<EOF
listenPort=$BASE_PORT
bindAddress=$BIND_ADDRESS
kvConfigPath=$NAME_SERVER_HOME/kvConfig.json
configStorePath=$NAME_SERVER_HOME/conf/namesrv.properties
EOF
  write_logback "$NAME_SERVER_HOME" namesrv
}

write_broker_configuration() {
  mkdir -p "$BROKER_HOME/conf" "$BROKER_HOME/logs" "$BROKER_HOME/store"
  # waitTimeMillsInSendQueue: the default of 200 ms gives "broker busy" on a loaded machine.
  # transaction*: check-backs within seconds, so that a test need not wait a minute.
  cat > "$BROKER_HOME/conf/broker.conf" <<EOF
brokerClusterName=DefaultCluster
brokerName=$BROKER_NAME
brokerId=$BROKER_ID
brokerRole=$BROKER_ROLE
flushDiskType=ASYNC_FLUSH
namesrvAddr=$BIND_ADDRESS:$BASE_PORT
brokerIP1=$BIND_ADDRESS
brokerIP2=$BIND_ADDRESS
bindAddress=$BIND_ADDRESS
listenPort=$BROKER_PORT
haListenPort=$((BROKER_PORT + 1))
storePathRootDir=$BROKER_HOME/store
storePathCommitLog=$BROKER_HOME/store/commitlog
mappedFileSizeCommitLog=134217728
diskMaxUsedSpaceRatio=95
autoCreateTopicEnable=true
autoCreateSubscriptionGroup=true
enablePropertyFilter=true
traceTopicEnable=false
messageDelayLevel=1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h
waitTimeMillsInSendQueue=3000
transactionTimeOut=2000
transactionCheckInterval=2000
EOF
  write_logback "$BROKER_HOME" broker
  case $VERSION in
    4.*) [ "$VARIANT" != acl ] || write_acl_1 ;;
    *)
      # The timer wheel (37 MB) is written out every second by default, which keeps an idle broker at 18 % of a core.
      printf 'timerWheelEnable=true\ntimerMaxDelaySec=259200\ntimerFlushIntervalMs=20000\n' >> "$BROKER_HOME/conf/broker.conf"
      [ "$VARIANT" != acl ] || write_acl_2
      [ -z "$HAS_PROXY" ] || write_proxy_configuration
      ;;
  esac
  [ -z "${BROKER_SETTINGS:-}" ] || printf '%s\n' "$BROKER_SETTINGS" >> "$BROKER_HOME/conf/broker.conf"
}

write_acl_1() {
  echo "aclEnable=true" >> "$BROKER_HOME/conf/broker.conf"
  cat > "$BROKER_HOME/conf/plain_acl.yml" <<EOF
globalWhiteRemoteAddresses: []
accounts:
- accessKey: $APP_ACCESS_KEY
  secretKey: $APP_SECRET_KEY
  whiteRemoteAddress:
  admin: false
  defaultTopicPerm: DENY
  defaultGroupPerm: SUB
  topicPerms:
  - allowed=PUB|SUB
  - allowed-pub=PUB
  groupPerms:
  - g-allowed=PUB|SUB
- accessKey: $ADMIN_ACCESS_KEY
  secretKey: $ADMIN_SECRET_KEY
  whiteRemoteAddress:
  admin: true
EOF
}

# Only the super user can be given in the configuration; grant_application_user adds the other one once the broker runs.
write_acl_2() {
  cat >> "$BROKER_HOME/conf/broker.conf" <<EOF
authenticationEnabled=true
authenticationProvider=org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider
authenticationMetadataProvider=org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider
initAuthenticationUser={"username":"$ADMIN_ACCESS_KEY","password":"$ADMIN_SECRET_KEY"}
innerClientAuthenticationCredentials={"accessKey":"$ADMIN_ACCESS_KEY","secretKey":"$ADMIN_SECRET_KEY"}
authorizationEnabled=true
authorizationProvider=org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider
authorizationMetadataProvider=org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider
EOF
}

write_proxy_configuration() {
  local tls=
  [ "$VARIANT" != tls ] || tls="\"tlsTestModeEnable\":false,\"tlsKeyPath\":\"$CERTIFICATES/server.key\",\"tlsCertPath\":\"$CERTIFICATES/server.pem\","
  cat > "$BROKER_HOME/conf/rmq-proxy.json" <<EOF
{"rocketMQClusterName":"DefaultCluster","namesrvAddr":"$BIND_ADDRESS:$BASE_PORT","proxyMode":"LOCAL",$tls
 "grpcServerPort":$PROXY_GRPC_PORT,"remotingListenPort":$((BASE_PORT + 20)),"useEndpointPortFromRequest":true}
EOF
}

# The broker is itself a client of the name server: it needs the client half, and TLS switched on, as well.
write_tls_configuration() {
  "$(dirname "${BASH_SOURCE[0]}")/mkcert.sh"
  cat > "$FOLDER/tls.properties" <<EOF
tls.test.mode.enable=false
tls.server.need.client.auth=${TLS_CLIENT_AUTH:-optional}
tls.server.keyPath=$CERTIFICATES/server.key
tls.server.certPath=$CERTIFICATES/server.pem
tls.server.authClient=true
tls.server.trustCertPath=$CERTIFICATES/ca.pem
tls.client.keyPath=$CERTIFICATES/client.key
tls.client.certPath=$CERTIFICATES/client.pem
tls.client.authServer=true
tls.client.trustCertPath=$CERTIFICATES/ca.pem
EOF
  TLS_FLAGS=(-Dtls.enable=true -Dtls.server.mode=enforcing -Dtls.test.mode.enable=false "-Dtls.config.file=$FOLDER/tls.properties")
}

# ---- processes

# RocketMQ of this age maps and unmaps files through JDK internals that JDK 17 keeps closed.
JAVA_MODULES=(--add-opens java.base/java.nio=ALL-UNNAMED --add-opens java.base/sun.nio.ch=ALL-UNNAMED)
case $VERSION in 4.*) JAVA_MODULES+=(--add-opens java.base/jdk.internal.ref=ALL-UNNAMED) ;; esac
TLS_FLAGS=()

start() { # NAME HOME HEAP CLASS [ARGUMENT...]
  local name=$1 home=$2 heap=$3
  shift 3
  # shellcheck disable=SC2086  # JAVA_OPTIONS is a list of flags
  ROCKETMQ_HOME=$home setsid nohup java "-Duser.home=$home" "-Xms64m" "-Xmx$heap" -XX:+UseSerialGC -XX:MaxDirectMemorySize=512m \
    -XX:-UsePerfData "${JAVA_MODULES[@]}" "${TLS_FLAGS[@]}" $JAVA_OPTIONS "-Drocketmq.client.logRoot=$home/logs" \
    -cp "$home/conf:$LIBRARIES/*" "$@" > "$home/logs/$name.out" 2>&1 < /dev/null &
  echo $! > "$home/pid"
}

await_port() { # NAME HOME PORT
  for _ in $(seq 1200); do
    (: > "/dev/tcp/$BIND_ADDRESS/$3") 2>/dev/null && return 0
    pid_alive "$2/pid" || { tail -n 20 "$2/logs/$1.out" >&2; die "$INSTANCE: $1 died"; }
    sleep 0.1
  done
  die "$INSTANCE: $1 did not listen on port $3 within 120 s; see $2/logs"
}

start_name_server() {
  start name-server "$NAME_SERVER_HOME" 128m org.apache.rocketmq.namesrv.NamesrvStartup -c "$NAME_SERVER_HOME/conf/namesrv.properties"
  await_port name-server "$NAME_SERVER_HOME" "$BASE_PORT"
}

remoting() { python3 "$(dirname "${BASH_SOURCE[0]}")/remoting.py" "$@"; }
REMOTING_TLS=()
[ "$VARIANT" != tls ] || REMOTING_TLS=(--ca "$CERTIFICATES/ca.pem")

start_broker() {
  if [ -n "$HAS_PROXY" ]; then
    start broker "$BROKER_HOME" "$HEAP" org.apache.rocketmq.proxy.ProxyStartup -pm local -bc "$BROKER_HOME/conf/broker.conf" -pc "$BROKER_HOME/conf/rmq-proxy.json"
  else
    start broker "$BROKER_HOME" "$HEAP" org.apache.rocketmq.broker.BrokerStartup -c "$BROKER_HOME/conf/broker.conf"
  fi
  await_port broker "$BROKER_HOME" "$BROKER_PORT"
  [ -z "$HAS_PROXY" ] || await_port broker "$BROKER_HOME" "$PROXY_GRPC_PORT"
  # The ports are open before the broker is usable: it has to appear at the name server first.
  remoting "${REMOTING_TLS[@]}" await-broker "$BIND_ADDRESS:$BASE_PORT" "$BIND_ADDRESS:$BROKER_PORT"
}

grant_application_user() {
  local admin=(--access-key "$ADMIN_ACCESS_KEY" --secret-key "$ADMIN_SECRET_KEY") broker=$BIND_ADDRESS:$BROKER_PORT
  remoting "${admin[@]}" create-user "$broker" "$APP_ACCESS_KEY" "$APP_SECRET_KEY"
  remoting "${admin[@]}" allow "$broker" "$APP_ACCESS_KEY" Topic:allowed Pub,Sub
  remoting "${admin[@]}" allow "$broker" "$APP_ACCESS_KEY" Topic:allowed-pub Pub
  remoting "${admin[@]}" allow "$broker" "$APP_ACCESS_KEY" Group:g-allowed Sub
}

# ---- main

[ -f "$LIBRARIES/.complete" ] || die "RocketMQ $VERSION is not installed; run install.sh $VERSION"
if [ -n "$ADDED" ] && [ ! -f "$FOLDER/env" ]; then die "instance \"$INSTANCE\" does not run; start it before you add $BROKER_NAME-$BROKER_ID"; fi
case $WHAT in
  all)
    for pid_file in "$FOLDER"/*/pid; do stop_process "$pid_file"; done
    [ -n "${KEEP:-}" ] || rm -rf "$FOLDER" ;;
  ns) stop_process "$NAME_SERVER_HOME/pid" ;;
  broker) stop_process "$BROKER_HOME/pid" ;;
  *) die "WHAT=\"$WHAT\" is not known; use all, ns or broker" ;;
esac
mkdir -p "$FOLDER"
[ -n "$ADDED" ] || write_env
[ "$VARIANT" != tls ] || write_tls_configuration
if [ "$WHAT" != broker ]; then write_name_server_configuration; start_name_server; fi
if [ "$WHAT" != ns ]; then
  write_broker_configuration
  start_broker
  case $VERSION-$VARIANT in 4.* | *-plain | *-tls) ;; *) [ -n "$ADDED" ] || grant_application_user ;; esac
fi
step "$INSTANCE: name server $BIND_ADDRESS:$BASE_PORT, $BROKER_NAME-$BROKER_ID $BIND_ADDRESS:$BROKER_PORT${HAS_PROXY:+, gRPC $BIND_ADDRESS:$PROXY_GRPC_PORT}"
