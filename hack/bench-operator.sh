#!/usr/bin/env bash
# What the operator costs with many bindings: memory, and its requests while nothing changes; written into docs/benchmarks.md.
#   bench-operator.sh
# Runs a release build outside of a pod against the control plane of tests/cluster, as a service account, so that the API
# server's audit log has its requests. No pods are started. Environment:
#   BINDINGS=100      bindings, each with a Secret
#   QUIET=60          seconds that are looked at when all are settled
#   BINARY=FILE       a release build of rocketmq-connector instead of building it
#   WRITE=0           print the table only
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/kubernetes/settings.sh"
. "$REPOSITORY/hack/operator-account.sh"
. "$REPOSITORY/hack/bench-servers.sh"
cd "$REPOSITORY"
export BINDINGS=${BINDINGS:-100} QUIET=${QUIET:-60} WRITE=${WRITE:-1} AUDIT_LOG KUBERNETES_VERSION
export RESULTS=$CACHE/bench-operator
mkdir -p "$RESULTS"

release_build BINARY
export BINARY

stop() {
  local status=$?
  trap - EXIT INT TERM
  drop_account bench-operator
  exit "$status"
}

start_control_plane
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
make_account bench-operator "$RESULTS"
python3 hack/bench-operator.py docs/benchmarks.md
