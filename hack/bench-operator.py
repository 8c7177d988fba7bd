"""The run of bench-operator.sh and its table, as a section of docs/benchmarks.md."""

import collections
import json
import os
import pathlib
import subprocess
import sys
import time

BEGIN, END = "<!-- bench-operator: begin -->", "<!-- bench-operator: end -->"
BINDINGS, QUIET = int(os.environ["BINDINGS"]), int(os.environ["QUIET"])
RESULTS, NAMESPACE = pathlib.Path(os.environ["RESULTS"]), "bench-operator"
MEMORY_BAR = 40


def kubectl(*arguments, text=None):
    return subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=True).stdout


def manifests():
    documents = []
    for number in range(BINDINGS):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"acl-{number}"}, "stringData": {"user": "a", "password": "b"}}
        key = lambda key: {"secretKeyRef": {"name": f"acl-{number}", "key": key}}
        spec = {"nameServer": "names:9876", "topics": [f"topic-{number}"], "consumerGroup": f"group-{number}",
                "accessKey": key("user"), "secretKey": key("password"), "app": {"service": {"name": "app", "port": 8080}}}
        binding = {"apiVersion": "connector.rocketmq.dev/v1alpha1", "kind": "RocketMQBinding", "metadata": {"name": f"b-{number}"}, "spec": spec}
        documents += [secret, binding]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})


def memory(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def accepted():
    listed = json.loads(kubectl("-n", NAMESPACE, "get", "rocketmqbindings", "-o", "json"))["items"]
    is_so = lambda item: any(c["type"] == "Accepted" and c["status"] == "True" for c in item.get("status", {}).get("conditions", []))
    return sum(map(is_so, listed))


def requests(since):
    """Requests of the operator by verb and resource; a watch that goes on is none."""
    counts = collections.Counter()
    with open(os.environ["AUDIT_LOG"]) as log:
        for line in log:
            if "system:serviceaccount:rocketmq-connector-e2e-system:bench-operator" not in line:
                continue
            event = json.loads(line)
            if event["requestReceivedTimestamp"] < since:
                continue
            reference = event.get("objectRef", {})
            name = "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))
            counts[f"{event['verb']} {name}"] += 1
    return counts


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip().splitlines()[0]


def main():
    environment = {**os.environ, "KUBECONFIG": str(RESULTS / "kubeconfig"), "WORKER_IMAGE": "registry.invalid/bench:1", "POD_NAMESPACE": "rocketmq-connector-e2e-system",
                   "POD_NAME": "bench-operator", "WATCH_NAMESPACE": NAMESPACE, "ADMIN_HOST": "127.0.0.1", "ADMIN_PORT": "18099",
                   "ROCKETMQ_CONNECTOR_LOG": "warn"}
    log = open(RESULTS / "operator.log", "w")
    operator = subprocess.Popen([os.environ["BINARY"], "operator"], env=environment, stdout=log, stderr=log)
    try:
        time.sleep(3)
        empty = memory(operator.pid)
        began = time.monotonic()
        kubectl("-n", NAMESPACE, "apply", "--server-side", "-f", "-", text=manifests())
        while accepted() < BINDINGS:
            if time.monotonic() - began > 300 or operator.poll() is not None:
                raise SystemExit(f"error: {accepted()} of {BINDINGS} bindings were accepted; the log is {RESULTS}/operator.log")
            time.sleep(1)
        settled, used = time.monotonic() - began, cpu(operator.pid)
        time.sleep(20)
        since, before = now(), cpu(operator.pid)
        time.sleep(QUIET)
        counts, full, idle = requests(since), memory(operator.pid), (cpu(operator.pid) - before) / QUIET * 60
    finally:
        operator.terminate()
        operator.wait(30)
    others = {name: count for name, count in counts.items() if not name.startswith("watch ") and "leases" not in name}
    verdict = "yes" if full <= MEMORY_BAR else "**no**"
    listed = ", ".join(f"{count} × {name}" for name, count in sorted(counts.items())) or "none"
    text = f"""{BEGIN}
Written by `make bench-operator`: one namespace with {BINDINGS} bindings, each with a Secret, on the API server of Kubernetes {os.environ["KUBERNETES_VERSION"]};
no pods. Commit {first_line("git", "rev-parse", "--short", "HEAD")}, {first_line("rustc", "--version").rsplit(" (", 1)[0]}, {os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}.

| | | asked |
|---|---|---|
| RSS before the first binding | {empty:.1f} MiB | |
| RSS with {BINDINGS} bindings | {full:.1f} MiB | at most {MEMORY_BAR} MiB: {verdict} |
| from `kubectl apply` of all to the last one accepted | {settled:.1f} s, {used:.1f} CPU s | |
| CPU while nothing changes | {idle:.2f} s a minute | |
| requests in {QUIET} s while nothing changes | {listed} | none but watches and the lease: {"yes" if not others else "**no**"} |
{END}"""
    print(text)
    if os.environ["WRITE"] == "0":
        return
    document = pathlib.Path(sys.argv[1])
    before, rest = document.read_text().split(BEGIN, 1)
    document.write_text(before + text + rest.split(END, 1)[1])


main()
