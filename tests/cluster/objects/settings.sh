# shellcheck shell=bash disable=SC2034 # the sourcing script uses the names
# Where object stores live and how they are run. Sourced by the scripts of this folder.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# One folder an instance, each with an `env` file that tests read. Tests get this folder as OBJECTS_TEST_RUN.
RUN=${OBJECTS_TEST_RUN:-$CACHE/run/objects}
CERTIFICATES=${CERTIFICATES:-$CACHE/rocketmq/certificates}
VERSITYGW=$CACHE/bin/versitygw-$VERSITYGW_VERSION

# The instances of the tests, on fixed ports: INSTANCE plain|tls PORT. That of e2e is reached by pods: see BIND_ADDRESS of up.sh.
case ${SET:=conformance} in
  conformance) INSTANCES="s3 plain 17480
s3-tls tls 17481" ;;
  e2e) INSTANCES="e2e-s3 plain 21480" ;;
  *) die "SET \"$SET\" is not known; use conformance or e2e" ;;
esac

REGION=eu-test-1
ACCESS_KEY=connector
SECRET_KEY=connector12345678

# running INSTANCE: whether it was started and lives.
running() { [ -f "$RUN/$1/env" ] && pid_alive "$RUN/$1/pid"; }

# stop_process FILE: ends the process whose id FILE holds, if it is still ours.
stop_process() {
  local pid
  [ -f "$1" ] || return 0
  pid=$(cat "$1")
  # A recycled process id belongs to somebody else: its command line does not name our folder.
  if grep -qa "$RUN/" "/proc/$pid/cmdline" 2>/dev/null; then
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$1"
}
