#!/usr/bin/env bash
# The broker matrix of the conformance tests: {4.9.7, 5.4.0} x {plain, acl, tls} on fixed loopback ports.
#   matrix.sh up | down | status
# `up` starts two at a time, leaves running instances alone, and returns once all have registered.
# Other environment variables (HEAP, JAVA_OPTIONS) reach up.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
HERE=$CLUSTER_SCRIPTS/rocketmq

# VERSION VARIANT BASEPORT
MATRIX="4.9.7 plain 19800
4.9.7 acl 19900
4.9.7 tls 19700
5.4.0 plain 29800
5.4.0 acl 29900
5.4.0 tls 30100"

running() { # INSTANCE
  [ -f "$RUN/$1/env" ] && pid_alive "$RUN/$1/name-server/pid" && pid_alive "$RUN/$1/broker-a-0/pid"
}

up_one() { # VERSION VARIANT BASEPORT
  mkdir -p "$RUN"
  ! running "$1-$2" || return 0
  if ! "$HERE/up.sh" "$@" > "$RUN/$1-$2.start.log" 2>&1; then
    sed "s/^/$1-$2: /" "$RUN/$1-$2.start.log" >&2
    return 1
  fi
  tail -n 1 "$RUN/$1-$2.start.log"
}

up() {
  "$HERE/install.sh"
  "$HERE/mkcert.sh"
  local failed=0 version variant port
  while read -r version variant port; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n || failed=1; done
    up_one "$version" "$variant" "$port" < /dev/null &
  done <<< "$MATRIX"
  while [ -n "$(jobs -p)" ]; do wait -n || { [ $? = 127 ] && break; failed=1; }; done
  status || failed=1
  return $failed
}

status() {
  local failed=0 version variant port state
  while read -r version variant port; do
    state=running
    running "$version-$variant" || { state=stopped; failed=1; }
    printf '%-12s %s (name server %s)\n' "$version-$variant" "$state" "127.0.0.1:$port"
  done <<< "$MATRIX"
  return $failed
}

down() {
  local version variant port
  while read -r version variant port; do "$HERE/down.sh" "$version-$variant" < /dev/null & done <<< "$MATRIX"
  wait
}

case ${1:-} in up) up ;; down) down ;; status) status ;; *) die "usage: matrix.sh up|down|status" ;; esac
