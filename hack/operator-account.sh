# shellcheck shell=bash
# A service account with a kubeconfig of its own for an operator that a benchmark runs outside of a pod, so that the API server's
# audit log has its requests apart. Sourced by bench-*.sh after tests/cluster/kubernetes/settings.sh.

# The audit policy records the service accounts of this namespace.
OPERATOR_NAMESPACE=rocketmq-connector-e2e-system
STARTED_CONTROL_PLANE=

# start_control_plane: installs and starts what is missing.
start_control_plane() {
  "$CLUSTER_SCRIPTS/kubernetes/install.sh" control-plane
  pid_alive "$CLUSTER/pids/kube-apiserver" || STARTED_CONTROL_PLANE=1
  CONTROL_PLANE_ONLY=1 "$CLUSTER_SCRIPTS/kubernetes/up.sh"
  export KUBECONFIG=$CLUSTER_KUBECONFIG
}

# make_account NAME FOLDER: the definitions, a namespace and a service account NAME, and its FOLDER/kubeconfig.
make_account() {
  local name=$1 kubeconfig=$2/kubeconfig context
  kubectl apply --server-side --force-conflicts -k config/crd > /dev/null
  kubectl create namespace "$OPERATOR_NAMESPACE" > /dev/null 2>&1 || true
  kubectl create namespace "$name" > /dev/null 2>&1 || true
  kubectl -n "$OPERATOR_NAMESPACE" create serviceaccount "$name" > /dev/null 2>&1 || true
  kubectl create clusterrolebinding "$name" --clusterrole cluster-admin --serviceaccount "$OPERATOR_NAMESPACE:$name" > /dev/null 2>&1 || true
  cp "$KUBECONFIG" "$kubeconfig"
  chmod 600 "$kubeconfig"
  context=$(kubectl config current-context)
  kubectl --kubeconfig "$kubeconfig" config set-credentials "$name" \
    --token "$(kubectl -n "$OPERATOR_NAMESPACE" create token "$name" --duration 1h)" > /dev/null
  kubectl --kubeconfig "$kubeconfig" config set-context "$context" --user "$name" > /dev/null
}

# drop_account NAME: what make_account made, and the control plane if it was started here.
drop_account() {
  kubectl delete namespace "$1" --ignore-not-found --wait=false > /dev/null 2>&1 || true
  kubectl delete clusterrolebinding "$1" --ignore-not-found > /dev/null 2>&1 || true
  kubectl -n "$OPERATOR_NAMESPACE" delete serviceaccount "$1" --ignore-not-found > /dev/null 2>&1 || true
  [ -z "$STARTED_CONTROL_PLANE" ] || "$CLUSTER_SCRIPTS/kubernetes/down.sh"
}
