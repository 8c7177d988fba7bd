#!/usr/bin/env bash
# What connections cost: one worker with a cluster of many topics, and one operator with many connections and their workers;
# written into docs/benchmarks.md.
#   bench-connection.sh
# Runs release builds outside of pods: workers against a broker of its own, the operator against the control plane of
# tests/cluster. Environment:
#   TOPICS=10000      topics of the cluster, each with messages
#   CONNECTIONS=500   connections of one operator, each with a worker process (about 15 MiB)
#   PARTS="topics connections"   what is measured
#   QUIET=120         seconds that are looked at when all are settled
#   VERSION=5.4.0     RocketMQ of the broker
#   BINARY=FILE       a release build of rocketmq-connector instead of building it
#   WRITE=0           print the table only
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/rocketmq/settings.sh"
ROCKETMQ_SCRIPTS=$CLUSTER_SCRIPTS/rocketmq BROKERS=$RUN
# shellcheck source=../tests/cluster/kubernetes/settings.sh
. "$CLUSTER_SCRIPTS/kubernetes/settings.sh"
. "$REPOSITORY/hack/operator-account.sh"
. "$REPOSITORY/hack/bench-servers.sh"
cd "$REPOSITORY"
export TOPICS=${TOPICS:-10000} CONNECTIONS=${CONNECTIONS:-500} QUIET=${QUIET:-120} PARTS=${PARTS:-topics connections} VERSION=${VERSION:-5.4.0} WRITE=${WRITE:-1} AUDIT_LOG
INSTANCE=bench-connection BASE_PORT=27600
export NAME_SERVER=127.0.0.1:$BASE_PORT BROKER=127.0.0.1:$((BASE_PORT + 11))
export RESULTS=$CACHE/bench-connection
mkdir -p "$RESULTS"

release_build BINARY
export BINARY

stop() {
  local status=$?
  trap - EXIT INT TERM
  "$ROCKETMQ_SCRIPTS/down.sh" "$INSTANCE"
  rm -rf "${BROKERS:?}/$INSTANCE"
  drop_account bench-connection
  exit "$status"
}

start_control_plane
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
make_account bench-connection "$RESULTS"
"$ROCKETMQ_SCRIPTS/install.sh" "$VERSION"
# a thousand messages a file instead of 300,000: ten thousand files of 6 MB would be mapped
up() { INSTANCE=$INSTANCE PROXY=none HEAP=1g BROKER_SETTINGS=mappedFileSizeConsumeQueue=20000 "$ROCKETMQ_SCRIPTS/up.sh" "$VERSION" plain "$BASE_PORT"; }
up
step "$TOPICS topics"
"$ROCKETMQ_SCRIPTS/down.sh" "$INSTANCE"
# written where the broker looks: ten thousand requests would each write all of them
python3 hack/bench-connection.py topics "$BROKERS/$INSTANCE/broker-a-0/store/config/topics.json"
KEEP=1 up
python3 hack/bench-connection.py messages
python3 hack/bench-connection.py run docs/benchmarks.md
