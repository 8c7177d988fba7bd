#!/usr/bin/env bash
# Compares a RocketMQ → RocketMQ sync with the pipeline that a user would write with Apache's Java client, in turns, on one broker.
#   bench-sync.sh
# Starts a broker of its own, stores MESSAGES of 1 KiB in a topic of 8 queues, copies them to a new topic in each run, and writes
# medians and ratios into docs/benchmarks.md. What a bare producer reaches on that broker stands beside. Environment:
#   ROUNDS=3            rounds; the figures are medians
#   MESSAGES=1000000
#   VERSION=5.4.0       RocketMQ of the broker
#   WORKER=FILE         a compiled rocketmq-connector instead of building it in release
#   WRITE=0             print the table only
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/rocketmq/settings.sh"
cd "$REPOSITORY"
ROUNDS=${ROUNDS:-3} MESSAGES=${MESSAGES:-1000000} VERSION=${VERSION:-5.4.0} QUEUES=8
INSTANCE=bench-sync-$VERSION BASE_PORT=28700
NAME_SERVER=127.0.0.1:$BASE_PORT
RESULTS=$CACHE/bench-sync
BATCH_MESSAGES=$((MESSAGES < 500000 ? MESSAGES : 500000))

stop() {
  local status=$?
  trap - EXIT INT TERM
  "$CLUSTER_SCRIPTS/rocketmq/down.sh" "$INSTANCE"
  rm -rf "${RUN:?}/$INSTANCE"
  exit "$status"
}

topic() { # NAME
  "$CLUSTER_SCRIPTS/rocketmq/mqadmin.sh" "$INSTANCE" updateTopic -c DefaultCluster -t "$1" -r "$QUEUES" -w "$QUEUES" > /dev/null
}

record() { # LINE
  printf '{"round": %d, "load": %s, "result": %s}\n' "$round" "$(cut -d ' ' -f 1 /proc/loadavg)" "$1" >> "$RESULTS/lines.json"
}

ours() { # TARGET
  record "$(python3 hack/bench-sync.py run "$WORKER" "$NAME_SERVER" bench-source "$1" "$MESSAGES")"
}

java_pipeline() { # MODE TARGET
  record "$(tests/java/run.sh Pipeline "$1" "namesrv=$NAME_SERVER" topic=bench-source "to=$NAME_SERVER" "target=$2" "messages=$MESSAGES")"
}

bare_producer() {
  record "$(tests/java/run.sh Bench batch "namesrv=$NAME_SERVER" topic=bench-bare "messages=$BATCH_MESSAGES" inflight="$QUEUES" batch=256)"
}

mkdir -p "$RESULTS"
rm -f "$RESULTS/lines.json"
if [ -z "${WORKER:-}" ]; then
  step "building the worker in release"
  cargo build --locked --release --bin rocketmq-connector
  WORKER=target/release/rocketmq-connector
fi
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
"$CLUSTER_SCRIPTS/rocketmq/install.sh" "$VERSION"
# the JVM's own choice of compilers: the broker should not be the slowest part
INSTANCE=$INSTANCE PROXY=none HEAP=1g JAVA_OPTIONS='' "$CLUSTER_SCRIPTS/rocketmq/up.sh" "$VERSION" plain "$BASE_PORT"
topic bench-source
topic bench-bare
step "storing $MESSAGES messages of 1 KiB"
tests/java/run.sh Bench batch "namesrv=$NAME_SERVER" topic=bench-source "messages=$MESSAGES" inflight="$QUEUES" batch=256 > /dev/null
for round in $(seq "$ROUNDS"); do
  step "round $round of $ROUNDS"
  for run in ours orderly concurrent; do
    topic "bench-$run-$round"
    case $run in
      ours) ours "bench-$run-$round" ;;
      *) java_pipeline "$run" "bench-$run-$round" ;;
    esac
  done
  bare_producer
done
WRITE=${WRITE:-1} VERSION=$VERSION python3 hack/bench-sync.py table "$RESULTS/lines.json" docs/benchmarks.md
