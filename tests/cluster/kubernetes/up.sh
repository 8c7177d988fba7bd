#!/usr/bin/env bash
# Starts a one-node Kubernetes and waits until the node is Ready and DNS answers. Prints the kubeconfig's path.
#   up.sh                            everything
#   CONTROL_PLANE_ONLY=1 up.sh       etcd, API server, controller-manager, scheduler: enough for CRD and reconcile tests
# What already runs is left alone, so a control plane can be grown into a whole cluster.
# Environment: CONTAINERD=apt|go, FEATURE_GATES="A=true", APISERVER_ARGUMENTS, KUBELET_VERBOSITY=2
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
HERE=$CLUSTER_SCRIPTS/kubernetes
PIDS=$CLUSTER/pids

start() { # NAME COMMAND...
  local name=$1
  shift
  ! pid_alive "$PIDS/$name" || return 0
  setsid nohup "$@" > "$LOG/$name.log" 2>&1 < /dev/null &
  echo $! > "$PIDS/$name"
}

# await SECONDS WHAT PROCESS COMMAND...: polls until COMMAND succeeds; fails when PROCESS ends or the time is over.
await() {
  local limit=$((SECONDS + $1)) what=$2 process=$3
  shift 3
  until "$@" > /dev/null 2>&1; do
    if ! pid_alive "$PIDS/$process" || [ $SECONDS -ge $limit ]; then
      tail -n 15 "$LOG/$process.log" >&2
      die "$what: $process did not get there; its log is $LOG/$process.log"
    fi
    sleep 0.2
  done
  step "$what"
}

start_network() {
  ip link show "$BRIDGE" > /dev/null 2>&1 || { ip link add "$BRIDGE" type bridge && ip addr add "$NODE_ADDRESS/24" dev "$BRIDGE"; }
  ip link set "$BRIDGE" up
  sysctl -qw net.ipv4.ip_forward=1
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 || true
  # Nothing of the cluster leaves this machine: service addresses stay on the bridge, pods reach the bridge and the host only.
  ip route replace "$SERVICE_CIDR" dev "$BRIDGE"
  iptables -C FORWARD -i "$BRIDGE" ! -o "$BRIDGE" -j REJECT 2>/dev/null || iptables -I FORWARD -i "$BRIDGE" ! -o "$BRIDGE" -j REJECT
}

start_etcd() {
  start etcd "$BIN/etcd" --name node1 --data-dir "$CLUSTER/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "https://127.0.0.1:$ETCD_PORT" --advertise-client-urls "https://127.0.0.1:$ETCD_PORT" \
    --listen-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" --initial-advertise-peer-urls "http://127.0.0.1:$ETCD_PEER_PORT" \
    --initial-cluster "node1=http://127.0.0.1:$ETCD_PEER_PORT" \
    --cert-file "$PKI/etcd.crt" --key-file "$PKI/etcd.key" --client-cert-auth --trusted-ca-file "$PKI/etcd-ca.crt"
}

start_apiserver() {
  # shellcheck disable=SC2086  # APISERVER_ARGUMENTS is a list of flags
  start kube-apiserver "$BIN/kube-apiserver" --bind-address "$NODE_ADDRESS" --secure-port "$API_PORT" --advertise-address "$NODE_ADDRESS" \
    --etcd-servers "https://127.0.0.1:$ETCD_PORT" --etcd-cafile "$PKI/etcd-ca.crt" \
    --etcd-certfile "$PKI/apiserver-etcd-client.crt" --etcd-keyfile "$PKI/apiserver-etcd-client.key" \
    --client-ca-file "$PKI/ca.crt" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
    --kubelet-client-certificate "$PKI/apiserver-kubelet-client.crt" --kubelet-client-key "$PKI/apiserver-kubelet-client.key" \
    --kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP \
    --requestheader-client-ca-file "$PKI/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$PKI/front-proxy-client.crt" --proxy-client-key-file "$PKI/front-proxy-client.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$PKI/service-account.pub" --service-account-signing-key-file "$PKI/service-account.key" \
    --service-cluster-ip-range "$SERVICE_CIDR" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --allow-privileged --profiling=false --audit-policy-file "$HERE/manifests/audit-policy.yaml" --audit-log-path "$AUDIT_LOG" \
    "${GATES[@]}" ${APISERVER_ARGUMENTS:-}
}

start_controllers() {
  start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig "$PKI/controller-manager.kubeconfig" \
    --authentication-kubeconfig "$PKI/controller-manager.kubeconfig" --authorization-kubeconfig "$PKI/controller-manager.kubeconfig" \
    --bind-address 127.0.0.1 --use-service-account-credentials --service-account-private-key-file "$PKI/service-account.key" \
    --root-ca-file "$PKI/ca.crt" --requestheader-client-ca-file "$PKI/front-proxy-ca.crt" --client-ca-file "$PKI/ca.crt" \
    --cluster-signing-cert-file "$PKI/ca.crt" --cluster-signing-key-file "$PKI/ca.key" --service-cluster-ip-range "$SERVICE_CIDR" \
    --leader-elect=false --profiling=false --kube-api-qps 300 --kube-api-burst 600 "${GATES[@]}"
  start kube-scheduler "$BIN/kube-scheduler" --kubeconfig "$PKI/scheduler.kubeconfig" \
    --authentication-kubeconfig "$PKI/scheduler.kubeconfig" --authorization-kubeconfig "$PKI/scheduler.kubeconfig" \
    --bind-address 127.0.0.1 --leader-elect=false --profiling=false --kube-api-qps 300 --kube-api-burst 600 "${GATES[@]}"
}

write_cni_configuration() {
  mkdir -p "$CLUSTER/cni"
  cat > "$CLUSTER/cni/10-bridge.conflist" <<EOF
{"cniVersion": "1.0.0", "name": "rocketmq-connector-test", "plugins": [
 {"type": "bridge", "bridge": "$BRIDGE", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$CLUSTER/cni-ipam", "ranges": [[{"subnet": "$POD_CIDR", "rangeStart": "${NODE_ADDRESS%.*}.10"}]],
           "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}
EOF
}

# Pitfalls of a machine without an init system and without CAP_SYS_RESOURCE:
# restrict_oom_score_adj, because lowering the score is refused; SystemdCgroup = false, because there is no systemd;
# the pods' network namespaces stay below our own state folder.
write_containerd_configuration() {
  if [ "$CONTAINERD" = apt ]; then
    cat > "$CLUSTER/containerd.toml" <<EOF
version = 2
root = "$CLUSTER/containerd"
state = "$SOCKETS/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "$SOCKETS/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "/usr/sbin/runc"
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$CLUSTER/cni"
EOF
  else
    cat > "$CLUSTER/containerd.toml" <<EOF
version = 3
root = "$CLUSTER/containerd"
state = "$SOCKETS/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
oom_score = 0
[grpc]
  address = "$SOCKETS/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "$PAUSE_IMAGE"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "/usr/sbin/runc"
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "$CLUSTER/cni"
EOF
  fi
}

# failCgroupV1: since 1.35 the kubelet refuses cgroup v1 unless told otherwise. imageGC: hand-imported images cannot be pulled again.
# KubeletInUserNamespace: tolerate EPERM on oom_score_adj and kernel flags.
write_kubelet_configuration() {
  printf 'options ndots:5\n' > "$CLUSTER/resolv.conf"
  cat > "$CLUSTER/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $NODE_ADDRESS
healthzBindAddress: 127.0.0.1
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet-serving.crt
tlsPrivateKeyFile: $PKI/kubelet-serving.key
containerRuntimeEndpoint: unix://$SOCKETS/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: [$DNS_SERVICE_ADDRESS]
clusterDomain: cluster.local
resolvConf: $CLUSTER/resolv.conf
podLogsDir: $CLUSTER/pod-logs
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 200Mi, nodefs.available: 2%, imagefs.available: 2%}
maxPods: 200
syncFrequency: 10s
nodeStatusUpdateFrequency: 10s
registerNode: true
featureGates: {KubeletInUserNamespace: true}
EOF
}

write_kube_proxy_configuration() {
  cat > "$CLUSTER/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: $POD_CIDR
hostnameOverride: $NODE_NAME
bindAddress: $NODE_ADDRESS
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: $PKI/proxy.kubeconfig}
linux: {oomScoreAdj: 0, conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
EOF
}

import_images() {
  local file
  for file in "$IMAGES"/*.tar; do ctr -a "$SOCKETS/containerd.sock" -n k8s.io images import "$file" > /dev/null; done
  step "images imported"
}

apiserver_ready() { kubectl get --raw /readyz; }
default_service_account() { kubectl -n default get serviceaccount default; }
containerd_ready() { ctr -a "$SOCKETS/containerd.sock" version; }
node_ready() { [ "$(kubectl get node "$NODE_NAME" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
dns_ready() { [ "$(kubectl -n kube-system get deployment coredns -o jsonpath='{.status.readyReplicas}')" = 1 ]; }

[ "$(id -u)" = 0 ] || die "the test cluster needs root: it makes a bridge, cgroups and mounts"
[ -x "$BIN/hyperkube" ] || die "Kubernetes is not installed; run install.sh"
mkdir -p "$PIDS" "$LOG" "$SOCKETS"
"$HERE/pki.sh"
install -m 600 "$PKI/admin.kubeconfig" "$CLUSTER_KUBECONFIG"
export KUBECONFIG=$CLUSTER_KUBECONFIG
GATES=()
[ -z "${FEATURE_GATES:-}" ] || GATES=("--feature-gates=$FEATURE_GATES")

start_network
start_etcd
start_apiserver
await 180 "kube-apiserver is ready" kube-apiserver apiserver_ready
start_controllers
await 90 "controller-manager has made the default service account" kube-controller-manager default_service_account
if [ -n "${CONTROL_PLANE_ONLY:-}" ]; then step "control plane up: KUBECONFIG=$CLUSTER_KUBECONFIG"; exit 0; fi

write_cni_configuration
write_containerd_configuration
start containerd "$(command -v containerd)" -c "$CLUSTER/containerd.toml" -a "$SOCKETS/containerd.sock"
await 60 "containerd is ready" containerd containerd_ready
import_images
write_kubelet_configuration
start kubelet "$BIN/kubelet" --config "$CLUSTER/kubelet.yaml" --kubeconfig "$PKI/kubelet.kubeconfig" --root-dir "$CLUSTER/kubelet" \
  --hostname-override "$NODE_NAME" --node-ip "$NODE_ADDRESS" -v "${KUBELET_VERBOSITY:-2}"
await 180 "node $NODE_NAME is Ready" kubelet node_ready
# It ends when its configuration is written anew, whatever that says.
pid_alive "$CLUSTER/pids/kube-proxy" || write_kube_proxy_configuration
start kube-proxy "$BIN/kube-proxy" --config "$CLUSTER/kube-proxy.yaml"
sed -e "s|@IMAGE@|$COREDNS_IMAGE|" -e "s|@CLUSTER_IP@|$DNS_SERVICE_ADDRESS|" "$HERE/manifests/coredns.yaml" | kubectl apply -f - > /dev/null
await 180 "DNS is ready" kubelet dns_ready
step "cluster up: KUBECONFIG=$CLUSTER_KUBECONFIG"
