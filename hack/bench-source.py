"""The runs of bench-source.sh and its table, as a section of docs/benchmarks.md."""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import measure
import remoting
import sync_config

BEGIN, END = "<!-- bench-source: begin -->", "<!-- bench-source: end -->"
ROUNDS, ROWS, RESULTS = int(os.environ["ROUNDS"]), int(os.environ["ROWS"]), pathlib.Path(os.environ["RESULTS"])
TABLE, QUEUES, LIMIT_SECONDS = "bench_rows", 8, 600
NAMES = {"ours": "this sync", "debezium": f"Debezium Server {os.environ['DEBEZIUM_VERSION']}", "pg_recvlogical": "pg_recvlogical, reading alone"}


def sql(*statements):
    """Runs statements as administrator; what the last one selects, as text."""
    command = ["psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-h", os.environ["HOST"], "-p", os.environ["PORT"], "-U", os.environ["ADMIN_USER"], os.environ["DATABASE"]]
    for statement in statements:
        command += ["-c", statement]
    environment = {**os.environ, "PGPASSWORD": os.environ["ADMIN_PASSWORD"]}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def until(what, is_so, process=None):
    end = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        if time.monotonic() > end or (process and process.poll() is not None):
            raise SystemExit(f"error: not reached: {what}; logs are in {RESULTS}")
        time.sleep(0.2)


class Offsets:
    """Asks a broker how many messages a topic has, over one connection."""

    def __init__(self, topic):
        self.topic, self.connection = topic, remoting.Connection(os.environ["BROKER"], 10)

    def total(self):
        return sum(self.of(queue) for queue in range(QUEUES))

    def of(self, queue):
        return int(self.connection.ask(30, {"topic": self.topic, "queueId": str(queue)})["extFields"]["offset"])


def start_ours(topic, slot):
    folder = RESULTS / slot
    folder.mkdir(exist_ok=True)
    server = sync_config.database(folder, os.environ["HOST"], int(os.environ["PORT"]))
    source = {"postgres": {"server": server, "tables": [f"public.{TABLE}"], "slot": slot, "publication": slot, "ddl": "Stop"}}
    target = sync_config.topic({"nameServers": [os.environ["NAME_SERVER"]]}, topic, "bench-source")
    config = sync_config.worker(slot, f"bench/{slot}", 28899, source, target, "Debezium")
    (folder / "worker.json").write_text(json.dumps(config))
    log = open(folder / "log", "a")
    return subprocess.Popen([os.environ["WORKER"], "worker", "--config", str(folder / "worker.json")], stdout=log, stderr=log)


def start_debezium(topic, slot):
    """Debezium Server with its RocketMQ sink: JSON without schemas, larger batches than its defaults."""
    folder = RESULTS / slot
    (folder / "config").mkdir(parents=True, exist_ok=True)
    settings = {
        "debezium.sink.type": "rocketmq", "debezium.sink.rocketmq.producer.name.srv.addr": os.environ["NAME_SERVER"],
        "debezium.sink.rocketmq.producer.group": "bench-debezium", "debezium.sink.rocketmq.producer.send.msg.timeout": 10000,
        "debezium.format.value": "json", "debezium.format.value.schemas.enable": "false", "debezium.format.key": "json",
        "debezium.format.key.schemas.enable": "false",
        "debezium.source.connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "debezium.source.offset.storage.file.filename": folder / "offsets", "debezium.source.offset.flush.interval.ms": 1000,
        "debezium.source.database.hostname": os.environ["HOST"], "debezium.source.database.port": os.environ["PORT"],
        "debezium.source.database.user": os.environ["APP_USER"], "debezium.source.database.password": os.environ["APP_PASSWORD"],
        "debezium.source.database.dbname": os.environ["DATABASE"], "debezium.source.topic.prefix": "bench", "debezium.source.plugin.name": "pgoutput",
        "debezium.source.slot.name": slot, "debezium.source.publication.name": slot, "debezium.source.publication.autocreate.mode": "filtered",
        "debezium.source.table.include.list": f"public.{TABLE}", "debezium.source.snapshot.mode": "no_data",
        "debezium.source.max.batch.size": 4096, "debezium.source.max.queue.size": 16384,
        "debezium.transforms": "route", "debezium.transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "debezium.transforms.route.regex": ".*", "debezium.transforms.route.replacement": topic,
        "quarkus.http.port": 28898, "quarkus.log.level": "WARN",
    }
    (folder / "config/application.properties").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    server = os.environ["DEBEZIUM"]
    runner = next(pathlib.Path(server).glob("*runner.jar"))
    log = open(folder / "log", "a")
    command = [os.environ["JAVA"], "-Xmx1g", "-cp", f"{runner}:{folder}/config:{server}/lib/*", "io.debezium.server.Main"]
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def insert():
    """Rows of about 1 KiB, a thousand in a transaction."""
    sql(f"TRUNCATE {TABLE}",
        f"""DO $$ BEGIN FOR part IN 0..{ROWS // 1000 - 1} LOOP
        INSERT INTO {TABLE} SELECT id, 'customer ' || id % 1000, id * 1.5, id % 2 = 0, repeat(md5(id::text), 30)
        FROM generate_series(part * 1000, part * 1000 + 999) id; COMMIT; END LOOP; END $$""")


def drop(slot):
    sql(f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'", f"DROP PUBLICATION IF EXISTS {slot}")


def captured(kind, start, round_number):
    """Seconds from the first to the last message of the rows that waited, with the process's CPU and memory."""
    topic, slot = f"bench-{kind}-{round_number}", f"bench_{kind}_{round_number}"
    active = lambda: sql(f"SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'") == "t"
    process = start(topic, slot)
    until(f"{kind}: a slot", active, process)
    time.sleep(3)
    stop(process)
    until(f"{kind}: the slot is free", lambda: not active())
    insert()
    offsets = Offsets(topic)
    before, first, end = offsets.total(), None, time.monotonic() + LIMIT_SECONDS
    process = start(topic, slot)
    try:
        while True:
            total = offsets.total() - before
            if total and first is None:
                first = time.monotonic()
            if total >= ROWS:
                break
            if time.monotonic() > end or process.poll() is not None:
                raise SystemExit(f"error: {kind} has written {total} of {ROWS} rows; its log is {RESULTS / slot / 'log'}")
            time.sleep(0.02)
        seconds = time.monotonic() - first
        result = {"kind": kind, "per_second": ROWS / seconds, "cpu": measure.cpu(process.pid), "rss": measure.peak_memory(process.pid)}
    finally:
        stop(process)
    until(f"{kind}: the slot is free", lambda: not active())
    drop(slot)
    return result


def received(round_number):
    """How fast PostgreSQL's own program reads the same changes, to nowhere."""
    slot = f"bench_reading_{round_number}"
    sql(f"CREATE PUBLICATION {slot} FOR TABLE {TABLE}", f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    insert()
    position = sql("SELECT pg_current_wal_lsn()")
    command = ["pg_recvlogical", "-h", os.environ["HOST"], "-p", os.environ["PORT"], "-U", os.environ["APP_USER"], "-d", os.environ["DATABASE"], "--slot", slot,
               "--start", "-o", "proto_version=1", "-o", f"publication_names={slot}", f"--endpos={position}", "-f", "/dev/null"]
    began = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, "PGPASSWORD": os.environ["APP_PASSWORD"]}, stderr=open(RESULTS / "pg_recvlogical.log", "a"))
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status != 0:
        raise SystemExit(f"error: pg_recvlogical: {RESULTS / 'pg_recvlogical.log'}")
    drop(slot)
    return {"kind": "pg_recvlogical", "per_second": ROWS / seconds, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024}


def table(results):
    kinds = [kind for kind in NAMES if any(result["kind"] == kind for result in results)]
    of = lambda kind, name: [result[name] for result in results if result["kind"] == kind]
    ours = statistics.median(of("ours", "per_second"))
    lines = ["| | rows/s (least–most) | this sync is | CPU s a million | RSS MiB |", "|---|---|---|---|---|"]
    for kind in kinds:
        speeds = of(kind, "per_second")
        speed = statistics.median(speeds)
        ratio = "" if kind == "ours" else f"{ours / speed:.2f}×"
        cpu = statistics.median(of(kind, "cpu")) / ROWS * 1e6
        lines.append(f"| {NAMES[kind]} | {speed:,.0f} ({min(speeds):,.0f}–{max(speeds):,.0f}) | {ratio} | {cpu:.1f} | {statistics.median(of(kind, 'rss')):.0f} |")
    return "\n".join(lines)


def main(document):
    machine = measure.machine()
    sql(f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, customer text, amount double precision, paid boolean, note text)",
        f"ALTER TABLE {TABLE} OWNER TO {os.environ['APP_USER']}", f"GRANT CREATE ON DATABASE {os.environ['DATABASE']} TO {os.environ['APP_USER']}")
    results = []
    for round_number in range(1, ROUNDS + 1):
        runs = {"ours": start_ours, "debezium": start_debezium}
        if not os.environ["JAVA"]:
            del runs["debezium"]
        for kind, start in runs.items():
            results.append(captured(kind, start, round_number))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
        results.append(received(round_number))
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    measure.write_section(document, BEGIN, END, f"""{BEGIN}
Written by `make bench-source`: {ROWS:,} inserted rows of about 1 KiB, a thousand in a transaction, wait in PostgreSQL's log and are written to a topic
of {QUEUES} queues of RocketMQ {os.environ["VERSION"]}; medians of {ROUNDS} rounds in turns, from the first message to the last. {machine}; database, broker and
what is measured share the processors. Both write change events in Debezium's form, without schemas; Debezium Server in batches of up to 4,096 (default 2,048); CPU from the start of the process.

{table(results)}
{END}""")


main(sys.argv[1])
