#!/usr/bin/env bash
# Installs PostgreSQL and MariaDB with Debian's packages. No service of theirs is started, no cluster of theirs is made.
# Idempotent: installed packages are left alone.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

missing=()
for package in "postgresql-$POSTGRES_VERSION" mariadb-server-core mariadb-client-core; do
  dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || die "Debian's packages ${missing[*]} are missing; install them as root"
mkdir -p "$CACHE"
exec 9> "$CACHE/.apt.lock"
flock 9
step "databases: installing ${missing[*]}"
# Only for this installation: Debian's package would make and start a cluster of its own.
own=/etc/postgresql-common/createcluster.d/rocketmq-connector-tests.conf
mkdir -p "$(dirname "$own")"
echo "create_main_cluster = false" > "$own"
trap 'rm -f "$own"' EXIT
log=$CACHE/databases-apt.log
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > "$log" 2>&1 ||
  { tail -n 20 "$log" >&2; die "apt-get could not install ${missing[*]}; the log is $log"; }
