"""Runs a sync worker and measures it; makes the table of bench-sync.sh.

  bench-sync.py run WORKER NAME_SERVER SOURCE TARGET MESSAGES    one JSON line; TARGET is a topic, or postgres:PORT:TABLE
  bench-sync.py table LINES DOCUMENT                             prints the tables, and writes them into the document
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import measure
import sync_config

BEGIN, END = "<!-- bench-sync begins -->", "<!-- bench-sync ends -->"
TABLE_BEGIN, TABLE_END = "<!-- bench-sync-table begins -->", "<!-- bench-sync-table ends -->"
LIMIT_SECONDS = 900


def target_of(target, cluster, folder):
    """The target, the format, and the name under which the result is recorded."""
    if not target.startswith("postgres:"):
        return sync_config.topic(cluster, target, "bench-sync"), "Raw", "sync"
    _, port, table = target.split(":")
    server = sync_config.database(folder, "127.0.0.1", int(port))
    return {"postgres": {"server": server, "table": table, "createTable": False}}, "Json", "postgres"


def configuration(name_server, source, target, port, folder):
    cluster = {"nameServers": [name_server]}
    target, form, mode = target_of(target, cluster, folder)
    source = {"rocketMq": {"cluster": cluster, "topics": [source], "filter": "all", "startFrom": "first",
                           "group": f"bench-{time.time_ns()}", "clusterId": "source"}}
    # As the operator has it where the spec names none.
    writers = int(os.environ["WRITERS"] or (4 if mode == "sync" else 1))
    return sync_config.worker("sync", f"bench/{time.time_ns()}", port, source, target, form, writers=writers), mode


def report(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as answer:
        return json.load(answer).get("sync") or {}


def run(worker, name_server, source, target, messages):
    port = 20000 + os.getpid() % 20000
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "worker.json")
        content, mode = configuration(name_server, source, target, port, folder)
        with open(path, "w") as file:
            json.dump(content, file)
        process = subprocess.Popen([worker, "worker", "--config", path], stderr=subprocess.DEVNULL)
        try:
            print(json.dumps(measured(process, port, messages, mode)))
        finally:
            process.terminate()
            process.wait()


def counters(port):
    """Records read and written so far. The report of /status is as old as half a second, which is a tenth of a run."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
        text = answer.read().decode()
    find = lambda name: re.search(rf"^\w*{name}_total\S* (\d+)", text, re.MULTILINE)
    read, written = (find(f"component_{what}_events") for what in ("received", "sent"))
    return (int(read[1]), int(written[1])) if read and written else (0, 0)


def measured(process, port, messages, mode):
    started, first = time.monotonic(), None
    while time.monotonic() - started < LIMIT_SECONDS:
        time.sleep(0.02)
        try:
            read, written = counters(port)
        except OSError:
            continue
        if read and first is None:
            first = time.monotonic()
        if written >= messages:
            seconds = time.monotonic() - first
            cpu, peak = measure.cpu(process.pid), measure.peak_memory(process.pid)
            return {"client": "ours", "mode": mode, "messages": written, "seconds": round(seconds, 3),
                    "msgs_per_s": round(written / seconds), "cpu_seconds": cpu, "rss_mib": round(peak),
                    "resent": report(port).get("resent", 0)}
    raise SystemExit(f"the worker has not written {messages} messages within {LIMIT_SECONDS} s")


def table(lines_path, document):
    groups, loads = {}, []
    with open(lines_path) as file:
        for line in map(json.loads, file):
            result = {**line["result"], "broker_seconds": line["broker_ticks"] / os.sysconf("SC_CLK_TCK")}
            loads.append(line["load"])
            groups.setdefault((line.get("what", "topic"), result["client"], result["mode"]), []).append(result)
    machine = f"({os.cpu_count()} cores for {{}} and pipeline together)"
    load = f"load average {min(loads):.0f}–{max(loads):.0f}; written by `make bench-sync`."
    version = os.environ.get("VERSION", "")
    if ("topic", "ours", "sync") in groups:
        runs = groups[("topic", "ours", "sync")]
        names = {("topic", "ours", "sync"): "this sync", ("topic", "java", "orderly"): "Java, in order",
                 ("topic", "java", "concurrent"): "Java, without order", ("topic", "java", "batch"): "Java, producer alone"}
        write(document, BEGIN, END, "\n".join([
            "## Syncs: RocketMQ → RocketMQ", "",
            f"{runs[0]['messages']:,} messages of 1 KiB from one topic of 8 queues to another on one broker {version} on this machine "
            f"{machine.format('broker')}, medians of {len(runs)} rounds in turns; {load} The Java pipeline is "
            "[`tests/java/Pipeline.java`](../tests/java/Pipeline.java): batches of 256, one send at a time in a queue.", "",
            *rows(groups, names)]))
    if ("table", "ours", "postgres") in groups:
        runs = groups[("table", "ours", "postgres")]
        names = {("table", "ours", "postgres"): "this sync", ("table", "java", "orderly"): "Java and JDBC, in order",
                 ("table", "java", "concurrent"): "Java and JDBC, without order"}
        write(document, TABLE_BEGIN, TABLE_END, "\n".join([
            "## Syncs: RocketMQ → PostgreSQL", "",
            f"{runs[0]['messages']:,} JSON messages of 1 KiB from one topic of 8 queues on one broker {version} into one table of PostgreSQL 15 "
            f"with a primary key on this machine {machine.format('broker, database')}, medians of {len(runs)} rounds in turns; {load} "
            "The Java pipeline is [`tests/java/JdbcPipeline.java`](../tests/java/JdbcPipeline.java): upserts in JDBC batches of up to 500 with "
            "`reWriteBatchedInserts`, a transaction each. It repeats rows after a crash; the sync does not.", "", *rows(groups, names)]))


def rows(groups, names):
    median = {key: statistics.median(run["msgs_per_s"] for run in groups[key]) for key in names if key in groups}
    ours = next(iter(names))
    lines = ["| pipeline | messages/s (least–most) | this sync is | CPU s a million | broker's CPU s a million | RSS MiB |", "|---|---|---|---|---|---|"]
    for key in median:
        runs = groups[key]
        speeds = sorted(run["msgs_per_s"] for run in runs)
        cpu, broker = (statistics.median(run[name] / run["messages"] * 1e6 for run in runs) for name in ("cpu_seconds", "broker_seconds"))
        memory = statistics.median(run.get("rss_mib") or run.get("rss_kib", 0) / 1024 for run in runs)
        ratio = "" if key == ours else f"{median[ours] / median[key]:.2f}×"
        lines.append(f"| {names[key]} | {median[key]:,.0f} ({speeds[0]:,.0f}–{speeds[-1]:,.0f}) | {ratio} | {cpu:.1f} | {broker:.1f} | {memory:.0f} |")
    return lines


def write(document, begin, end, text):
    text = "\n".join([begin, "", text, "", end])
    print(text)
    if os.environ.get("WRITE", "1") != "1":
        return
    old = open(document).read() if os.path.exists(document) else "# Benchmarks\n"
    if begin in old:
        head, rest = old.split(begin, 1)
        text = head + text + rest.split(end, 1)[1]
    else:
        text = old.rstrip() + "\n\n" + text + "\n"
    with open(document, "w") as file:
        file.write(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"] and len(sys.argv) == 7:
        run(*sys.argv[2:6], int(sys.argv[6]))
    elif sys.argv[1:2] == ["table"] and len(sys.argv) == 4:
        table(*sys.argv[2:4])
    else:
        raise SystemExit(__doc__)
