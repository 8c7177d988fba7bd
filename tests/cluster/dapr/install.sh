#!/usr/bin/env bash
# Builds Dapr's sidecar with all components from its Go module into the cache folder (about 14 CPU minutes, once); skips what
# is there. Prints the path of the binary.
# Environment: GO_PARALLEL=2, NICE=10
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

export GOMODCACHE=$CACHE/gomod GOCACHE=$CACHE/gobuild GOFLAGS="-buildvcs=false -modcacherw" CGO_ENABLED=0 GOTOOLCHAIN=local
DAPRD=$CACHE/bin/daprd-$DAPR_VERSION

if [ ! -x "$DAPRD" ]; then
  step "daprd $DAPR_VERSION: building (about 14 CPU minutes)" >&2
  module=$(go mod download -json "github.com/dapr/dapr@v$DAPR_VERSION" | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  # The version is what the sidecar answers in its metadata.
  (cd "$module" && nice -n "${NICE:-10}" go build -mod=readonly -p "${GO_PARALLEL:-2}" -trimpath -tags=allcomponents \
    -ldflags "-s -w -X github.com/dapr/dapr/pkg/buildinfo.version=$DAPR_VERSION" -o "$DAPRD.new" ./cmd/daprd) >&2
  mv "$DAPRD.new" "$DAPRD"
fi
echo "$DAPRD"
