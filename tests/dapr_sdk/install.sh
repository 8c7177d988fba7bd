#!/usr/bin/env bash
# Installs the Dapr SDKs, as they are published, into $CACHE/dapr-sdk/LANGUAGE.
#   install.sh [LANGUAGE...]      python, javascript, go, java; default: all
# Idempotent: a language whose pinned versions are installed is skipped.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/common.sh"
SOURCES=$REPOSITORY/tests/dapr_sdk
FOLDER=$CACHE/dapr-sdk

# Each one installs into the folder that it is given.
install_python() {
  python3 -m venv "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check -r "$SOURCES/python/requirements.txt"
}

install_javascript() {
  cp "$SOURCES"/javascript/package*.json "$1/"
  (cd "$1" && npm ci --silent --no-audit --no-fund --ignore-scripts)
}

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

# What is installed is named by a digest of what it was made from.
digest_of() { (cd "$SOURCES/$1" && cat -- *) | sha256sum | cut -c 1-16; }

install_language() {
  local name=$1 digest
  digest=$(digest_of "$name")
  [ "$(cat "$FOLDER/$name/.complete" 2>/dev/null)" != "$digest" ] || return 0
  step "Dapr SDK for $name"
  rm -rf "${FOLDER:?}/$name"
  mkdir -p "$FOLDER/$name"
  "install_$name" "$FOLDER/$name"
  echo "$digest" > "$FOLDER/$name/.complete"
}

mkdir -p "$FOLDER"
exec 9> "$FOLDER/.install.lock"
flock 9
[ $# -gt 0 ] || set -- python javascript go java
for name in "$@"; do
  [ -d "$SOURCES/$name" ] || die "there is no Dapr SDK for \"$name\"; use python, javascript, go or java"
  install_language "$name"
done
