#!/usr/bin/env bash
# Compares syncs from RocketMQ with the pipelines that a user would write with Apache's Java client, in turns, on one broker.
#   bench-sync.sh [topic] [table]      default: both
# Starts a broker of its own, stores MESSAGES of 1 KiB in a topic of 8 queues, copies them in each run to a new topic, or with
# JSON bodies to an emptied table of a PostgreSQL of its own, and writes medians and ratios into docs/benchmarks.md. What a bare
# producer reaches on that broker stands beside. Environment:
#   ROUNDS=3            rounds; the figures are medians
#   MESSAGES=1000000    to a table, a fifth of it
#   VERSION=5.4.0       RocketMQ of the broker
#   WRITERS=            writers of a sync (batch.writers) instead of the default: 4 between topics, 1 into a table
#   WORKER=FILE         a compiled rocketmq-connector instead of building it in release
#   WRITE=0             print the table only
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/rocketmq/settings.sh"
WHAT=" ${*:-topic table} "
. "$REPOSITORY/hack/bench-servers.sh"
cd "$REPOSITORY"
export WRITERS=${WRITERS:-}
ROUNDS=${ROUNDS:-3} MESSAGES=${MESSAGES:-1000000} VERSION=${VERSION:-5.4.0} QUEUES=8
INSTANCE=bench-sync-$VERSION BASE_PORT=28700
NAME_SERVER=127.0.0.1:$BASE_PORT POSTGRES_PORT=28790 DATABASE_INSTANCE=bench-postgres
RESULTS=$CACHE/bench-sync
BATCH_MESSAGES=$((MESSAGES < 500000 ? MESSAGES : 500000))

topic() { # NAME
  "$CLUSTER_SCRIPTS/rocketmq/mqadmin.sh" "$INSTANCE" updateTopic -c DefaultCluster -t "$1" -r "$QUEUES" -w "$QUEUES" > /dev/null
}

# Runs a command that prints its result as one JSON line, and records it with the CPU that the broker used meanwhile.
record() { # COMMAND...
  local before result
  before=$(broker_cpu)
  result=$("$@")
  printf '{"round": %d, "load": %s, "what": "%s", "broker_ticks": %d, "result": %s}\n' "$round" "$(cut -d ' ' -f 1 /proc/loadavg)" "$what" \
    "$(($(broker_cpu) - before))" "$result" >> "$RESULTS/lines.json"
}

broker_cpu() { # in ticks of the clock
  sed 's/.*) //' "/proc/$BROKER_PID/stat" | awk '{print $12 + $13}'
}

ours() { # TARGET
  record python3 hack/bench-sync.py run "$WORKER" "$NAME_SERVER" bench-source "$1" "$MESSAGES"
}

java_pipeline() { # MODE TARGET
  record tests/java/run.sh Pipeline "$1" "namesrv=$NAME_SERVER" topic=bench-source "to=$NAME_SERVER" "target=$2" "messages=$MESSAGES"
}

bare_producer() {
  record tests/java/run.sh Bench batch "namesrv=$NAME_SERVER" topic=bench-bare "messages=$BATCH_MESSAGES" inflight="$QUEUES" batch=256
}

mkdir -p "$RESULTS"
rm -f "$RESULTS/lines.json"
release_build WORKER
stop_at_end
"$CLUSTER_SCRIPTS/rocketmq/install.sh" "$VERSION"
# the JVM's own choice of compilers: the broker should not be the slowest part
INSTANCE=$INSTANCE PROXY=none HEAP=1g JAVA_OPTIONS='' "$CLUSTER_SCRIPTS/rocketmq/up.sh" "$VERSION" plain "$BASE_PORT"
BROKER_PID=$(cat "$RUN/$INSTANCE/broker-a-0/pid")

bench_topic() {
  what=topic
  topic bench-source
  topic bench-bare
  step "storing $MESSAGES messages of 1 KiB"
  tests/java/run.sh Bench batch "namesrv=$NAME_SERVER" topic=bench-source "messages=$MESSAGES" inflight="$QUEUES" batch=256 > /dev/null
  # The broker's own code is compiled by its machine while it runs: nobody's first round pays for that.
  topic bench-warm-up
  tests/java/run.sh Pipeline orderly "namesrv=$NAME_SERVER" topic=bench-source "to=$NAME_SERVER" target=bench-warm-up "messages=$MESSAGES" > /dev/null
  for round in $(seq "$ROUNDS"); do
    step "topics: round $round of $ROUNDS"
    for run in ours orderly concurrent; do
      topic "bench-$run-$round"
      case $run in
        ours) ours "bench-$run-$round" ;;
        *) java_pipeline "$run" "bench-$run-$round" ;;
      esac
    done
    bare_producer
  done
}

sql() { # STATEMENT
  PGPASSWORD=$APP_PASSWORD psql -q -h 127.0.0.1 -p "$POSTGRES_PORT" -U "$APP_USER" "$DATABASE" -c "$1"
}

bench_table() {
  what=table
  local messages=$((MESSAGES / 5)) driver=$CACHE/java/jdbc/postgresql-$POSTGRES_JDBC_VERSION.jar url
  [ -f "$driver" ] || mvn -q -B "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy" \
    "-Dartifact=org.postgresql:postgresql:$POSTGRES_JDBC_VERSION" "-DoutputDirectory=$(dirname "$driver")"
  "$CLUSTER_SCRIPTS/databases/install.sh"
  DATABASES=$("$CLUSTER_SCRIPTS/databases/status.sh" folder)
  SETTINGS="shared_buffers=256MB max_wal_size=4GB" "$CLUSTER_SCRIPTS/databases/up.sh" postgres "$DATABASE_INSTANCE" "$POSTGRES_PORT"
  set -a
  # shellcheck source=/dev/null
  . "$DATABASES/$DATABASE_INSTANCE/env"
  set +a
  url="jdbc:postgresql://127.0.0.1:$POSTGRES_PORT/$DATABASE?reWriteBatchedInserts=true"
  topic bench-rows
  step "storing $messages JSON messages of 1 KiB"
  tests/java/run.sh JdbcPipeline store "namesrv=$NAME_SERVER" topic=bench-rows "messages=$messages"
  sql "CREATE TABLE bench (id bigint PRIMARY KEY, customer text, amount double precision, paid boolean, note text)"
  for round in $(seq "$ROUNDS"); do
    step "tables: round $round of $ROUNDS"
    for run in ours orderly concurrent; do
      # Each run finds the same: an empty table, and nothing left to write from the run before.
      sql "TRUNCATE bench"
      PGPASSWORD=$ADMIN_PASSWORD psql -q -h 127.0.0.1 -p "$POSTGRES_PORT" -U "$ADMIN_USER" "$DATABASE" -c CHECKPOINT
      case $run in
        ours) record python3 hack/bench-sync.py run "$WORKER" "$NAME_SERVER" bench-rows "postgres:$POSTGRES_PORT:bench" "$messages" ;;
        *) EXTRA_JARS=$driver record tests/java/run.sh JdbcPipeline "$run" "namesrv=$NAME_SERVER" topic=bench-rows "messages=$messages" \
          "url=$url" "user=$APP_USER" "password=$APP_PASSWORD" table=bench ;;
      esac
    done
  done
}

case $WHAT in *" topic "*) bench_topic ;; esac
case $WHAT in *" table "*) bench_table ;; esac
WRITE=${WRITE:-1} VERSION=$VERSION python3 hack/bench-sync.py table "$RESULTS/lines.json" docs/benchmarks.md
