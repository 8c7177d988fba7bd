"""Makes the table of bench-client.sh and writes it into the document.

  bench-client.py LINES DOCUMENT      WRITE=0 prints it only
"""

import json
import os
import statistics
import subprocess
import sys

BEGIN, END = "<!-- bench-client begins -->", "<!-- bench-client ends -->"
CASES = {"send-1": "sends, 1 in flight", "send-64": "sends, 64 in flight", "send-512": "sends, 512 in flight",
         "batch-32": "batches of 32, 1 caller", "consume": "consumption of 200,000"}
NAMES = {"ours": "ours", "java": "Java", "facades": "rocketmq-rust", "go": "Go"}
MODES = {"sync": ", a thread each", "push-tuned": ", batches of 32, pulls of 128"}


def read(path):
    groups, loads = {}, []
    with open(path) as file:
        for line in map(json.loads, file):
            loads.append(line["load"])
            result = line["result"]
            groups.setdefault((line["case"], result["client"], result["mode"]), []).append(result)
    return groups, loads


def median(runs, field):
    return statistics.median(run[field] for run in runs)


def span(runs, field, form):
    values = sorted(run[field] for run in runs)
    return f"{median(runs, field):{form}} ({values[0]:{form}}–{values[-1]:{form}})"


def row(name, runs, java):
    ratio = lambda field: f"{median(runs, field) / median(java, field):.2f}" if java and runs is not java else ""
    millis = lambda field: f"{median(runs, field) / 1000:.2f}" if any(run[field] for run in runs) else "–"
    errors = sum(run["errors"] for run in runs)
    return (f"| {name} | {span(runs, 'msgs_per_s', ',.0f')} | {ratio('msgs_per_s')} | {span(runs, 'run_cpu_s_per_100k', '.2f')} | "
            f"{ratio('run_cpu_s_per_100k')} | {millis('p50_us')} | {millis('p99_us')} | {median(runs, 'rss_mib'):.0f} | {errors} |")


def tables(groups):
    text = []
    for case, title in CASES.items():
        of_case = {key[1:]: runs for key, runs in groups.items() if key[0] == case}
        java = of_case.get(("java", "push" if case == "consume" else "batch" if case == "batch-32" else "async"))
        text += ["", f"**{title}**", "", "| client | messages/s (least–most) | × Java | CPU s per 100,000 (least–most) | × Java | p50 ms | p99 ms | RSS MiB | errors |",
                 "|---|---|---|---|---|---|---|---|---|"]
        for (client, mode), runs in of_case.items():
            text.append(row(NAMES[client] + MODES.get(mode, ""), runs, java))
    return text


def bars(groups):
    """What the layer was asked to reach, and whether it did."""
    of = lambda case, client, mode: groups.get((case, client, mode))
    lines, peak, errors = [], 0, 0

    def judge(what, value, unit, limit, at_least):
        met = value >= limit if at_least else value <= limit
        lines.append(f"| {what} | {value:.2f}{unit} | {'at least' if at_least else 'at most'} {limit:g}{unit} | {'yes' if met else '**no**'} |")

    for case, runs in ((case, of(case, "ours", mode)) for case, mode in
                       (("send-64", "async"), ("send-512", "async"), ("batch-32", "batch"), ("consume", "push"))):
        if not runs:
            continue
        cpu, rate = median(runs, "run_cpu_s_per_100k"), median(runs, "msgs_per_s")
        peak = max(peak, median(runs, "rss_mib"))
        title = CASES[case]
        java = [other for other in (of(case, "java", "sync"), of(case, "java", "async"), of(case, "java", "push")) if other]
        if case.startswith("send") and java:
            best = max(java, key=lambda other: median(other, "msgs_per_s"))
            judge(f"{title}: rate, × Java's faster way", rate / median(best, "msgs_per_s"), "×", 1.0, True)
            judge(f"{title}: CPU, × that way's", cpu / median(best, "run_cpu_s_per_100k"), "×", 0.4, False)
            judge(f"{title}: CPU per 100,000", cpu, " s", 2.5, False)
        elif case == "batch-32":
            judge(f"{title}: CPU per 100,000", cpu, " s", 0.6, False)
        elif case == "consume":
            if java:
                judge(f"{title}: rate, × Java with its defaults", rate / median(java[0], "msgs_per_s"), "×", 1.2, True)
            judge(f"{title}: CPU per 100,000", cpu, " s", 1.2, False)
        if case == "send-512":
            errors = sum(run["errors"] for run in runs)
    judge("highest RSS", peak, " MiB", 20, False)
    lines.append(f"| errors with 512 in flight | {errors} | none | {'yes' if errors == 0 else '**no**'} |")
    return ["", "| asked of the layer | measured | bar | met |", "|---|---|---|---|", *lines]


def commit():
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def main(lines, document):
    groups, loads = read(lines)
    rounds = max(len(runs) for runs in groups.values())
    text = "\n".join([
        BEGIN, "", "## The RocketMQ layer and other clients", "",
        f"1 KiB a message, a topic of 8 queues, one broker of RocketMQ {os.environ.get('VERSION', '')} on this machine ({os.cpu_count()} cores for "
        f"broker and client together), medians of {rounds} rounds in turns; load average {min(loads):.0f}–{max(loads):.0f}; commit {commit()}; written by "
        "`make bench-client`. CPU is that of the client's process in the measured section, a consumer's from its start; RSS is the highest; "
        "latencies are a call's. Java's figures hold its just-in-time compiler. Programs: [`benches/client`](../benches/client), "
        "[`tests/java/Bench.java`](../tests/java/Bench.java), [`benches/facades`](../benches/facades), [`benches/go-client`](../benches/go-client).",
        *tables(groups), *bars(groups), "", END])
    print(text)
    if os.environ.get("WRITE", "1") == "1":
        write(document, text)


def write(document, text):
    old = open(document).read()
    if BEGIN in old:
        head, rest = old.split(BEGIN, 1)
        text = head + text + rest.split(END, 1)[1]
    else:
        text = old.rstrip() + "\n\n" + text + "\n"
    with open(document, "w") as file:
        file.write(text)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
