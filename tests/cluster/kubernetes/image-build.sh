#!/usr/bin/env bash
# Builds the project's Dockerfile without a Docker engine and loads the image into the test cluster's containerd.
#   image-build.sh base        makes only the base of the build stage
#   image-build.sh [TAG [CONTEXT]]       default: rocketmq-connector-test.local/rocketmq-connector:test and this repository
# There is no registry to pull from: the build stage's base, rust:VERSION-bookworm, is made here, under that very name,
# from Debian packages and the machine's own Rust toolchain. The crates and the build's target folder are kept in the
# cache folder, so a second build compiles only what changed.
# Environment: OUTPUT=FILE   also keep the image as a docker-archive
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
TAG=${1:-$IMAGE_PREFIX/rocketmq-connector:test}
CONTEXT=${2:-$REPOSITORY}
BASE=docker.io/library/rust:$RUST_VERSION-$DEBIAN_RELEASE
BUILD_CACHE=$CACHE/image-build
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
BUILDAH=(nice -n 5 buildah --root "$CACHE/buildah" --runroot "$SOCKETS-buildah" --storage-driver overlay)

# The layout of the public image matters little; that cargo, rustc and a C compiler are on PATH is enough.
make_base() {
  local sysroot sources=() file
  sysroot=$(cd "$REPOSITORY" && rustc --print sysroot)
  [ "$("$sysroot/bin/rustc" --version | cut -d' ' -f2 | cut -d. -f1-2)" = "$RUST_VERSION" ] ||
    die "the machine's Rust is $("$sysroot/bin/rustc" --version), the Dockerfile wants $RUST_VERSION; install that toolchain"
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
    [ -s "$file" ] && grep -qi debian "$file" && sources+=("$file")
  done
  step "base image $BASE: Debian packages"
  nice -n 10 mmdebstrap --quiet --variant=minbase --mode=root --include=ca-certificates,gcc,libc6-dev "$DEBIAN_RELEASE" "$SCRATCH/root.tar" "${sources[@]}"
  step "base image $BASE: toolchain"
  mkdir -p "$SCRATCH/local"
  cp -a "$sysroot/bin" "$sysroot/lib" "$SCRATCH/local/"
  rm -rf "$SCRATCH/local/lib/rustlib/src"
  printf 'FROM scratch\nADD root.tar /\nCOPY local /usr/local\nENV CARGO_HOME=/usr/local/cargo\nCMD ["bash"]\n' > "$SCRATCH/Dockerfile"
  "${BUILDAH[@]}" bud -q --isolation chroot -t "$BASE" "$SCRATCH" > /dev/null
  rm -rf "$SCRATCH/local" "$SCRATCH/root.tar"
}

[ "$(id -u)" = 0 ] || die "buildah with chroot isolation needs root"
command -v buildah > /dev/null || die "buildah is not installed; run install.sh image-tools"
base_exists() { "${BUILDAH[@]}" inspect --type image "$BASE" > /dev/null 2>&1; }
if [ "$TAG" = base ] && base_exists; then exit 0; fi
mkdir -p "$CACHE"
exec 7> "$CACHE/.image-build.lock"
flock 7
base_exists || make_base
[ "$TAG" != base ] || exit 0
mkdir -p "$BUILD_CACHE/registry" "$BUILD_CACHE/target"
step "image $TAG: building"
# The machine's CA bundle is mounted for cargo's downloads only: the image gets Debian's own.
"${BUILDAH[@]}" bud --isolation chroot --pull=never --no-cache -t "$TAG" \
  -v "$BUILD_CACHE/registry:/usr/local/cargo/registry" -v "$BUILD_CACHE/target:/build/target" \
  -v /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro \
  "$CONTEXT" > "$SCRATCH/build.log" 2>&1 || { tail -n 40 "$SCRATCH/build.log" >&2; die "the image build failed"; }
"${BUILDAH[@]}" push -q "$TAG" "docker-archive:$SCRATCH/image.tar:$TAG"
[ -z "${OUTPUT:-}" ] || cp "$SCRATCH/image.tar" "$OUTPUT"
if [ -S "$SOCKETS/containerd.sock" ]; then ctr -a "$SOCKETS/containerd.sock" -n k8s.io images import "$SCRATCH/image.tar" > /dev/null; fi
step "image $TAG: $(($(stat -c %s "$SCRATCH/image.tar") / 1024 / 1024)) MiB"
