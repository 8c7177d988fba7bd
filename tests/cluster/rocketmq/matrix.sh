#!/usr/bin/env bash
# The brokers that the tests use, on fixed ports.
#   matrix.sh up|down|status [conformance|e2e]
#     conformance   {4.9.7, 5.4.0} x {plain, acl, tls} on loopback (default)
#     e2e           5.4.0 plain and 4.9.7 acl at the cluster's bridge, so that pods reach them
# `up` starts two at a time, leaves running instances alone, and returns once all have registered.
# Environment: E2E_BROKER_ADDRESS (an address of this machine, default the bridge's), and what up.sh reads.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
# shellcheck source=../kubernetes/settings.sh
. "$CLUSTER_SCRIPTS/kubernetes/settings.sh"
HERE=$CLUSTER_SCRIPTS/rocketmq
USAGE="usage: matrix.sh up|down|status [conformance|e2e]"

# INSTANCE VERSION VARIANT BASEPORT ADDRESS
case ${2:-conformance} in
  conformance) MATRIX="4.9.7-plain 4.9.7 plain 19800 127.0.0.1
4.9.7-acl 4.9.7 acl 19900 127.0.0.1
4.9.7-tls 4.9.7 tls 19700 127.0.0.1
5.4.0-plain 5.4.0 plain 29800 127.0.0.1
5.4.0-acl 5.4.0 acl 29900 127.0.0.1
5.4.0-tls 5.4.0 tls 30100 127.0.0.1" ;;
  # below 32768: what is above may be the local port of any connection
  e2e) MATRIX="e2e-5.4.0 5.4.0 plain 21800 ${E2E_BROKER_ADDRESS:-$NODE_ADDRESS}
e2e-4.9.7 4.9.7 acl 22800 ${E2E_BROKER_ADDRESS:-$NODE_ADDRESS}" ;;
  *) die "$USAGE" ;;
esac

running() { # INSTANCE
  [ -f "$RUN/$1/env" ] && pid_alive "$RUN/$1/name-server/pid" && pid_alive "$RUN/$1/broker-a-0/pid"
}

up_one() { # INSTANCE VERSION VARIANT BASEPORT ADDRESS
  ! running "$1" || return 0
  if ! INSTANCE=$1 BIND_ADDRESS=$5 "$HERE/up.sh" "$2" "$3" "$4" > "$RUN/$1.start.log" 2>&1; then
    sed "s/^/$1: /" "$RUN/$1.start.log" >&2
    return 1
  fi
}

up() {
  mkdir -p "$RUN"
  "$HERE/install.sh"
  "$HERE/mkcert.sh"
  local failed=0 instance version variant port address job jobs=()
  while read -r instance version variant port address; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do sleep 0.2; done
    up_one "$instance" "$version" "$variant" "$port" "$address" < /dev/null &
    jobs+=($!)
  done <<< "$MATRIX"
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  status || failed=1
  return $failed
}

status() {
  local failed=0 instance version variant port address state
  while read -r instance version variant port address; do
    state=running
    running "$instance" || { state=stopped; failed=1; }
    printf '%-12s %-8s name server %s:%s\n' "$instance" "$state" "$address" "$port"
  done <<< "$MATRIX"
  return $failed
}

down() {
  local instance rest
  while read -r instance rest; do "$HERE/down.sh" "$instance" < /dev/null & done <<< "$MATRIX"
  wait
}

case ${1:-} in up) up ;; down) down ;; status) status ;; *) die "$USAGE" ;; esac
