#!/usr/bin/env bash
# Stops what up.sh started (by process id file), ends this cluster's containers, removes its mounts, cgroups, network
# and rules. KEEP=1 keeps etcd's data and the images for the next up.sh; otherwise the run folder is wiped.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
PIDS=$CLUSTER/pids

# stop NAME...: TERM to all, up to 8 s for all together, then KILL.
stop() {
  local name pid pids=()
  for name in "$@"; do
    [ -f "$PIDS/$name" ] || continue
    pid=$(cat "$PIDS/$name")
    # A recycled process id belongs to somebody else.
    tr '\0' ' ' 2>/dev/null < "/proc/$pid/cmdline" | grep -q "$name" || continue
    kill "$pid" 2>/dev/null && pids+=("$pid")
  done
  for _ in $(seq 80); do
    for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null && { sleep 0.1; continue 2; }; done
    break
  done
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null; done
  for name in "$@"; do rm -f "$PIDS/$name"; done
}

stop_containers() {
  pid_alive "$PIDS/containerd" || return 0
  local ctr=(ctr -a "$SOCKETS/containerd.sock" -n k8s.io) task
  for task in $("${ctr[@]}" tasks ls -q 2>/dev/null); do "${ctr[@]}" tasks kill -s SIGKILL -a "$task" > /dev/null 2>&1; done
  sleep 0.5
  for task in $("${ctr[@]}" tasks ls -q 2>/dev/null); do "${ctr[@]}" tasks rm -f "$task" > /dev/null 2>&1; done
}

# Shims outlive containerd by design; only those whose command line names our socket are ours.
stop_shims() {
  local folder command
  for folder in /proc/[0-9]*; do
    command=$({ tr '\0' ' ' < "$folder/cmdline"; } 2>/dev/null) || continue
    case $command in *containerd-shim-runc-v2*"$SOCKETS/containerd.sock"*) kill -9 "${folder#/proc/}" 2>/dev/null ;; esac
  done
}

remove_mounts() {
  local mount
  awk -v run="$CLUSTER/" -v sockets="$SOCKETS/" 'index($2, run) == 1 || index($2, sockets) == 1 { print $2 }' /proc/mounts | sort -r |
    while read -r mount; do umount -l "$mount" 2>/dev/null; done
}

remove_network() {
  [ ! -x "$BIN/kube-proxy" ] || "$BIN/kube-proxy" --cleanup > /dev/null 2>&1
  local table rule chain
  for table in nat filter mangle; do
    iptables-save -t $table 2>/dev/null | grep -E '^-A .*(CNI-HOSTPORT|CNI-DN|KUBE-)' | sed 's/^-A/-D/' |
      while read -r rule; do eval "iptables -t $table $rule" 2>/dev/null; done
    for chain in $(iptables-save -t $table 2>/dev/null | sed -n 's/^:\(\(CNI\|KUBE\)-[^ ]*\).*/\1/p'); do iptables -t $table -F "$chain"; done
    for chain in $(iptables-save -t $table 2>/dev/null | sed -n 's/^:\(\(CNI\|KUBE\)-[^ ]*\).*/\1/p'); do iptables -t $table -X "$chain" 2>/dev/null; done
  done
  iptables -D FORWARD -i "$BRIDGE" ! -o "$BRIDGE" -j REJECT 2>/dev/null
  ip link del "$BRIDGE" 2>/dev/null
}

remove_cgroups() {
  local folder
  for folder in /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods; do
    [ -d "$folder" ] && find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null
  done
}

stop kube-proxy kubelet kube-scheduler kube-controller-manager kube-apiserver
stop etcd
stop_containers
stop containerd
stop_shims
remove_mounts
remove_network
remove_cgroups
rm -rf "$SOCKETS"
if [ -z "${KEEP:-}" ]; then rm -rf "$CLUSTER" "$CLUSTER_KUBECONFIG"; else rm -rf "$CLUSTER/cni-ipam" "$CLUSTER/kubelet/pods"; fi
step "cluster down"
