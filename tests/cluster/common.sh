# shellcheck shell=bash disable=SC2034 # the sourcing script uses the names
# Settings that all scripts under tests/cluster share. Sourced, never run.
# Everything that is downloaded, built or written at run time goes below one cache folder outside the tree.
CLUSTER_SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(cd "$CLUSTER_SCRIPTS/../.." && pwd)
CACHE=${ROCKETMQ_CONNECTOR_CACHE:-$HOME/.cache/rocketmq-connector}
# shellcheck source=versions.env
. "$CLUSTER_SCRIPTS/versions.env"

# step TEXT: a progress line with the seconds since the script began.
step() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

# die TEXT: an error on stderr, then exit 1.
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# pid_alive FILE: whether FILE holds the id of a running process.
pid_alive() { [ -f "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
