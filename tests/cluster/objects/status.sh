#!/usr/bin/env bash
# Tells of the instances of settings.sh.
#   status.sh folder     where instances live: what tests get as OBJECTS_TEST_RUN
#   status.sh stopped    the names of those that do not run
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

case ${1:-} in
  folder) echo "$RUN" ;;
  stopped) while read -r instance _; do running "$instance" || echo "$instance"; done <<< "$INSTANCES" ;;
  *) die "usage: status.sh folder|stopped" ;;
esac
