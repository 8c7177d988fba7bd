# shellcheck shell=bash disable=SC2034 # the sourcing script uses the names
# Settings of the one-node test cluster. Sourced by the scripts of this folder.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

BIN=$CACHE/bin                                # binaries that install.sh built or fetched
CLUSTER=${CLUSTER_RUN:-$CACHE/run/kubernetes} # etcd data, containerd and kubelet state, logs, kubeconfig
LOG=$CLUSTER/log
AUDIT_LOG=$LOG/audit.log                      # requests of service accounts, see manifests/audit-policy.yaml
PKI=$CACHE/pki                                # survives a wiped cluster, so a kubeconfig stays valid
IMAGES=$CACHE/images
# Unix sockets have a length limit of 107 characters: they get a short path of their own.
SOCKETS=/run/rocketmq-connector-test
CLUSTER_KUBECONFIG=$CACHE/kubeconfig

BRIDGE=rmqct0
NODE_NAME=node1
NODE_ADDRESS=10.88.0.1                        # of the bridge, the node and the API server
POD_CIDR=10.88.0.0/24
SERVICE_CIDR=10.96.0.0/16
API_SERVICE_ADDRESS=10.96.0.1
DNS_SERVICE_ADDRESS=10.96.0.10
API_PORT=6443
ETCD_PORT=12379
ETCD_PEER_PORT=12380

IMAGE_PREFIX=rocketmq-connector-test.local    # images that are never pulled
PAUSE_IMAGE=$IMAGE_PREFIX/pause:1
COREDNS_IMAGE=$IMAGE_PREFIX/coredns:$COREDNS_VERSION
PROBE_IMAGE=$IMAGE_PREFIX/probe:2

# apt: Debian's containerd 1.6, no build (kubelet 1.36 is the last that accepts it). go: containerd 2.x built from source.
CONTAINERD=${CONTAINERD:-apt}
[ "$CONTAINERD" != apt ] || PATH=$CACHE/containerd-apt/usr/bin:$PATH
export PATH=$BIN:$PATH:/usr/sbin
