# shellcheck shell=bash disable=SC2034 # the sourcing script uses the names
# Where database instances live and how they are run. Sourced by the scripts of this folder.
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# One folder an instance, each with an `env` file that tests read. Tests get this folder as DATABASES_TEST_RUN.
RUN=${DATABASES_TEST_RUN:-$CACHE/run/databases}
CERTIFICATES=${CERTIFICATES:-$CACHE/rocketmq/certificates}
POSTGRES_BIN=/usr/lib/postgresql/$POSTGRES_VERSION/bin

# The instances of the tests, on fixed ports: INSTANCE KIND PORT. Those of e2e are reached by pods: see BIND_ADDRESS of up.sh.
case ${SET:=conformance} in
  conformance) INSTANCES="postgres postgres 15432
mariadb mariadb 13306" ;;
  e2e) INSTANCES="e2e-postgres postgres 21432
e2e-mariadb mariadb 21306" ;;
  *) die "SET \"$SET\" is not known; use conformance or e2e" ;;
esac

# An administrator, who may also replicate, and an application's user, who owns the database.
DATABASE=connector
ADMIN_USER=admin ADMIN_PASSWORD=admin12345678
APP_USER=app APP_PASSWORD=app12345678

# UNPRIVILEGED: what a command begins with that must not run as root, on which PostgreSQL insists. It is root in a user
# namespace, under another name: so its files can be in the home of whoever runs the tests.
UNPRIVILEGED=()
if [ "$(id -u)" = 0 ] && id postgres > /dev/null 2>&1; then
  UNPRIVILEGED=(unshare --user "--map-user=$(id -u postgres)" "--map-group=$(id -g postgres)")
fi

# running INSTANCE: whether it was started and lives.
running() { [ -f "$RUN/$1/env" ] && pid_alive "$RUN/$1/pid"; }

# stop_process FILE: ends the process whose id FILE holds, if it is still ours: INT, which PostgreSQL takes as "now but
# cleanly", with TERM for MariaDB, and KILL after 30 s.
stop_process() {
  local pid signal=INT
  [ -f "$1" ] || return 0
  pid=$(cat "$1")
  # A recycled process id belongs to somebody else: its command line does not name our folder.
  if grep -qa "$RUN/" "/proc/$pid/cmdline" 2>/dev/null; then
    ! grep -qa mariadbd "/proc/$pid/cmdline" || signal=TERM
    kill -"$signal" "$pid" 2>/dev/null || true
    for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$1"
}
