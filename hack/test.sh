#!/usr/bin/env bash
# The checks of the project; `make test` runs all of them.
#   test.sh [STEP...]
#     lint          formatting, clippy with warnings as errors
#     unit          unit, property, architecture and documentation tests: no server
#     apiserver     CRDs and reconcilers against a real API server
#     conformance   the RocketMQ client and the workers against real brokers, 4.9 and 5.x, plain, acl and tls, databases and S3
#     e2e           image, chart and pods in a real cluster; runs beside conformance when both are asked for
# The test targets of a step are those whose `required-features` in Cargo.toml name it (apiserver-tests, broker-tests,
# e2e-tests). Servers are installed and built when they are missing, started when they do not run, and those that were
# started here are stopped at the end.
# Environment:
#   ROCKETMQ_CONNECTOR_CACHE      where servers are built and run (default ~/.cache/rocketmq-connector)
#   USE_EXISTING_CLUSTER=true     apiserver and e2e use the current kubeconfig; e2e also needs E2E_IMAGE and E2E_PROBE_IMAGE,
#                                 which that cluster can pull, and E2E_BROKER_ADDRESS, where its pods reach this machine's
#                                 brokers, databases and S3
#   KEEP_SERVERS=1                stop nothing at the end
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/rocketmq/settings.sh"
# shellcheck source=../tests/cluster/kubernetes/settings.sh
. "$CLUSTER_SCRIPTS/kubernetes/settings.sh"
cd "$REPOSITORY"

INSTALL_LOG=$CACHE/install.log
INSTALL_PID=
E2E_LOG=$CACHE/e2e.log
E2E_PID= E2E_BEGUN=
STARTED_CLUSTER=
STARTED_BROKERS=()
STARTED_DATABASES=()
STARTED_OBJECTS=()
RESULTS=()

# ---- servers

stop_started() {
  local status=$?
  trap - EXIT INT TERM
  local group
  for group in $INSTALL_PID $E2E_PID; do kill -- "-$group" 2>/dev/null || true; done
  if [ -n "$E2E_PID" ]; then echo "e2e had not ended; the end of $E2E_LOG:" >&2 && tail -n 20 "$E2E_LOG" >&2; fi
  if [ -z "${KEEP_SERVERS:-}" ]; then
    [ -z "$STARTED_CLUSTER" ] || "$CLUSTER_SCRIPTS/kubernetes/down.sh"
    [ ${#STARTED_BROKERS[@]} = 0 ] || "$CLUSTER_SCRIPTS/rocketmq/down.sh" "${STARTED_BROKERS[@]}"
    [ ${#STARTED_DATABASES[@]} = 0 ] || "$CLUSTER_SCRIPTS/databases/down.sh" "${STARTED_DATABASES[@]}"
    [ ${#STARTED_OBJECTS[@]} = 0 ] || "$CLUSTER_SCRIPTS/objects/down.sh" "${STARTED_OBJECTS[@]}"
  fi
  exit "$status"
}
trap stop_started EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

own_cluster() { [ "${USE_EXISTING_CLUSTER:-false}" != true ]; }

needs() { # STEP: whether it was asked for
  case " $STEPS " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# The Go builds are the slow part of a fresh machine: they run beside the lints and the unit tests, in a process group of
# their own, so that an interrupted run leaves no compiler behind.
begin_install() {
  mkdir -p "$CACHE"
  local commands=()
  if needs conformance || needs e2e; then commands+=("$CLUSTER_SCRIPTS/rocketmq/install.sh"); fi
  if needs conformance || needs e2e; then commands+=("$CLUSTER_SCRIPTS/databases/install.sh"); fi
  if needs conformance || needs e2e; then commands+=("$CLUSTER_SCRIPTS/objects/install.sh"); fi
  if needs conformance; then commands+=("$REPOSITORY/tests/dapr_sdk/install.sh" "$REPOSITORY/tests/mq_http_sdk/install.sh"); fi
  if needs conformance; then commands+=("$REPOSITORY/tests/worker_sink_objects/install.sh"); fi
  if own_cluster; then
    if needs apiserver || needs e2e; then commands+=("$CLUSTER_SCRIPTS/kubernetes/install.sh control-plane"); fi
    if needs e2e; then commands+=("$CLUSTER_SCRIPTS/kubernetes/install.sh" "$CLUSTER_SCRIPTS/kubernetes/image-build.sh base"); fi
  elif needs e2e; then
    commands+=("$CLUSTER_SCRIPTS/kubernetes/install.sh helm kubeconform")
  fi
  [ ${#commands[@]} -gt 0 ] || return 0
  local script
  script=$(printf '%s\n' "set -e" "${commands[@]}")
  setsid bash -c "$script" > "$INSTALL_LOG" 2>&1 < /dev/null &
  INSTALL_PID=$!
}

await_install() {
  [ -n "$INSTALL_PID" ] || return 0
  local pid=$INSTALL_PID
  INSTALL_PID=
  if kill -0 "$pid" 2>/dev/null; then step "waiting for the servers to be built: $(tail -n 1 "$INSTALL_LOG")"; fi
  wait "$pid" || { tail -n 30 "$INSTALL_LOG" >&2; die "installing the servers failed; the log is $INSTALL_LOG"; }
}

control_plane_runs() { pid_alive "$CLUSTER/pids/kube-apiserver"; }

start_cluster() { # [control-plane]
  own_cluster || return 0
  await_install
  control_plane_runs || STARTED_CLUSTER=1
  CONTROL_PLANE_ONLY=${1:+1} "$CLUSTER_SCRIPTS/kubernetes/up.sh"
  export KUBECONFIG=$CLUSTER_KUBECONFIG
}

start_brokers() { # conformance|e2e
  await_install
  local stopped
  mapfile -t stopped < <("$CLUSTER_SCRIPTS/rocketmq/matrix.sh" status "$1" | awk '$2 == "stopped" { print $1 }')
  STARTED_BROKERS+=("${stopped[@]}")
  "$CLUSTER_SCRIPTS/rocketmq/matrix.sh" up "$1"
  export ROCKETMQ_TEST_RUN=$RUN
}

start_databases() { # conformance|e2e [ADDRESS]
  await_install
  local stopped
  mapfile -t stopped < <(SET=$1 "$CLUSTER_SCRIPTS/databases/status.sh" stopped)
  STARTED_DATABASES+=("${stopped[@]}")
  SET=$1 BIND_ADDRESS=${2:-127.0.0.1} "$CLUSTER_SCRIPTS/databases/up.sh"
  DATABASES_TEST_RUN=$("$CLUSTER_SCRIPTS/databases/status.sh" folder)
  export DATABASES_TEST_RUN
}

start_objects() { # conformance|e2e [ADDRESS]
  await_install
  local stopped
  mapfile -t stopped < <(SET=$1 "$CLUSTER_SCRIPTS/objects/status.sh" stopped)
  STARTED_OBJECTS+=("${stopped[@]}")
  SET=$1 BIND_ADDRESS=${2:-127.0.0.1} "$CLUSTER_SCRIPTS/objects/up.sh"
  OBJECTS_TEST_RUN=$("$CLUSTER_SCRIPTS/objects/status.sh" folder)
  export OBJECTS_TEST_RUN
}

# ---- steps

# test_targets FEATURE: `--test NAME` for every target that requires it; with "" those that require none.
test_targets() {
  cargo metadata --no-deps --offline --format-version 1 | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    for target in package["targets"]:
        if "test" in target["kind"] and target.get("required-features", []) == ([sys.argv[1]] if sys.argv[1] else []):
            print("--test", target["name"])' "$1"
}

# One set of features for every step, so that nothing is compiled twice.
FEATURES=apiserver-tests,broker-tests,e2e-tests

cargo_test() { # ARGUMENT...
  cargo test --locked --quiet --no-fail-fast --features "$FEATURES" "$@"
}

test_feature() { # FEATURE
  local targets
  targets=$(test_targets "$1")
  [ -n "$targets" ] || die "no test target requires the feature $1"
  # shellcheck disable=SC2086  # a list of arguments
  cargo_test $targets
}

run_lint() {
  cargo fmt --all --check
  cargo clippy --locked --quiet --all-targets --features "$FEATURES" -- -D warnings
}

run_unit() {
  # shellcheck disable=SC2046  # a list of arguments
  cargo_test --lib --bins $(test_targets "")
  cargo_test --doc
}

run_apiserver() {
  start_cluster control-plane
  test_feature apiserver-tests
}

run_conformance() {
  if needs e2e && [ -z "$E2E_BEGUN" ]; then
    begin_e2e
    step "e2e runs beside this; its log is $E2E_LOG"
  fi
  start_brokers conformance
  start_databases conformance
  start_objects conformance
  # these tests wait for brokers most of their time
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-4} test_feature broker-tests
}

# Both steps mostly wait, for brokers and for pods: together they take little longer than the longer one.
begin_e2e() {
  E2E_BEGUN=1
  start_cluster
  if own_cluster; then
    export E2E_IMAGE=$IMAGE_PREFIX/rocketmq-connector:test E2E_PROBE_IMAGE=$PROBE_IMAGE E2E_AUDIT_LOG=$AUDIT_LOG
  else
    [ -n "${E2E_IMAGE:-}" ] || die "E2E_IMAGE is not set; with USE_EXISTING_CLUSTER=true name an image that the cluster can pull"
    [ -n "${E2E_PROBE_IMAGE:-}" ] || die "E2E_PROBE_IMAGE is not set; build tests/cluster/kubernetes/images/probe and push it"
    [ -n "${E2E_BROKER_ADDRESS:-}" ] || die "E2E_BROKER_ADDRESS is not set; give the address at which pods reach this machine"
  fi
  start_brokers e2e
  start_databases e2e "${E2E_BROKER_ADDRESS:-$NODE_ADDRESS}"
  start_objects e2e "${E2E_BROKER_ADDRESS:-$NODE_ADDRESS}"
  set -m # a process group of its own
  e2e_tests > "$E2E_LOG" 2>&1 < /dev/null &
  E2E_PID=$!
  set +m
}

e2e_tests() {
  if own_cluster; then "$CLUSTER_SCRIPTS/kubernetes/image-build.sh" "$E2E_IMAGE"; fi
  test_feature e2e-tests
}

run_e2e() {
  [ -n "$E2E_BEGUN" ] || begin_e2e
  # shown while it grows
  tail -n +1 -f --pid="$E2E_PID" "$E2E_LOG"
  local pid=$E2E_PID
  E2E_PID=
  wait "$pid"
}

STEPS=${*:-lint unit apiserver conformance e2e}
for name in $STEPS; do
  declare -F "run_$name" > /dev/null || die "step \"$name\" is not known; use lint, unit, apiserver, conformance or e2e"
done
begin_install
for name in $STEPS; do
  step "== $name"
  began=$SECONDS
  "run_$name"
  RESULTS+=("$(printf '%-12s passed %5d s' "$name" $((SECONDS - began)))")
done
printf '%s\n' "${RESULTS[@]}" "$(printf '%-12s        %5d s' total $SECONDS)"
