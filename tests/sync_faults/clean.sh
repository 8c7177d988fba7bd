#!/usr/bin/env bash
# Removes what a run of sync_faults has made, however it ended: workers, servers, small disks, the network namespace and its
# links. Processes only by the ids that the run has noted, and only those whose command line still names the run's folder.
#   clean.sh FOLDER     the run's folder (FAULTS_RUN), an absolute path
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/common.sh"

[ $# = 1 ] && [ "${1#/}" != "$1" ] || die "usage: clean.sh FOLDER, an absolute path"
RUN=$1

for note in "$RUN"/workers/*.pid; do
  [ -e "$note" ] || continue
  pid=$(basename "$note" .pid)
  if grep -qaF "$RUN/" "/proc/$pid/cmdline" 2>/dev/null; then
    echo "ending worker $pid"
    kill -9 "$pid" 2>/dev/null || true
  fi
done
rm -rf "$RUN/workers"

ROCKETMQ_TEST_RUN=$RUN/rocketmq "$CLUSTER_SCRIPTS/rocketmq/down.sh"
DATABASES_TEST_RUN=$RUN/databases "$CLUSTER_SCRIPTS/databases/down.sh"

while read -r folder; do
  echo "unmounting $folder"
  umount "$folder" || umount --lazy "$folder"
done < <(awk -v run="$RUN/" '$1 == "rmq-faults" && index($2, run) == 1 { print $2 }' /proc/mounts)

for link in rmqfs rmqft; do [ ! -e "/sys/class/net/$link" ] || ip link del "$link"; done
[ ! -e /run/netns/rmq-faults ] || ip netns del rmq-faults
