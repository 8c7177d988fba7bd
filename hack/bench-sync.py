"""Runs a sync worker and measures it; makes the table of bench-sync.sh.

  bench-sync.py run WORKER NAME_SERVER SOURCE TARGET MESSAGES    one JSON line
  bench-sync.py table LINES DOCUMENT                             prints the table, and writes it into the document
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

BEGIN, END = "<!-- bench-sync begins -->", "<!-- bench-sync ends -->"
LIMIT_SECONDS = 900


def configuration(name_server, source, target, port):
    cluster = {"nameServers": [name_server]}
    return {
        "version": 1,
        "identity": {"kind": "RocketMQSync", "namespace": "bench", "name": "sync", "generation": 1},
        "admin": {"host": "127.0.0.1", "port": port},
        "role": {"sync": {
            "name": "bench/sync",
            "source": {"rocketMq": {"cluster": cluster, "topics": [source], "filter": "all", "startFrom": "first",
                                    "group": f"bench-{time.time_ns()}", "clusterId": "source"}},
            "target": {"rocketMq": {"cluster": cluster, "topic": target, "group": "bench-sync", "createTopics": False,
                                    "clusterId": "target"}},
            "mode": "Incremental", "format": "Raw",
            # what a RocketMQSync has when its manifest says nothing
            "batch": {"maxRecords": 500, "maxBytes": 1 << 20, "maxWaitMillis": 100},
            "write": {"insert": "Update", "update": "Insert", "delete": "Ignore"},
            "errors": {"retryIntervalMillis": 60000, "onInvalid": "stop"},
        }},
    }


def report(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as answer:
        return json.load(answer).get("sync") or {}


def usage(pid):
    """CPU seconds and the highest resident memory in MiB."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    with open(f"/proc/{pid}/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), peak / 1024


def run(worker, name_server, source, target, messages):
    port = 20000 + os.getpid() % 20000
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "worker.json")
        with open(path, "w") as file:
            json.dump(configuration(name_server, source, target, port), file)
        process = subprocess.Popen([worker, "worker", "--config", path], stderr=subprocess.DEVNULL)
        try:
            print(json.dumps(measure(process, port, messages)))
        finally:
            process.terminate()
            process.wait()


def measure(process, port, messages):
    started, first = time.monotonic(), None
    while time.monotonic() - started < LIMIT_SECONDS:
        time.sleep(0.02)
        try:
            now = report(port)
        except OSError:
            continue
        if now.get("read") and first is None:
            first = time.monotonic()
        if now.get("written", 0) >= messages:
            seconds = time.monotonic() - first
            cpu, peak = usage(process.pid)
            return {"client": "ours", "mode": "sync", "messages": now["written"], "seconds": round(seconds, 3),
                    "msgs_per_s": round(now["written"] / seconds), "cpu_seconds": cpu, "rss_mib": round(peak),
                    "resent": now.get("resent", 0)}
    raise SystemExit(f"the worker has not written {messages} messages within {LIMIT_SECONDS} s")


def table(lines_path, document):
    groups, loads = {}, []
    with open(lines_path) as file:
        for line in map(json.loads, file):
            result = line["result"]
            loads.append(line["load"])
            groups.setdefault((result["client"], result["mode"]), []).append(result)
    median = {key: statistics.median(run["msgs_per_s"] for run in runs) for key, runs in groups.items()}
    ours, bare = median[("ours", "sync")], median.get(("java", "batch"))
    names = {("ours", "sync"): "this sync", ("java", "orderly"): "Java, in order", ("java", "concurrent"): "Java, without order",
             ("java", "batch"): "Java, producer alone"}
    rows = ["| pipeline | messages/s (least–most) | this sync is | CPU s a million | RSS MiB |", "|---|---|---|---|---|"]
    for key, name in names.items():
        runs = groups.get(key)
        if not runs:
            continue
        speeds = sorted(run["msgs_per_s"] for run in runs)
        cpu = statistics.median(run["cpu_seconds"] / run["messages"] * 1e6 for run in runs)
        memory = statistics.median(run.get("rss_mib") or run.get("rss_kib", 0) / 1024 for run in runs)
        ratio = "" if key == ("ours", "sync") else f"{ours / median[key]:.2f}×"
        rows.append(f"| {name} | {median[key]:,.0f} ({speeds[0]:,.0f}–{speeds[-1]:,.0f}) | {ratio} | {cpu:.1f} | {memory:.0f} |")
    count = groups[("ours", "sync")][0]["messages"]
    text = "\n".join([
        BEGIN, "", "## Syncs: RocketMQ → RocketMQ", "",
        f"{count:,} messages of 1 KiB from one topic of 8 queues to another on one broker {os.environ.get('VERSION', '')} on this machine "
        f"({os.cpu_count()} cores for broker and pipeline together), medians of {len(groups[('ours', 'sync')])} rounds in turns; "
        f"load average {min(loads):.0f}–{max(loads):.0f}; written by `make bench-sync`. The Java pipeline is [`tests/java/Pipeline.java`](../tests/java/Pipeline.java): batches of 256, one "
        "send at a time in a queue.", "", *rows, "", END])
    print(text)
    if bare:
        print(f"share of the bare producer: {ours / bare:.0%}")
    if os.environ.get("WRITE", "1") == "1":
        write(document, text)


def write(document, text):
    old = open(document).read() if os.path.exists(document) else "# Benchmarks\n"
    if BEGIN in old:
        head, rest = old.split(BEGIN, 1)
        text = head + text + rest.split(END, 1)[1]
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
