"""The runs of bench-binding.sh and their tables, as a section of docs/benchmarks.md."""

import http.client
import json
import os
import pathlib
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time

BEGIN, END = "<!-- bench-binding: begin -->", "<!-- bench-binding: end -->"
ROUNDS, BACKLOG = int(os.environ["ROUNDS"]), int(os.environ["BACKLOG"])
RESULTS = pathlib.Path(os.environ["RESULTS"])
SIDES = ("daprd", "ours")
NAMES = {"daprd": "daprd", "ours": "worker"}
SIZE = 1024
# What issue and README promise: at least so many times daprd's rate; a p99 of at most this part of daprd's.
BARS = {"HTTP create, 1 caller": (1.5, None), "HTTP create, 16 callers": (3, None), "HTTP create, 64 callers": (5, 1 / 3),
        "HTTP create, 256 callers": (5, 1 / 3), "gRPC create, 64 callers": (4, None),
        "backlog to an HTTP app": (4, None), "backlog to a gRPC app": (4, None)}
CREATE_CPU_BAR, IDLE_BAR, LOAD_BAR = 4.0, 15, 30
started = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - started:5.0f}s] {text}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port, path):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", path)
        return connection.getresponse().status in (200, 204)
    except OSError:
        return False


def until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"error: {what} within {seconds} s; the logs are in {RESULTS}")
        time.sleep(0.05)


def load(*arguments):
    done = subprocess.run([os.environ["LOAD"], *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"error: load {arguments} failed")
    return json.loads(done.stdout)


class Process:
    """A sidecar or a worker in a folder of its own."""

    def __init__(self, name, arguments, environment=None):
        log = open(RESULTS / f"{name}.log", "w")
        self.process = subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, **(environment or {})})
        self.pid = self.process.pid

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def daprd(name, topic, direction, app_port=None, protocol="http"):
    folder = RESULTS / f"components-{name}"
    folder.mkdir(exist_ok=True)
    fields = {"accessProto": "tcp", "nameServer": os.environ["NAME_SERVER"], "topics": topic, "consumerGroup": f"g-{topic}",
              "direction": direction}
    items = [{"name": key, "value": value} for key, value in fields.items()]
    spec = {"type": "bindings.rocketmq", "version": "v1", "metadata": items}
    manifest = {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": "bench"}, "spec": spec}
    (folder / "bench.yaml").write_text(json.dumps(manifest))
    http_port, grpc_port = free_port(), free_port()
    app = ["--app-port", str(app_port), "--app-protocol", protocol] if app_port else []
    process = Process(name, [
        os.environ["DAPRD"], "--app-id", "bench", "--resources-path", str(folder), "--dapr-http-port", str(http_port),
        "--dapr-grpc-port", str(grpc_port), "--metrics-port", str(free_port()), "--dapr-internal-grpc-port", str(free_port()),
        "--dapr-listen-addresses", "127.0.0.1", "--scheduler-host-address", "", "--placement-host-address", "",
        "--disable-init-endpoints", "", "--log-level", "warn", *app])
    if direction == "output":
        until(lambda: answers(http_port, "/v1.0/healthz/outbound"), "daprd was not healthy")
    return process, http_port, grpc_port


def ours(name, topic, direction, app_port=None, protocol="http"):
    http_port, grpc_port, admin_port = free_port(), free_port(), free_port()
    binding = {"name": "bench", "cluster": {"nameServers": [os.environ["NAME_SERVER"]]}, "topics": [{"topic": topic}],
               "group": f"g-{topic}", "retries": 3}
    if direction == "output":
        binding["output"] = {"host": "127.0.0.1", "httpPort": http_port, "grpcPort": grpc_port, "maxBodyBytes": 4 << 20}
    else:
        binding["input"] = {"appUrl": f"{protocol}://127.0.0.1:{app_port}", "protocol": protocol, "path": "/bench", "maxConcurrency": 20,
                            "timeoutMillis": 30000, "batchSize": 32, "ordered": False, "startFrom": "first",
                            "redelivery": {"maxAttempts": 16, "backoff": "brokerLevels"}}
    identity = {"kind": "RocketMQBinding", "namespace": "bench", "name": "bench", "generation": 1}
    config = {"version": 1, "identity": identity, "admin": {"host": "127.0.0.1", "port": admin_port}, "role": {"binding": binding}}
    file = RESULTS / f"{name}.json"
    file.write_text(json.dumps(config))
    process = Process(name, [os.environ["BINARY"], "worker", "--config", str(file)], {"ROCKETMQ_CONNECTOR_LOG": "warn"})
    if direction == "output":
        until(lambda: answers(admin_port, "/readyz"), "the worker was not ready")
    return process, http_port, grpc_port


START = {"daprd": daprd, "ours": ours}


def profile(case, side, process):
    """With PROFILE, where a worker spends its time, in the folder of results; perf ends with the process at the latest."""
    if side != "ours" or not os.environ["PROFILE"]:
        return lambda: None
    data = RESULTS / f"perf-{case.replace(' ', '-').replace(',', '')}.data"
    seconds = os.environ["SECONDS_EACH"]
    recorder = subprocess.Popen(["perf", "record", "-q", "-F", "999", "-g", "-o", str(data), "-p", str(process.pid), "--", "sleep", seconds], stderr=subprocess.DEVNULL)

    def report():
        recorder.wait(60)
        command = ["perf", "report", "-i", str(data), "--no-children", "-g", "none", "--percent-limit", "0.5", "--stdio"]
        text = subprocess.run(command, capture_output=True, text=True).stdout
        data.with_suffix(".txt").write_text(text)

    return report


def create_cases():
    cases = [("HTTP create, 1 caller", "http", 1), ("HTTP create, 16 callers", "http", 16),
             ("HTTP create, 64 callers", "http", 64), ("HTTP create, 256 callers", "http", 256)]
    return cases + [("gRPC create, 64 callers", "grpc", 64)]


def is_wanted(case):
    return os.environ["CASES"] in case


def measure_creates(results, number):
    sides = SIDES if number % 2 else SIDES[::-1]
    for case, mode, callers in create_cases():
        if not is_wanted(case):
            continue
        for side in sides:
            process, http_port, grpc_port = START[side](f"{side}-output", f"bench-{side}", "output")
            address = f"127.0.0.1:{http_port if mode == 'http' else grpc_port}"
            common = ("-c", callers, "-size", SIZE)
            # The first sends create the topic and warm up code and caches.
            load(mode, "-address", address, "-seconds", 1, *common)
            before = shares()
            report = profile(case, side, process)
            result = load(mode, "-address", address, "-seconds", os.environ["SECONDS_EACH"], "-pid", process.pid, *common)
            result |= spent(before, result["per_second"] * result["seconds"])
            report()
            process.stop()
            note(results, case, side, result)


def measure_idle(results, number):
    for side in SIDES:
        process, _, _ = START[side](f"{side}-output", f"bench-{side}", "output")
        time.sleep(3)
        note(results, "idle", side, load("idle", "-pid", process.pid, "-seconds", 2))
        process.stop()


def measure_backlogs(results, number):
    for case, protocol in (("backlog to an HTTP app", "http"), ("backlog to a gRPC app", "grpc")):
        if not is_wanted(case):
            continue
        for side in SIDES if number % 2 else SIDES[::-1]:
            topic = f"backlog-{side}-{protocol}-{int(time.time())}"
            fill = ("broker", "-address", os.environ["BROKER"], "-topic", topic, "-size", SIZE)
            count = load(*fill, "-n", 8, "-c", 1)["messages"] + load(*fill, "-n", BACKLOG, "-c", 4, "-queues", 4, "-batch", 32)["messages"]
            port = free_port()
            # The name server has the topic's route once the broker has told it.
            time.sleep(1)
            before = shares()
            sink = subprocess.Popen([os.environ["LOAD"], "sink", f"-{protocol}", str(port), "-n", str(count)], stdout=subprocess.PIPE, text=True)
            until(lambda: listens(port), "the sink did not listen")
            process, _, _ = START[side](f"{side}-input", topic, "input", port, protocol)
            report = profile(case, side, process)
            out, _ = sink.communicate()
            others = spent(before, count)
            after = load("idle", "-pid", process.pid, "-seconds", 0)
            result = json.loads(out)
            result |= others | {"failed": count - result["messages"], "rss_mib": after["rss_mib"], "cpu_per_100k": total_cpu(process.pid) / count * 1e5}
            report()
            process.stop()
            note(results, case, side, result)


def measure_cold_start(results, number):
    """From the start of the process to the first message at the application, with a message that waits."""
    for side in SIDES if number % 2 else SIDES[::-1]:
        topic = f"cold-{side}-{int(time.time())}"
        load("broker", "-address", os.environ["BROKER"], "-topic", topic, "-n", 4, "-c", 4, "-queues", 4, "-size", SIZE)
        time.sleep(1)
        port = free_port()
        sink = subprocess.Popen([os.environ["LOAD"], "sink", "-http", str(port), "-n", "1"], stdout=subprocess.PIPE, text=True)
        until(lambda: listens(port), "the sink did not listen")
        began = time.monotonic()
        process, _, _ = START[side](f"{side}-cold", topic, "input", port)
        sink.communicate()
        note(results, "cold start", side, {"seconds": time.monotonic() - began})
        process.stop()


def total_cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shares():
    """CPU seconds of the broker so far, and of the callers and applications that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return total_cpu(int(os.environ["BROKER_PID"])), children.ru_utime + children.ru_stime


def spent(before, messages):
    """What broker and callers or application have used since, for 100,000 messages."""
    broker, peer = (after - earlier for after, earlier in zip(shares(), before))
    return {"broker_per_100k": broker / messages * 1e5, "peer_per_100k": peer / messages * 1e5}


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure_broker(results):
    for case, callers, batch in (("1 message a request, 64 connections", 64, 1), ("32 messages a request, 8 connections", 8, 32)):
        result = load("broker", "-address", os.environ["BROKER"], "-topic", "bench-broker", "-c", callers, "-queues", 4, "-batch", batch,
                      "-size", SIZE, "-seconds", os.environ["SECONDS_EACH"])
        note(results, case, "broker", result)


def note(results, case, side, result):
    result["load"] = float(open("/proc/loadavg").read().split()[0])
    results.setdefault(case, {}).setdefault(side, []).append(result)
    figures = ", ".join(f"{key} {value}" for key, value in result.items() if key in ("per_second", "seconds", "p99_ms", "cpu_per_100k", "rss_mib", "failed"))
    say(f"{case}: {side}: {figures}")


# ---- tables

def median(runs, field):
    values = [run[field] for run in runs if run.get(field) is not None]
    return statistics.median(values) if values else None


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def verdict(case, rate, p99):
    least, most = BARS[case]
    words = [f"≥ {least:g}×: " + ("yes" if rate >= least else "**no**")]
    if most:
        words.append("p99 ≤ ⅓: " + ("yes" if p99 <= most else "**no**"))
    return ", ".join(words)


def compared(results):
    rows = ["| case | | messages/s (min–max) | p50 ms | p99 ms | CPU s per 100,000 | RSS MiB | failed | rate, × daprd | p99, × daprd | asked |",
            "|---|---|---|---|---|---|---|---|---|---|---|"]
    for case in BARS:
        sides = results.get(case, {})
        for side in SIDES:
            runs = sides.get(side)
            if not runs:
                continue
            rates = [run["per_second"] for run in runs]
            row = [case, NAMES[side], f"{number(median(runs, 'per_second'))} ({number(min(rates))}–{number(max(rates))})",
                   number(median(runs, "p50_ms"), 2), number(median(runs, "p99_ms"), 1), number(median(runs, "cpu_per_100k"), 1),
                   number(max(run["rss_mib"] for run in runs), 1), number(sum(run["failed"] for run in runs))]
            if side == "ours" and sides.get("daprd"):
                rate = median(runs, "per_second") / median(sides["daprd"], "per_second")
                both = median(runs, "p99_ms"), median(sides["daprd"], "p99_ms")
                p99 = both[0] / both[1] if all(both) else None
                row += [f"{rate:.1f}", number(p99, 2), verdict(case, rate, p99)]
            else:
                row += ["", "", ""]
            rows.append("| " + " | ".join(row) + " |")
    return "\n".join(rows)


def split(results):
    """Where the processors' time goes, and what that leaves."""
    rows = ["| case | | process | broker | callers or app | all | processors busy | × daprd, if the process cost nothing |", "|---|---|---|---|---|---|---|---|"]
    for case in BARS:
        sides = results.get(case, {})
        for side in SIDES:
            if not sides.get(side):
                continue
            own, broker, peer = (median(sides[side], field) for field in ("cpu_per_100k", "broker_per_100k", "peer_per_100k"))
            rate = median(sides[side], "per_second")
            busy = (own + broker + peer) * rate / 1e5 / os.cpu_count()
            row = [case, NAMES[side], *(number(value, 1) for value in (own, broker, peer, own + broker + peer)), f"{busy:.0%}"]
            if side == "ours" and sides.get("daprd"):
                most = os.cpu_count() / (broker + peer) * 1e5
                row.append(f"{most / median(sides['daprd'], 'per_second'):.1f}")
            else:
                row.append("")
            rows.append("| " + " | ".join(row) + " |")
    return "\n".join(rows)


def memory(results):
    """The two figures that are not ratios."""
    lines = []
    idle = {side: median(runs, "rss_mib") for side, runs in results.get("idle", {}).items()}
    if idle:
        verdict = "yes" if idle["ours"] <= IDLE_BAR else "**no**"
        lines.append(f"- RSS of an idle output: daprd {idle['daprd']:.0f} MiB, worker {idle['ours']:.1f} MiB (asked: at most {IDLE_BAR}: {verdict}).")
    cold = {side: median(runs, "seconds") for side, runs in results.get("cold start", {}).items()}
    if cold:
        lines.append(f"- From the start of the process to the first of 4 waiting messages at the application, a new consumer group: daprd {cold['daprd']:.2f} s, "
                     f"worker {cold['ours']:.2f} s (asked: at most 1 s and one rebalance).")
    peaks = {side: max((run["rss_mib"] for case in BARS for run in results.get(case, {}).get(side, [])), default=0) for side in SIDES}
    verdict = "yes" if peaks["ours"] <= LOAD_BAR else "**no**"
    lines.append(f"- Highest RSS under load: daprd {peaks['daprd']:.0f} MiB, worker {peaks['ours']:.1f} MiB (asked: at most {LOAD_BAR}: {verdict}).")
    cpu = {case: median(sides["ours"], "cpu_per_100k") for case, sides in results.items() if "create" in case and "ours" in sides}
    if cpu:
        busy = {case: value for case, value in cpu.items() if not case.endswith("1 caller")}
        most = max(busy.values(), default=0)
        verdict = "yes" if most <= CREATE_CPU_BAR else "**no**"
        lines.append(f"- CPU of the worker per 100,000 creates with 16 callers and more: at most {most:.1f} s (asked: {CREATE_CPU_BAR:g}: {verdict}).")
    for case, sides in results.items():
        if "broker" in sides:
            lines.append(f"- The broker alone, {case}, no client between: {number(median(sides['broker'], 'per_second'))} messages/s.")
    return "\n".join(lines)


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip().splitlines()[0]


def section(results):
    loads = [run["load"] for sides in results.values() for runs in sides.values() for run in runs]
    model = next((row.split(":", 1)[1].strip() for row in open("/proc/cpuinfo") if row.startswith("model name")), "unknown")
    return f"""{BEGIN}
Written by `make bench-binding`. Medians of {ROUNDS} rounds in which daprd {os.environ["DAPR_VERSION"]} (`allcomponents`) and the worker took turns on one broker
of RocketMQ {os.environ["VERSION"]}; {SIZE} bytes a message; each measurement of callers {os.environ["SECONDS_EACH"]} s after a warm-up, with a fresh process; a backlog
is {BACKLOG:,} messages, 20 at a time with the application, counted from the first message to the last. CPU and RSS (the highest) are
those of the process under test; of a backlog, CPU from the start of the process.

Commit {first_line("git", "rev-parse", "--short", "HEAD")}, {first_line("rustc", "--version").rsplit(" (", 1)[0]}, {first_line("go", "version").split()[2]}. \
Machine: {os.cpu_count()} × {model}, shared by broker, generator and what is measured; load average {min(loads):.1f} to {max(loads):.1f}.

{compared(results)}

CPU seconds for 100,000 messages by who spends them. Broker, callers and application are the same for both sides and share the processors with
what is measured; the last column is what a process that costs no time at all would reach beside them.

{split(results)}

{memory(results)}
{END}"""


def main():
    results = {}
    for number_ in range(1, ROUNDS + 1):
        say(f"round {number_} of {ROUNDS}")
        if not os.environ["CASES"]:
            measure_broker(results)
            measure_idle(results, number_)
            measure_cold_start(results, number_)
        measure_creates(results, number_)
        measure_backlogs(results, number_)
        (RESULTS / "results.json").write_text(json.dumps(results))
    text = section(results)
    print(text)
    if os.environ["WRITE"] == "0":
        return
    document = pathlib.Path(sys.argv[1])
    before, rest = document.read_text().split(BEGIN, 1)
    document.write_text(before + text + rest.split(END, 1)[1])


main()
