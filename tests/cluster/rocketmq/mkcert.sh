#!/usr/bin/env bash
# Certificates of the tls instances, made once: ca.pem signs server and client for 127.0.0.1, localhost and the
# cluster's bridge; other-ca.pem signs other-client and nothing else, to prove that a stranger is refused.
# Keys are PKCS#8, which is what RocketMQ reads.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
# shellcheck source=../kubernetes/settings.sh
. "$CLUSTER_SCRIPTS/kubernetes/settings.sh"

[ ! -f "$CERTIFICATES/.complete" ] || exit 0
# The matrix starts several instances at once: the first makes the certificates, the others wait for it.
mkdir -p "$CERTIFICATES"
exec 9> "$CERTIFICATES/.lock"
flock 9
[ ! -f "$CERTIFICATES/.complete" ] || exit 0
cd "$CERTIFICATES"
umask 077

authority() { # NAME
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.pem" -days 3650 -subj "/CN=rocketmq-connector-test $1" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
}
# rustls refuses X.509 version 1: the extensions make it version 3.
certificate() { # AUTHORITY NAME EXTENDED-KEY-USAGE
  openssl req -newkey rsa:2048 -nodes -keyout "$2.key" -out "$2.csr" -subj "/CN=$2" 2>/dev/null
  openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1.key" -CAcreateserial -out "$2.pem" -days 3650 -extfile <(
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=%s\n' "$3"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:%s\n' "$NODE_ADDRESS") 2>/dev/null
  rm -f "$2.csr"
}
authority ca
authority other-ca
certificate ca server serverAuth,clientAuth
certificate ca client clientAuth
certificate other-ca other-client clientAuth
touch .complete
