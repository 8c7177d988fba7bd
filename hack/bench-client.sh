#!/usr/bin/env bash
# Compares the RocketMQ layer (src/rocketmq) with rocketmq-rust's facades, Apache's Java client and the Go client, in turns, on one
# broker.
#   bench-client.sh
# Starts a broker of its own, and writes medians and ratios into docs/benchmarks.md. The facades' program takes some 20 CPU minutes
# to compile, once; programs are built into the cache. Environment:
#   ROUNDS=5                     rounds; the figures are medians
#   VERSION=5.4.0                RocketMQ of the broker
#   CLIENTS="ours java facades go"   which ones
#   OURS=FILE FACADES=FILE GO=FILE   compiled programs instead of building them
#   WRITE=0                      print the table only
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/rocketmq/settings.sh"
. "$REPOSITORY/hack/bench-servers.sh"
cd "$REPOSITORY"
ROUNDS=${ROUNDS:-5} VERSION=${VERSION:-5.4.0} CLIENTS=${CLIENTS:-ours java facades go} QUEUES=8 STORED=200000
INSTANCE=bench-client-$VERSION BASE_PORT=28800
NAME_SERVER=127.0.0.1:$BASE_PORT
RESULTS=$CACHE/bench-client

topic() { # NAME
  "$CLUSTER_SCRIPTS/rocketmq/mqadmin.sh" "$INSTANCE" updateTopic -c DefaultCluster -t "$1" -r "$QUEUES" -w "$QUEUES" > /dev/null
}

wanted() { case " $CLIENTS " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

build_rust() { # FOLDER PROGRAM
  step "building $1"
  cargo build --release --locked --manifest-path "$1/Cargo.toml" --target-dir "$RESULTS/target-$2"
}

build() {
  if wanted ours && [ -z "${OURS:-}" ]; then
    build_rust benches/client bench-client
    OURS=$RESULTS/target-bench-client/release/bench-client
  fi
  if wanted facades && [ -z "${FACADES:-}" ]; then
    build_rust benches/facades bench-facades
    FACADES=$RESULTS/target-bench-facades/release/bench-facades
  fi
  if wanted go && [ -z "${GO:-}" ]; then
    step "building benches/go-client"
    (cd benches/go-client && GOCACHE=$CACHE/gobuild GOMODCACHE=$CACHE/gomod go build -trimpath -o "$RESULTS/bench-go-client" .)
    GO=$RESULTS/bench-go-client
  fi
}

# run CLIENT MODE TOPIC MESSAGES IN-FLIGHT CASE: one measurement, one line of results.
run() {
  local client=$1 mode=$2 program result
  wanted "$client" || return 0
  case $client in
    ours) program=(env MALLOC_ARENA_MAX=1 "$OURS") ;; # as in a worker's pod
    facades) program=("$FACADES") ;;
    go) program=("$GO") ;;
    java) program=(tests/java/run.sh Bench) ;;
  esac
  result=$("${program[@]}" "$mode" "namesrv=$NAME_SERVER" "topic=$3" "messages=$4" "inflight=$5" batch=32 2>> "$RESULTS/errors.log" | tail -n 1)
  printf '{"case": "%s", "round": %d, "load": %s, "result": %s}\n' "$6" "$round" "$(cut -d ' ' -f 1 /proc/loadavg)" "$result" >> "$RESULTS/lines.json"
}

# in_turns MODE TOPIC MESSAGES IN-FLIGHT CASE: every client, another one first in each round.
in_turns() {
  local clients at
  read -r -a clients <<< "$CLIENTS"
  for at in "${!clients[@]}"; do run "${clients[$(((at + round) % ${#clients[@]}))]}" "$@"; done
}

mkdir -p "$RESULTS"
rm -f "$RESULTS/lines.json" "$RESULTS/errors.log"
"$CLUSTER_SCRIPTS/rocketmq/install.sh" "$VERSION"
build
stop_at_end
# the JVM's own choice of compilers: the broker should not be the slowest part
INSTANCE=$INSTANCE PROXY=none HEAP=1g JAVA_OPTIONS='' "$CLUSTER_SCRIPTS/rocketmq/up.sh" "$VERSION" plain "$BASE_PORT"
topic bench-send
topic bench-stored
step "storing $STORED messages of 1 KiB"
tests/java/run.sh Bench batch "namesrv=$NAME_SERVER" topic=bench-stored "messages=$STORED" inflight="$QUEUES" batch=256 > /dev/null
for round in $(seq "$ROUNDS"); do
  step "round $round of $ROUNDS"
  in_turns async bench-send 10000 1 send-1
  in_turns async bench-send 50000 64 send-64
  run java sync bench-send 50000 64 send-64
  in_turns async bench-send 50000 512 send-512
  in_turns batch bench-send 100000 1 batch-32
  in_turns push bench-stored "$STORED" 0 consume
  run java push-tuned bench-stored "$STORED" 0 consume
  run facades push-tuned bench-stored "$STORED" 0 consume
done
VERSION=$VERSION python3 hack/bench-client.py "$RESULTS/lines.json" docs/benchmarks.md
