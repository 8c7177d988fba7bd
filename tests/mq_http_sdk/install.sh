#!/usr/bin/env bash
# Installs the official SDKs of the Aliyun MQ HTTP protocol, as they are published, into $CACHE/mq-http-sdk/LANGUAGE.
#   install.sh [LANGUAGE...]      python, javascript; default: both
# Idempotent: a language whose pinned versions are installed is skipped.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/common.sh"
SOURCES=$REPOSITORY/tests/mq_http_sdk
FOLDER=$CACHE/mq-http-sdk

# Each one installs into the folder that it is given.
install_python() {
  python3 -m venv "$1"
  "$1/bin/pip" install --quiet --disable-pip-version-check -r "$SOURCES/python/requirements.txt"
}

install_javascript() {
  cp "$SOURCES"/javascript/package*.json "$1/"
  (cd "$1" && npm ci --silent --no-audit --no-fund --ignore-scripts)
}

# What is installed is named by a digest of what it was made from.
digest_of() { (cd "$SOURCES/$1" && cat -- *) | sha256sum | cut -c 1-16; }

install_language() {
  local name=$1 digest
  digest=$(digest_of "$name")
  [ "$(cat "$FOLDER/$name/.complete" 2>/dev/null)" != "$digest" ] || return 0
  step "SDK of the Aliyun MQ HTTP protocol for $name"
  rm -rf "${FOLDER:?}/$name"
  mkdir -p "$FOLDER/$name"
  "install_$name" "$FOLDER/$name"
  echo "$digest" > "$FOLDER/$name/.complete"
}

mkdir -p "$FOLDER"
exec 9> "$FOLDER/.install.lock"
flock 9
[ $# -gt 0 ] || set -- python javascript
for name in "$@"; do
  [ -d "$SOURCES/$name" ] || die "there is no SDK of the Aliyun MQ HTTP protocol for \"$name\"; use python or javascript"
  install_language "$name"
done
