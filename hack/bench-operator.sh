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
cd "$REPOSITORY"
export BINDINGS=${BINDINGS:-100} QUIET=${QUIET:-60} WRITE=${WRITE:-1} AUDIT_LOG KUBERNETES_VERSION
# The audit policy records the service accounts of this namespace.
export NAMESPACE=rocketmq-connector-e2e-system
export RESULTS=$CACHE/bench-operator
mkdir -p "$RESULTS"

if [ -z "${BINARY:-}" ]; then
  step "building rocketmq-connector in release"
  cargo build --release --locked
  BINARY=${CARGO_TARGET_DIR:-target}/release/rocketmq-connector
fi
export BINARY
"$CLUSTER_SCRIPTS/kubernetes/install.sh" control-plane
STARTED=
pid_alive "$CLUSTER/pids/kube-apiserver" || STARTED=1
CONTROL_PLANE_ONLY=1 "$CLUSTER_SCRIPTS/kubernetes/up.sh"
export KUBECONFIG=$CLUSTER_KUBECONFIG

stop() {
  local status=$?
  trap - EXIT INT TERM
  kubectl delete namespace bench-operator --ignore-not-found --wait=false > /dev/null 2>&1 || true
  kubectl delete clusterrolebinding bench-operator --ignore-not-found > /dev/null 2>&1 || true
  kubectl -n "$NAMESPACE" delete serviceaccount bench-operator --ignore-not-found > /dev/null 2>&1 || true
  [ -z "$STARTED" ] || "$CLUSTER_SCRIPTS/kubernetes/down.sh"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

kubectl apply --server-side --force-conflicts -k config/crd > /dev/null
kubectl create namespace "$NAMESPACE" > /dev/null 2>&1 || true
kubectl create namespace bench-operator > /dev/null 2>&1 || true
kubectl -n "$NAMESPACE" create serviceaccount bench-operator > /dev/null 2>&1 || true
kubectl create clusterrolebinding bench-operator --clusterrole cluster-admin --serviceaccount "$NAMESPACE:bench-operator" > /dev/null 2>&1 || true
cp "$KUBECONFIG" "$RESULTS/kubeconfig"
chmod 600 "$RESULTS/kubeconfig"
context=$(kubectl config current-context)
kubectl --kubeconfig "$RESULTS/kubeconfig" config set-credentials bench-operator \
  --token "$(kubectl -n "$NAMESPACE" create token bench-operator --duration 1h)" > /dev/null
kubectl --kubeconfig "$RESULTS/kubeconfig" config set-context "$context" --user bench-operator > /dev/null
python3 hack/bench-operator.py docs/benchmarks.md
