#!/usr/bin/env bash
# Counts what syncs lose and repeat under faults (tests/sync_faults) and writes docs/faults.md. An hour, as root.
#   faults.sh [pipeline=TEXT] [fault=TEXT]     only those whose names hold one of the texts
# Whatever way it ends, nothing that it has started stays; what an earlier run left is removed first. Environment:
#   FAULTS_WORKER=FILE         a compiled rocketmq-connector instead of the one that is compiled for the tests
#   FAULTS_KILLS=50            kills of the worker
#   FAULTS_SOAK_SECONDS=600    length of the soak
# The workers' logs of the run are below the cache folder in run/faults/logs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/common.sh"
cd "$REPOSITORY"
export FAULTS_RUN=$CACHE/run/faults
export ROCKETMQ_TEST_RUN=$FAULTS_RUN/rocketmq DATABASES_TEST_RUN=$FAULTS_RUN/databases
mkdir -p "$ROCKETMQ_TEST_RUN" "$DATABASES_TEST_RUN"

# The network namespace has one name on the machine, whatever the cache folder.
exec 9> "${TMPDIR:-/tmp}/rocketmq-connector-faults.lock"
flock --nonblock 9 || die "another run of the faults is under way"
rm -rf "$FAULTS_RUN/logs"

GROUP=
end() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  if [ -n "$GROUP" ]; then
    kill -TERM -- "-$GROUP" 2>/dev/null || true
    for _ in $(seq 1200); do kill -0 -- "-$GROUP" 2>/dev/null || break; sleep 0.1; done
    kill -KILL -- "-$GROUP" 2>/dev/null || true
  fi
  tests/sync_faults/clean.sh "$FAULTS_RUN"
  exit "$status"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$CLUSTER_SCRIPTS/rocketmq/install.sh"
"$CLUSTER_SCRIPTS/databases/install.sh"
# A process group of its own: a signal reaches the run itself, and not only cargo. Servers must not hold the lock.
setsid cargo test --locked --features apiserver-tests,broker-tests,e2e-tests --test sync_faults -- "$@" 9>&- &
GROUP=$!
wait "$GROUP"
