#!/usr/bin/env bash
# Starts S3 servers on loopback ports and returns once they answer.
#   up.sh                               the instances of settings.sh; those that run are left alone
#   up.sh plain|tls INSTANCE PORT       one of your own, anew: what ran under its name is stopped first
# Environment:
#   SET=conformance|e2e      which instances of settings.sh
#   BIND_ADDRESS=127.0.0.1   address to listen on
#   KEEP=1                   keep the objects of an instance that is started anew
# An instance's `env` has ENDPOINT, REGION, ACCESS_KEY, SECRET_KEY, DATA (the folder whose folders are the buckets) and CA_FILE.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
HERE=$CLUSTER_SCRIPTS/objects
BIND_ADDRESS=${BIND_ADDRESS:-127.0.0.1}

if [ $# = 0 ]; then
  "$HERE/install.sh" > /dev/null
  while read -r instance kind port; do
    running "$instance" || KEEP=1 "$HERE/up.sh" "$kind" "$instance" "$port" < /dev/null
  done <<< "$INSTANCES"
  exit 0
fi
[ -x "$VERSITYGW" ] || die "versitygw $VERSITYGW_VERSION is not installed; run install.sh"
[ $# = 3 ] || die "usage: up.sh [plain|tls INSTANCE PORT]"
KIND=$1 INSTANCE=$2 PORT=$3
FOLDER=$RUN/$INSTANCE

case $KIND in
  plain) SCHEME=http TLS=() ;;
  tls) SCHEME=https TLS=(--cert "$CERTIFICATES/server.pem" --key "$CERTIFICATES/server.key") && "$CLUSTER_SCRIPTS/rocketmq/mkcert.sh" ;;
  *) die "kind \"$KIND\" is not known; use plain or tls" ;;
esac
HOST=$BIND_ADDRESS
[ "$KIND" = plain ] || HOST=localhost # the name in the certificate

stop_process "$FOLDER/pid"
[ -n "${KEEP:-}" ] || rm -rf "$FOLDER"
mkdir -p "$FOLDER/data" "$FOLDER/metadata"
cat > "$FOLDER/env" <<END
KIND=$KIND
ENDPOINT=$SCHEME://$HOST:$PORT
PORT=$PORT
REGION=$REGION
ACCESS_KEY=$ACCESS_KEY
SECRET_KEY=$SECRET_KEY
DATA=$FOLDER/data
CA_FILE=$CERTIFICATES/ca.pem
END
# Metadata in a folder of its own, not in extended attributes, which not every file system of a test machine has.
ROOT_ACCESS_KEY=$ACCESS_KEY ROOT_SECRET_KEY=$SECRET_KEY setsid nohup "$VERSITYGW" --port "$BIND_ADDRESS:$PORT" --region "$REGION" \
  --quiet "${TLS[@]}" posix --sidecar "$FOLDER/metadata" "$FOLDER/data" >> "$FOLDER/log" 2>&1 < /dev/null &
echo $! > "$FOLDER/pid"
for _ in $(seq 300); do
  if (exec 3<> "/dev/tcp/$BIND_ADDRESS/$PORT") 2> /dev/null; then
    step "$INSTANCE: versitygw $SCHEME://$HOST:$PORT"
    exit 0
  fi
  pid_alive "$FOLDER/pid" || { tail -n 20 "$FOLDER/log" >&2; die "$INSTANCE died while it started"; }
  sleep 0.1
done
die "$INSTANCE did not accept connections within 30 s; see $FOLDER/log"
