#!/usr/bin/env bash
# Stops brokers, then name servers, of the named instances, or of all. The stores stay until the next up.sh.
#   down.sh [INSTANCE...]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

[ -d "$RUN" ] || exit 0
cd "$RUN"
[ $# -gt 0 ] || set -- *
for instance in "$@"; do
  for pid_file in "$RUN/$instance"/broker-*/pid "$RUN/$instance"/name-server/pid; do stop_process "$pid_file"; done
done
