"""The run of bench-operator.sh and its table, as a section of docs/benchmarks.md."""

import json
import os
import pathlib
import sys
import time

import measure

BEGIN, END = "<!-- bench-operator: begin -->", "<!-- bench-operator: end -->"
BINDINGS, QUIET = int(os.environ["BINDINGS"]), int(os.environ["QUIET"])
RESULTS, NAME = pathlib.Path(os.environ["RESULTS"]), "bench-operator"
MEMORY_BAR = 40


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


def accepted():
    listed = json.loads(measure.kubectl("-n", NAME, "get", "rocketmqbindings", "-o", "json"))["items"]
    is_so = lambda item: any(c["type"] == "Accepted" and c["status"] == "True" for c in item.get("status", {}).get("conditions", []))
    return sum(map(is_so, listed))


def main():
    operator = measure.start_operator(RESULTS, NAME, NAME)
    try:
        time.sleep(3)
        empty, began = measure.memory(operator.pid), time.monotonic()
        measure.kubectl("-n", NAME, "apply", "--server-side", "-f", "-", text=manifests())
        measure.wait_until(f"all {BINDINGS} bindings accepted", 300, lambda: accepted() >= BINDINGS, operator, RESULTS / "operator.log")
        settled, used = time.monotonic() - began, measure.cpu(operator.pid)
        time.sleep(20)
        since, before = measure.now(), measure.cpu(operator.pid)
        time.sleep(QUIET)
        counts = measure.count(measure.audited(NAME, since))
        full, idle = measure.memory(operator.pid), (measure.cpu(operator.pid) - before) / QUIET * 60
    finally:
        operator.terminate()
        operator.wait(30)
    others = {name: count for name, count in counts.items() if not name.startswith("watch ") and "leases" not in name}
    verdict = "yes" if full <= MEMORY_BAR else "**no**"
    listed = ", ".join(f"{count} × {name}" for name, count in sorted(counts.items())) or "none"
    measure.write_section(sys.argv[1], BEGIN, END, f"""{BEGIN}
Written by `make bench-operator`: one namespace with {BINDINGS} bindings, each with a Secret, on the API server of Kubernetes {os.environ["KUBERNETES_VERSION"]};
no pods. {measure.machine()}.

| | | asked |
|---|---|---|
| RSS before the first binding | {empty:.1f} MiB | |
| RSS with {BINDINGS} bindings | {full:.1f} MiB | at most {MEMORY_BAR} MiB: {verdict} |
| from `kubectl apply` of all to the last one accepted | {settled:.1f} s, {used:.1f} CPU s | |
| CPU while nothing changes | {idle:.2f} s a minute | |
| requests in {QUIET} s while nothing changes | {listed} | none but watches and the lease: {"yes" if not others else "**no**"} |
{END}""")


main()
