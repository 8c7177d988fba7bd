#!/usr/bin/env bash
# Stops the named instances, or all. Their objects stay until the next up.sh without KEEP.
#   down.sh [INSTANCE...]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

[ -d "$RUN" ] || exit 0
cd "$RUN"
[ $# -gt 0 ] || set -- *
for instance in "$@"; do stop_process "$RUN/$instance/pid"; done
