#!/usr/bin/env bash
# A copy of the certificates of the tls instances whose server certificate has expired; start an instance with
# CERTIFICATES=FOLDER to have it served.
#   expired.sh FOLDER
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

[ $# = 1 ] || die "usage: expired.sh FOLDER"
"$CLUSTER_SCRIPTS/rocketmq/mkcert.sh"
umask 077
mkdir -p "$1"
cp "$CERTIFICATES"/{ca.pem,ca.key,client.pem,client.key,server.key} "$1"
cd "$1"
: > index.txt
cat > ca.conf <<EOF
[ca]
default_ca = authority
[authority]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
certificate = ca.pem
private_key = ca.key
x509_extensions = server
[any]
commonName = supplied
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
EOF
openssl req -new -key server.key -out server.csr -subj "/CN=server" 2>/dev/null
openssl ca -batch -notext -config ca.conf -startdate 20200101000000Z -enddate 20200201000000Z -in server.csr -out server.pem 2>/dev/null
touch .complete
