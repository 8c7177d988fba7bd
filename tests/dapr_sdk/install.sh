#!/usr/bin/env bash
# Installs the Dapr SDKs, as they are published, into $CACHE/dapr-sdk/LANGUAGE.
#   install.sh [LANGUAGE...]      python, javascript, go, java; default: all
# Idempotent: a language whose pinned versions are installed is skipped.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/common.sh"
. "$CLUSTER_SCRIPTS/sdk.sh"
WHAT="Dapr SDK" LANGUAGES="python javascript go java"
SOURCES=$REPOSITORY/tests/dapr_sdk
FOLDER=$CACHE/dapr-sdk

install_go() {
  cp "$SOURCES"/go/* "$1/"
  (cd "$1" && GOFLAGS=-mod=readonly nice -n 5 go build -o peer .)
}

install_java() {
  cp "$SOURCES/java/pom.xml" "$1/"
  (cd "$1" && nice -n 5 mvn -q -B \
    "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
    -DoutputDirectory="$1/lib" -DincludeScope=runtime)
  javac -d "$1/classes" -cp "$1/lib/*" "$SOURCES"/java/*.java
}

install_sdks "$@"
