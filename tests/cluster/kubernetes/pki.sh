#!/usr/bin/env bash
# The cluster's authorities, certificates and kubeconfigs in $PKI, made once and kept when the cluster is wiped.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

[ ! -f "$PKI/.complete" ] || exit 0
mkdir -p "$PKI"
cd "$PKI"
umask 077

authority() { # NAME COMMON-NAME
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
  openssl req -x509 -new -key "$1.key" -days 3650 -subj "/CN=$2" -out "$1.crt" \
    -addext "keyUsage=critical,keyCertSign,cRLSign,digitalSignature" 2>/dev/null
}

certificate() { # AUTHORITY NAME SUBJECT EXTENDED-KEY-USAGE [SUBJECT-ALTERNATIVE-NAMES]
  openssl ecparam -name prime256v1 -genkey -noout -out "$2.key"
  openssl req -new -key "$2.key" -subj "$3" -out "$2.csr"
  openssl x509 -req -in "$2.csr" -CA "$1.crt" -CAkey "$1.key" -set_serial "0x$(openssl rand -hex 8)" -days 3650 -out "$2.crt" -extfile <(
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "$4"
    [ -z "${5:-}" ] || printf 'subjectAltName=%s\n' "$5") 2>/dev/null
  rm -f "$2.csr"
}

base64_of() { base64 -w0 < "$1"; }

kubeconfig() { # USER
  cat > "$1.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: rocketmq-connector-test, cluster: {server: "https://$NODE_ADDRESS:$API_PORT", certificate-authority-data: $(base64_of ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64_of "$1.crt"), client-key-data: $(base64_of "$1.key")}}]
contexts: [{name: rocketmq-connector-test, context: {cluster: rocketmq-connector-test, user: $1}}]
current-context: rocketmq-connector-test
EOF
}

authority ca rocketmq-connector-test-ca
authority front-proxy-ca rocketmq-connector-test-front-proxy-ca
authority etcd-ca rocketmq-connector-test-etcd-ca
certificate etcd-ca etcd /CN=etcd serverAuth,clientAuth "DNS:localhost,IP:127.0.0.1"
certificate etcd-ca apiserver-etcd-client /CN=kube-apiserver-etcd-client clientAuth
certificate ca apiserver /CN=kube-apiserver serverAuth "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$API_SERVICE_ADDRESS,IP:$NODE_ADDRESS"
certificate ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
certificate front-proxy-ca front-proxy-client /CN=front-proxy-client clientAuth
certificate ca admin /O=system:masters/CN=kubernetes-admin clientAuth
certificate ca controller-manager /CN=system:kube-controller-manager clientAuth
certificate ca scheduler /CN=system:kube-scheduler clientAuth
certificate ca proxy /CN=system:kube-proxy clientAuth
certificate ca kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" clientAuth
certificate ca kubelet-serving "/O=system:nodes/CN=system:node:$NODE_NAME" serverAuth "DNS:$NODE_NAME,IP:$NODE_ADDRESS"
openssl genrsa -out service-account.key 2048 2>/dev/null
openssl rsa -in service-account.key -pubout -out service-account.pub 2>/dev/null
for user in admin controller-manager scheduler proxy kubelet; do kubeconfig "$user"; done
touch .complete
