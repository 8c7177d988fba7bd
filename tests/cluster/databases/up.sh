#!/usr/bin/env bash
# Starts databases on loopback ports, as a user that is not root, and returns once they answer.
#   up.sh                                        the instances of settings.sh; those that run are left alone
#   up.sh postgres|mariadb INSTANCE PORT         one of your own, anew: what ran under its name is stopped first
# Environment:
#   SET=conformance|e2e      which instances of settings.sh
#   BIND_ADDRESS=127.0.0.1   address to listen on
#   KEEP=1                   keep the data of an instance that is started anew
#   SETTINGS="a=b c=d"       further settings of the server
# PostgreSQL has wal_level=logical; MariaDB a binary log of rows. Both offer TLS with the certificates of the brokers' tests.
# An instance's `env` has HOST, PORT, DATABASE, users (ADMIN_…, APP_…), CA_FILE and OTHER_CA_FILE, which is not its authority.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
HERE=$CLUSTER_SCRIPTS/databases
BIND_ADDRESS=${BIND_ADDRESS:-127.0.0.1}
read -r -a SETTINGS <<< "${SETTINGS:-}"

if [ $# = 0 ]; then
  "$HERE/install.sh"
  while read -r instance kind port; do
    running "$instance" || KEEP=1 "$HERE/up.sh" "$kind" "$instance" "$port" < /dev/null
  done <<< "$INSTANCES"
  exit 0
fi
[ -x "$POSTGRES_BIN/postgres" ] && [ -x /usr/sbin/mariadbd ] || die "PostgreSQL $POSTGRES_VERSION or MariaDB is not installed; run install.sh"
[ $# = 3 ] || die "usage: up.sh [postgres|mariadb INSTANCE PORT]"
KIND=$1 INSTANCE=$2 PORT=$3
FOLDER=$RUN/$INSTANCE
DATA=$FOLDER/data

write_env() {
  cat > "$FOLDER/env" <<END
KIND=$KIND
HOST=$BIND_ADDRESS
PORT=$PORT
DATABASE=$DATABASE
ADMIN_USER=$ADMIN_USER
ADMIN_PASSWORD=$ADMIN_PASSWORD
APP_USER=$APP_USER
APP_PASSWORD=$APP_PASSWORD
CA_FILE=$CERTIFICATES/ca.pem
OTHER_CA_FILE=$CERTIFICATES/other-ca.pem
END
}

# The key's own copy: PostgreSQL refuses one that others can read.
copy_certificates() {
  "$CLUSTER_SCRIPTS/rocketmq/mkcert.sh"
  install -m 644 "$CERTIFICATES/server.pem" "$FOLDER/server.pem"
  install -m 600 "$CERTIFICATES/server.key" "$FOLDER/server.key"
}

start() { # COMMAND...
  local log=$FOLDER/log
  "${UNPRIVILEGED[@]}" setsid nohup "$@" "${SETTINGS[@]/#/--}" >> "$log" 2>&1 < /dev/null &
  echo $! > "$FOLDER/pid"
}

await() { # WHAT COMMAND...
  local what=$1
  shift
  for _ in $(seq 600); do
    ! "$@" > /dev/null 2>&1 || return 0
    pid_alive "$FOLDER/pid" || { tail -n 20 "$FOLDER/log" >&2; die "$INSTANCE died while it started"; }
    sleep 0.1
  done
  die "$INSTANCE did not $what within 60 s; see $FOLDER/log"
}

up_postgres() {
  if [ ! -f "$DATA/.complete" ]; then
    rm -rf "$DATA"
    printf '%s\n' "$ADMIN_PASSWORD" > "$FOLDER/password"
    "${UNPRIVILEGED[@]}" "$POSTGRES_BIN/initdb" -D "$DATA" -U "$ADMIN_USER" --pwfile="$FOLDER/password" -A scram-sha-256 -E UTF8 --locale=C.UTF-8 > "$FOLDER/log" 2>&1 ||
      { tail -n 20 "$FOLDER/log" >&2; die "$INSTANCE: initdb failed"; }
    rm "$FOLDER/password"
    echo "host all,replication all all scram-sha-256" > "$DATA/pg_hba.conf"
    "${UNPRIVILEGED[@]}" "$POSTGRES_BIN/postgres" --single -D "$DATA" -c max_connections=10 postgres >> "$FOLDER/log" 2>&1 <<END
CREATE ROLE $APP_USER LOGIN REPLICATION PASSWORD '$APP_PASSWORD'
CREATE DATABASE $DATABASE OWNER $APP_USER
END
    touch "$DATA/.complete"
  fi
  start "$POSTGRES_BIN/postgres" -D "$DATA" -p "$PORT" -c "listen_addresses=$BIND_ADDRESS" -c unix_socket_directories= \
    -c wal_level=logical -c max_wal_senders=30 -c max_replication_slots=30 -c max_connections=200 -c wal_sender_timeout=30s \
    -c ssl=on -c "ssl_cert_file=$FOLDER/server.pem" -c "ssl_key_file=$FOLDER/server.key"
  await "accept connections" "$POSTGRES_BIN/pg_isready" -q -h "$BIND_ADDRESS" -p "$PORT"
}

# A server that is ready greets.
greets() { (exec 3<> "/dev/tcp/$BIND_ADDRESS/$PORT" && [ -n "$(timeout 2 head -c 5 <&3 | tr -d '\0')" ]); }

up_mariadb() {
  if [ ! -f "$DATA/.complete" ]; then
    rm -rf "$DATA"
    mkdir -p "$DATA"
    "${UNPRIVILEGED[@]}" mariadb-install-db --no-defaults --basedir=/usr --datadir="$DATA" --auth-root-authentication-method=normal \
      --skip-test-db --skip-name-resolve > "$FOLDER/log" 2>&1 || { tail -n 20 "$FOLDER/log" >&2; die "$INSTANCE: mariadb-install-db failed"; }
    touch "$DATA/.complete"
  fi
  cat > "$FOLDER/users.sql" <<END
CREATE DATABASE IF NOT EXISTS $DATABASE CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS '$ADMIN_USER'@'%' IDENTIFIED BY '$ADMIN_PASSWORD';
GRANT ALL PRIVILEGES ON *.* TO '$ADMIN_USER'@'%' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS '$APP_USER'@'%' IDENTIFIED BY '$APP_PASSWORD';
GRANT ALL PRIVILEGES ON $DATABASE.* TO '$APP_USER'@'%';
GRANT RELOAD, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '$APP_USER'@'%';
END
  start /usr/sbin/mariadbd --no-defaults --datadir="$DATA" --bind-address="$BIND_ADDRESS" --port="$PORT" --socket=mariadb.sock \
    --pid-file="$FOLDER/mariadb.pid" --init-file="$FOLDER/users.sql" --skip-name-resolve --server-id=1 \
    --log-bin=binlog --binlog-format=ROW --binlog-row-image=FULL --binlog-row-metadata=FULL --max-connections=200 \
    --innodb-log-file-size=64M --innodb-buffer-pool-size=128M --ssl-cert="$FOLDER/server.pem" --ssl-key="$FOLDER/server.key"
  await "greet" greets
}

stop_process "$FOLDER/pid"
[ -n "${KEEP:-}" ] || rm -rf "$FOLDER"
mkdir -p "$FOLDER"
write_env
copy_certificates
case $KIND in
  postgres) up_postgres ;;
  mariadb) up_mariadb ;;
  *) die "kind \"$KIND\" is not known; use postgres or mariadb" ;;
esac
step "$INSTANCE: $KIND $BIND_ADDRESS:$PORT"
