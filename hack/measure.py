"""What the benchmarks of the operator and of connections measure with: processes, the API server and its audit log."""

import collections
import datetime
import json
import os
import pathlib
import subprocess
import time

OPERATOR_NAMESPACE = "rocketmq-connector-e2e-system"  # the audit policy records its service accounts


def kubectl(*arguments, text=None):
    return subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=True).stdout


def memory(pid):
    """Resident memory of a process in MiB."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def peak_memory(pid):
    """The most resident memory that a process has had, in MiB."""
    return status(pid, "VmHWM")


def own_memory(pid):
    """The part of it that the process does not share with the file of its program, in MiB."""
    return status(pid, "RssAnon")


def status(pid, name):
    """A size of a process by its name in /proc, in MiB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"error: /proc/{pid}/status has no {name}")


def cpu(pid):
    """CPU seconds of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip().splitlines()[0]


def machine():
    """The words on commit, compiler and machine that every section has."""
    commit, compiler = first_line("git", "rev-parse", "--short", "HEAD"), first_line("rustc", "--version").rsplit(" (", 1)[0]
    return f"Commit {commit}, {compiler}, {os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}"


def start_operator(results, account, namespace):
    """The operator outside of a pod, as a service account, watching one namespace; its log is in the folder `results`."""
    environment = {**os.environ, "KUBECONFIG": str(results / "kubeconfig"), "WORKER_IMAGE": "registry.invalid/bench:1", "POD_NAMESPACE": OPERATOR_NAMESPACE,
                   "POD_NAME": account, "WATCH_NAMESPACE": namespace, "ADMIN_HOST": "127.0.0.1", "ADMIN_PORT": "18099", "ROCKETMQ_CONNECTOR_LOG": "warn"}
    log = open(results / "operator.log", "w")
    return subprocess.Popen([os.environ["BINARY"], "operator"], env=environment, stdout=log, stderr=log)


def audited(account, since):
    """The requests of a service account from a moment on: pairs of the time received and `verb resource`."""
    found = []
    with open(os.environ["AUDIT_LOG"]) as log:
        for line in log:
            if f"system:serviceaccount:{OPERATOR_NAMESPACE}:{account}" not in line:
                continue
            event = json.loads(line)
            if event["requestReceivedTimestamp"] < since:
                continue
            reference = event.get("objectRef", {})
            name = "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))
            found.append((event["requestReceivedTimestamp"], f"{event['verb']} {name}"))
    return found


def count(requests):
    return collections.Counter(name for _, name in requests)


def busiest_second(requests):
    """The most requests of one second of the clock, by name; a watch that goes on is none."""
    seconds = collections.defaultdict(collections.Counter)
    for time, name in requests:
        if not name.startswith("watch "):
            seconds[time[:19]][name] += 1
    return max(seconds.values(), key=lambda counts: counts.total(), default=collections.Counter())


def most_a_second(requests):
    """How many they are."""
    return busiest_second(requests).total()


def wait_until(what, limit, done, operator, log, state=lambda: "", pause=1):
    """Waits until `done()`; returns the seconds it took. `state()` tells, when it is not done in time, what there is instead. Looks every `pause` seconds."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > limit or operator.poll() is not None:
            raise SystemExit(f"error: not after {limit} s: {what}; the log is {log}\n{state()}")
        time.sleep(pause)
    return time.monotonic() - began


def write_section(document, begin, end, text):
    """Replaces what is between two markers of a document, unless WRITE=0."""
    print(text)
    if os.environ["WRITE"] == "0":
        return
    document = pathlib.Path(document)
    before, rest = document.read_text().split(begin, 1)
    document.write_text(before + text + rest.split(end, 1)[1])
