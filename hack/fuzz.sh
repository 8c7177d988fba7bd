#!/usr/bin/env bash
# Fuzzes what decodes bytes of brokers and name servers (fuzz/), one target after the other; a finding ends the run.
#   fuzz.sh [TARGET...]
# Needs a nightly toolchain (rustup toolchain install nightly); cargo-fuzz is built once, into the cache. The corpus is kept in
# fuzz/corpus, so that a later run goes on from there; what is found is in fuzz/artifacts. Environment:
#   SECONDS_EACH=60   seconds a target
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/common.sh"
cd "$REPOSITORY"
SECONDS_EACH=${SECONDS_EACH:-60}
CARGO_FUZZ_VERSION=0.13.2
TOOLS=$CACHE/cargo-fuzz-$CARGO_FUZZ_VERSION
# No single allocation may be larger: what a length field could ask for is. A frame is 64 MiB at most, inputs here are 16 KiB.
MALLOC_LIMIT_MIB=24

rustup run nightly rustc --version > /dev/null 2>&1 || die "no nightly toolchain; run rustup toolchain install nightly"
[ -x "$TOOLS/bin/cargo-fuzz" ] || cargo install --quiet --locked --root "$TOOLS" cargo-fuzz@$CARGO_FUZZ_VERSION
export PATH=$TOOLS/bin:$PATH
[ $# -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
[ $# = 0 ] || targets=("$@")
step "building"
cargo +nightly fuzz build
mkdir -p fuzz/artifacts
for target in "${targets[@]}"; do
  log=fuzz/artifacts/$target.log
  step "$target: $SECONDS_EACH s"
  cargo +nightly fuzz run "$target" -- -max_total_time="$SECONDS_EACH" -max_len=16384 -malloc_limit_mb=$MALLOC_LIMIT_MIB -timeout=10 \
    -print_final_stats=1 > "$log" 2>&1 || { tail -n 40 "$log" >&2; die "$target: see $log, and the input beside it"; }
  grep -E 'DONE|number_of_executed_units|peak_rss' "$log" | sed 's/^/  /'
done
