#!/usr/bin/env bash
# Installs DuckDB, with which the tests read what the sink has written, into $CACHE/objects-reader/python.
# Idempotent: when its pinned version is installed, nothing is done.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/common.sh"
. "$CLUSTER_SCRIPTS/sdk.sh"
WHAT="reader of objects" LANGUAGES=python
SOURCES=$REPOSITORY/tests/worker_sink_objects
FOLDER=$CACHE/objects-reader

install_sdks "$@"
