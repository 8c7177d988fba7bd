"""The steps of bench-connection.sh and its tables, as sections of docs/benchmarks.md."""

import collections
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time
import urllib.request

import measure
import remoting

TOPICS, CONNECTIONS, QUIET = (int(os.environ[name]) for name in ("TOPICS", "CONNECTIONS", "QUIET"))
RESULTS, NAME = pathlib.Path(os.environ["RESULTS"]), "bench-connection"
QUEUES, MESSAGES, INTERVAL = 4, 3, 60
PORT, KINDS = 8080, "rocketmqconnections"
RANDOM = random.Random(1)


def topic(number):
    return f"bench-{number:05}"


def topics(path):
    """Adds the topics to what the broker has written about topics."""
    path = pathlib.Path(path)
    stored = json.loads(path.read_text())
    for number in range(TOPICS):
        stored["topicConfigTable"][topic(number)] = {
            "topicName": topic(number), "readQueueNums": QUEUES, "writeQueueNums": QUEUES, "perm": 6, "order": False,
            "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "attributes": {}}
    path.write_text(json.dumps(stored))


def send_message(number, opaque):
    """A request SEND_MESSAGE_V2; the names of its fields are those of SendMessageRequestHeaderV2."""
    body = json.dumps({"id": opaque, "buyer": {"name": f"buyer {opaque}", "city": "x" * 20}, "lines": [{"sku": "a", "count": 2}], "note": "n" * 300}).encode()
    fields = {"a": NAME, "b": topic(number), "c": "TBW102", "d": "4", "e": str(number % QUEUES), "f": "0", "g": str(int(time.time() * 1000)),
              "h": "0", "i": "", "j": "0", "k": "false", "l": "0", "m": "false"}
    return remoting.frame(310, fields, opaque, body)


def messages():
    """Writes MESSAGES messages into every topic, 64 requests at a time."""
    wanted = [(number, message) for number in range(TOPICS) for message in range(MESSAGES)]
    with remoting.Connection(os.environ["BROKER"], 30) as connection:
        for at in range(0, len(wanted), 64):
            window = wanted[at:at + 64]
            connection.send(b"".join(send_message(number, number * MESSAGES + message) for number, message in window))
            for _ in window:
                answer = connection.receive()
                if answer["code"] != 0:
                    raise SystemExit(f"error: the broker answered {answer['code']}: {answer.get('remark')}")
    print(f"{len(wanted)} messages in {TOPICS} topics", flush=True)
    began = time.monotonic()
    while not is_readable(TOPICS - 1):  # the broker makes a file of each queue before its messages can be read
        if time.monotonic() - began > 900:
            raise SystemExit("error: the last topic cannot be read after 900 s")
        time.sleep(2)
    print(f"readable {time.monotonic() - began:.0f} s later")


def exchange(code, fields):
    """One request to the broker on a connection of its own; the answer's header, or none within 5 s."""
    try:
        with remoting.Connection(os.environ["BROKER"], 5) as connection:
            return connection.ask(code, fields)
    except OSError:
        return {}


def is_readable(number):
    """Whether the broker's GET_MAX_OFFSET has all messages of the topic."""
    answer = exchange(30, {"topic": topic(number), "queueId": str(number % QUEUES)})
    return answer.get("extFields", {}).get("offset") == str(MESSAGES)


class Worker:
    """A worker process with this configuration."""

    def __init__(self, name, config):
        self.address = f"{config['admin']['host']}:{config['admin']['port']}"
        file = RESULTS / f"{name}.json"
        file.write_text(json.dumps(config))
        log = open(RESULTS / "workers.log", "a")
        environment = {**os.environ, "ROCKETMQ_CONNECTOR_LOG": "error"}
        self.process = subprocess.Popen([os.environ["BINARY"], "worker", "--config", str(file)], env=environment, stdout=log, stderr=log)

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return answer.read()

    def report(self):
        try:
            return json.loads(self.get("/status"))
        except OSError:
            return {}

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def config(role):
    identity = {"kind": "RocketMQConnection", "namespace": NAME, "name": "many-topics", "generation": 1}
    return {"version": 1, "identity": identity, "admin": {"host": "127.0.0.1", "port": 18098}, "role": {"connection": role}}


def all_models(worker):
    """The models, part by part."""
    after = ""
    while after is not None:
        page = json.loads(worker.get(f"/models?after={after}"))
        yield from page["models"]
        after = page.get("next")


def milliseconds(action, times=200):
    """Median and 99th percentile of an action's duration."""
    measured = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        measured.append((time.perf_counter() - began) * 1000)
    measured.sort()
    return statistics.median(measured), measured[int(times * 0.99)]


def many_topics():
    """One worker loads the models of all topics, twice."""
    models = {"intervalSeconds": 3600, "threshold": 10000, "dailyAt": "02:00", "timeZone": "UTC", "sampleSize": 100}
    role = {"cluster": {"nameServers": [os.environ["NAME_SERVER"]]}, "usage": "SourceAndTarget", "testIntervalSeconds": 3600, "models": models}
    worker, shown, began = Worker("many-topics", config(role)), set(), time.monotonic()

    def loaded(is_done):
        """Waits until a report of the models fits; notes what is said about progress meanwhile."""
        while True:
            report = worker.report().get("models", {})
            if report.get("progress"):
                shown.add(tuple(report["progress"]))
            if is_done(report):
                return report
            if time.monotonic() - began > 1800 or worker.process.poll() is not None:
                raise SystemExit(f"error: a load is not done: {report}")
            time.sleep(0.5)

    is_idle = lambda report: report.get("loadedAtMillis") and not report.get("progress") and report["nextAtMillis"] > report["loadedAtMillis"] + 60_000
    try:
        first = loaded(lambda report: report.get("loadedAtMillis"))
        sampled = sum(model["sampled"] > 0 for model in all_models(worker))
        done, all_seconds = loaded(is_idle), time.monotonic() - began
        all_sampled = sum(model["sampled"] > 0 for model in all_models(worker))
        peak = measure.peak_memory(worker.process.pid)
        worker.get("/status?loadModels=again")
        again = loaded(lambda report: is_idle(report) and report["loadedAtMillis"] != done["loadedAtMillis"])
        status, page, one = milliseconds(lambda: worker.get("/status")), milliseconds(lambda: worker.get("/models"), 50), milliseconds(lambda: worker.get(f"/models/{topic(1)}"))
        time.sleep(5)
        resident = measure.memory(worker.process.pid)
    finally:
        worker.stop()
    seconds = first["durationMillis"] / 1000
    verdict = lambda good: "yes" if good else "**no**"
    return f"""One worker, {TOPICS:,} topics of {QUEUES} queues with {MESSAGES} messages each, all read for the first time:

| | | asked |
|---|---|---|
| first load | {seconds:.0f} s for {first["count"]:,} models ({first["failed"]} failed), {sampled:,} of them with a sample; {len(shown)} reports of progress | 300 s: {verdict(seconds <= 300)} |
| all with a sample, by the load that follows at once | {all_seconds:.0f} s after the start: {all_sampled:,} | |
| load again, nothing new | {again["durationMillis"] / 1000:.0f} s ({again["changed"]} changed) | |
| most memory of the process | {peak:.1f} MiB | 64 MiB: {verdict(peak <= 64)} |
| memory afterwards | {resident:.1f} MiB | |
| `/status`, median and p99 of 200 | {status[0]:.1f} and {status[1]:.1f} ms | 50 ms: {verdict(status[1] <= 50)} |
| `/models/{topic(1)}`, median and p99 of 200 | {one[0]:.1f} and {one[1]:.1f} ms | |
| first part of `/models` (512 KiB), median and p99 of 50 | {page[0]:.1f} and {page[1]:.1f} ms | |
"""


def address(number):
    return f"127.1.{number // 200}.{number % 200 + 1}"


def connections():
    spec = lambda number: {"nameServers": [os.environ["NAME_SERVER"]], "topics": [topic(number)], "testInterval": f"{INTERVAL}s", "modelLoad": {"enabled": True}}
    items = [{"apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQConnection", "metadata": {"name": f"c-{number}"}, "spec": spec(number)} for number in range(CONNECTIONS)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def pods(with_status):
    items = []
    for number in range(CONNECTIONS):
        labels = {"app.kubernetes.io/managed-by": "rocketmq-connector-operator", "app.kubernetes.io/component": "connection"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"c-{number}", "labels": labels, "annotations": {"connector.rocketmq.dev/owner": f"c-{number}"}},
               "spec": {"schedulingGates": [{"name": "bench.rocketmq.dev/never"}], "containers": [{"name": "worker", "image": "none"}]}}
        if with_status:
            pod["status"] = {"phase": "Running", "podIP": address(number), "podIPs": [{"ip": address(number)}]}
        items.append(pod)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def listed(kind):
    return json.loads(measure.kubectl("-n", NAME, "get", kind, "-o", "json"))["items"]


def is_tested(item):
    return any(c["type"] == "Tested" and c["status"] == "True" for c in item.get("status", {}).get("conditions", []))


def tested():
    return sum(map(is_tested, listed(KINDS)))


def untested():
    """How many connections are tested, and what one says that is not."""
    others = [item for item in listed(KINDS) if not is_tested(item)]
    example = others[0].get("status") if others else None
    return f"{CONNECTIONS - len(others)} of {CONNECTIONS} are tested; one that is not: {json.dumps(example, indent=1)}"


def tests_a_second(seconds):
    """When connections were tested during the next seconds, as their status tells: tests by second."""
    seen, end = set(), time.monotonic() + seconds
    while time.monotonic() < end:
        seen |= {(item["metadata"]["name"], item["status"]["test"]["testedAt"]) for item in listed(KINDS) if item.get("status", {}).get("test")}
        time.sleep(INTERVAL / 4)
    return collections.Counter(when[:19] for _, when in seen)


def many_connections():
    """One operator, many connections, a real worker each: the pods are objects without a kubelet, their processes are here."""
    log = RESULTS / "operator.log"
    operator, workers = measure.start_operator(RESULTS, NAME, NAME), []
    try:
        time.sleep(3)
        empty, since, began = measure.memory(operator.pid), measure.now(), time.monotonic()
        measure.kubectl("-n", NAME, "apply", "--server-side", "-f", "-", text=connections())
        of_workers = lambda: [item for item in listed("configmaps") if "worker.json" in item.get("data", {})]
        measure.wait_until("a ConfigMap for each connection", 300, lambda: len(of_workers()) >= CONNECTIONS, operator, log)
        configured = time.monotonic() - began
        for item in of_workers():
            settings = json.loads(item["data"]["worker.json"])
            number = int(settings["identity"]["name"].removeprefix("c-"))
            settings["admin"] = {"host": address(number), "port": PORT}
            workers.append(Worker(f"worker-{number}", settings))
        measure.kubectl("-n", NAME, "apply", "--server-side", "-f", "-", text=pods(False))
        placed = time.monotonic()
        measure.kubectl("-n", NAME, "replace", "--subresource=status", "-f", "-", text=pods(True))
        measure.wait_until("all connections tested", 600, lambda: tested() >= CONNECTIONS, operator, log, untested, 5)  # a list of all is work for the API server
        converged = time.monotonic() - placed
        used, burst = measure.cpu(operator.pid), measure.busiest_second(measure.audited(NAME, since))
        time.sleep(INTERVAL)
        quiet, before = measure.now(), measure.cpu(operator.pid)
        by_second = tests_a_second(QUIET)
        requests, busy = measure.audited(NAME, quiet), (measure.cpu(operator.pid) - before) / QUIET * 60
        full = measure.memory(operator.pid)
        resident = sorted(measure.memory(worker.process.pid) for worker in workers)
        own = statistics.median(measure.own_memory(worker.process.pid) for worker in workers)
    finally:
        operator.terminate()
        operator.wait(30)
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.wait(60)
    counts = measure.count(requests)
    named = lambda counts: ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()) if not name.startswith("watch "))
    verdict = lambda good: "yes" if good else "**no**"
    average = sum(by_second.values()) / QUIET
    return f"""One operator and {CONNECTIONS} connections, each tested again every {INTERVAL} s and with its own worker process (the pods are objects without a kubelet):

| | | asked |
|---|---|---|
| operator's memory before the first and with all | {empty:.1f} and {full:.1f} MiB | |
| from `kubectl apply` of all to the last worker's configuration | {configured:.0f} s | |
| from running pods to the last `Tested=True` | {converged:.0f} s ({used:.1f} CPU s since the start) | |
| most requests of the operator to the API server in one second | {burst.total()}: {named(burst)} | |
| tests a second while nothing changes, average and most | {average:.1f} and {max(by_second.values(), default=0)} | no burst |
| operator's requests in {QUIET} s meanwhile | {named(counts)}; at most {measure.most_a_second(requests)} in one second | no burst |
| operator's CPU meanwhile | {busy:.2f} s a minute | |
| memory of an idle worker, median and most | {statistics.median(resident):.1f} and {resident[-1]:.1f} MiB, of which {own:.1f} its own and the rest pages of the program's file | 15 MiB: {verdict(statistics.median(resident) <= 15)} |
"""


PARTS = {"topics": many_topics, "connections": many_connections}


def run(document):
    for part in os.environ["PARTS"].split():
        begin, end = (f"<!-- bench-connection {part}: {edge} -->" for edge in ("begin", "end"))
        written = f"Written by `make bench-connection`: RocketMQ {os.environ['VERSION']} on this machine. {measure.machine()}."
        measure.write_section(document, begin, end, f"{begin}\n{PARTS[part]()}\n{written}\n{end}")


{"topics": topics, "messages": messages, "run": run}[sys.argv[1]](*sys.argv[2:])
