# shellcheck shell=bash
# What benchmarks that start servers of their own share. Sourced by bench-*.sh after the settings of tests/cluster.

# release_build VARIABLE: a release build of rocketmq-connector, unless the variable names a program.
release_build() {
  [ -z "${!1:-}" ] || return 0
  step "building rocketmq-connector in release"
  cargo build --release --locked --bin rocketmq-connector
  printf -v "$1" %s "${CARGO_TARGET_DIR:-target}/release/rocketmq-connector"
}

# stop_at_end: whatever way the script ends, the broker INSTANCE goes, and the database DATABASE_INSTANCE when DATABASES is set.
stop_at_end() {
  trap stop_servers EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

stop_servers() {
  local status=$?
  trap - EXIT INT TERM
  "$CLUSTER_SCRIPTS/rocketmq/down.sh" "$INSTANCE"
  rm -rf "${RUN:?}/$INSTANCE"
  if [ -n "${DATABASES:-}" ]; then
    "$CLUSTER_SCRIPTS/databases/down.sh" "$DATABASE_INSTANCE"
    rm -rf "${DATABASES:?}/$DATABASE_INSTANCE"
  fi
  exit "$status"
}
