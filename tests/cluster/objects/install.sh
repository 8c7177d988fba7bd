#!/usr/bin/env bash
# Builds versitygw, an S3 server whose buckets are folders, from its Go module into the cache folder (about 4 CPU minutes, once);
# skips what is there. Prints the path of the binary.
# Environment: GO_PARALLEL=2, NICE=10
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

export GOMODCACHE=$CACHE/gomod GOCACHE=$CACHE/gobuild GOFLAGS="-buildvcs=false -modcacherw" CGO_ENABLED=0 GOTOOLCHAIN=local

if [ ! -x "$VERSITYGW" ]; then
  step "versitygw $VERSITYGW_VERSION: building (about 4 CPU minutes)" >&2
  mkdir -p "$CACHE/bin"
  module=$(go mod download -json "github.com/versity/versitygw@v$VERSITYGW_VERSION" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  (cd "$module" && nice -n "${NICE:-10}" go build -mod=readonly -p "${GO_PARALLEL:-2}" -trimpath -ldflags "-s -w" \
    -o "$VERSITYGW.new" ./cmd/versitygw) >&2
  mv "$VERSITYGW.new" "$VERSITYGW"
fi
echo "$VERSITYGW"
