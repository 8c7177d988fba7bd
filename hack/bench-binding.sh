#!/usr/bin/env bash
# Compares the binding worker with Dapr's sidecar on one broker in one run, in turns, and writes medians and ratios into
# docs/benchmarks.md.
#   bench-binding.sh
# Builds what is missing (daprd: about 14 CPU minutes, once) and starts a broker of its own. Environment:
#   ROUNDS=5          rounds; the figures are medians
#   SECONDS_EACH=4    length of each measurement of callers
#   BACKLOG=100000    messages that wait when an input starts
#   VERSION=5.4.0     RocketMQ of the broker
#   BINARY=FILE       a release build of rocketmq-connector instead of building it
#   CASES=TEXT        only cases whose name holds TEXT
#   WRITE=0           print the tables only
#   PROFILE=1         perf's profile of the worker in each case, in the folder of results; wants BINARY with symbols
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/rocketmq/settings.sh"
. "$REPOSITORY/hack/bench-servers.sh"
cd "$REPOSITORY"
export ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-4} BACKLOG=${BACKLOG:-100000} VERSION=${VERSION:-5.4.0} WRITE=${WRITE:-1}
export CASES=${CASES:-} PROFILE=${PROFILE:-} DAPR_VERSION
INSTANCE=bench-binding BASE_PORT=28700
export NAME_SERVER=127.0.0.1:$BASE_PORT BROKER=127.0.0.1:$((BASE_PORT + 11))
export RESULTS=$CACHE/bench-binding

mkdir -p "$RESULTS"
release_build BINARY
step "building benches/load"
(cd benches/load && go build -trimpath -o "$RESULTS/load" .)
DAPRD=$("$CLUSTER_SCRIPTS/dapr/install.sh")
export BINARY DAPRD LOAD=$RESULTS/load

stop_at_end
"$CLUSTER_SCRIPTS/rocketmq/install.sh" "$VERSION"
# the JVM's own choice of compilers: the broker should not be the slowest part
INSTANCE=$INSTANCE PROXY=none HEAP=1g JAVA_OPTIONS='' "$CLUSTER_SCRIPTS/rocketmq/up.sh" "$VERSION" plain "$BASE_PORT"
BROKER_PID=$(cat "$RUN/$INSTANCE/broker-a-0/pid")
export BROKER_PID
python3 hack/bench-binding.py docs/benchmarks.md
