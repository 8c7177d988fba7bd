# shellcheck shell=bash disable=SC2034 # the sourcing script uses the names
# Where instances live and what they are called. Sourced by the scripts of this folder.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# One folder an instance, each with an `env` file that tests read. Tests get this folder as ROCKETMQ_TEST_RUN.
RUN=${ROCKETMQ_TEST_RUN:-$CACHE/run/rocketmq}
CERTIFICATES=${CERTIFICATES:-$CACHE/rocketmq/certificates}

# Users of the acl variants. An access key of ACL 1.0 must be longer than 6 characters:
# with a shorter one a 4.9 broker dies at its start with a ClassCastException that names something else.
ADMIN_ACCESS_KEY=rmqadmin ADMIN_SECRET_KEY=admin12345678   # may do everything
APP_ACCESS_KEY=appuser APP_SECRET_KEY=app12345678          # topic "allowed" and group "g-allowed", publish only on "allowed-pub"

# stop_process FILE: ends the process whose id FILE holds, if it is still ours: TERM, and KILL after 15 s.
stop_process() {
  local pid
  [ -f "$1" ] || return 0
  pid=$(cat "$1")
  # A recycled process id belongs to somebody else: its command line does not name our folder.
  if grep -qa "$RUN/" "/proc/$pid/cmdline" 2>/dev/null; then
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$1"
}
