#!/usr/bin/env bash
# Installs the official SDKs of the Aliyun MQ HTTP protocol, as they are published, into $CACHE/mq-http-sdk/LANGUAGE.
#   install.sh [LANGUAGE...]      python, javascript; default: both
# Idempotent: a language whose pinned versions are installed is skipped.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/common.sh"
. "$CLUSTER_SCRIPTS/sdk.sh"
WHAT="SDK of the Aliyun MQ HTTP protocol" LANGUAGES="python javascript"
SOURCES=$REPOSITORY/tests/mq_http_sdk
FOLDER=$CACHE/mq-http-sdk

install_sdks "$@"
