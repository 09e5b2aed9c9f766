# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, for people (Markdown) and for programs (JSON)."""
import json

from .bars import column, spread


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def scaled(values, divisor, digits=1):
    median, low, high = (value / divisor for value in spread(values))
    return f"{median:.{digits}f} [{low:.{digits}f} – {high:.{digits}f}]"


def bars_table(bars):
    return table(["bar", "target", "median [min – max]", "", "note"], [bar.row() for bar in bars])


def tcp_tables(results):
    rows = []
    for (server, verb, pipeline), samples in results.items():
        if verb not in ("get", "set"):
            continue
        rows.append([f"{verb.upper()}, pipeline {pipeline}", server, scaled(column(samples, "rate"), 1000),
                     scaled(column(samples, "server_cpu_ns"), 1000, 2),
                     scaled(column(samples, "server_cpu_share"), 0.01, 0),
                     scaled(column(samples, "loader_cpu_share"), 0.01, 0), scaled(column(samples, "p50_ns"), 1000),
                     scaled(column(samples, "p99_ns"), 1000)])
    rows.sort(key=lambda row: (row[0].endswith("16"), row[0]))
    lines = table(["point", "server", "thousand requests/s", "server CPU µs a request", "server busy %",
                   "loader busy %", "p50 µs", "p99 µs"], rows)
    rows = []
    for (server, verb, _), samples in results.items():
        if verb in ("one", "open"):
            rows.append(["one connection" if verb == "one" else "open loop, 50 connections", server,
                         scaled(column(samples, "rate"), 1000), scaled(column(samples, "p50_ns"), 1000),
                         scaled(column(samples, "p99_ns"), 1000), scaled(column(samples, "p999_ns"), 1000)])
    rows.sort()
    lines += ["", "Latency of GET (open loop: counted from the time a request was meant to be sent):", ""]
    return lines + table(
        ["point", "server", "thousand requests/s", "p50 µs", "p99 µs", "p99.9 µs"], rows)


def xdp_tables(results):
    rows, slow, programs = [], [], []
    for name, samples in results.items():
        if name.endswith("latency"):
            slow.append([name.removesuffix(" latency"), scaled(column(samples, "p50_ns"), 1000, 2),
                         scaled(column(samples, "p99_ns"), 1000, 2)])
        elif name.endswith("program"):
            programs.append([name.removesuffix(" program"), scaled(column(samples, "ns"), 1)])
        else:
            rows.append([name, scaled(column(samples, "rate"), 1000), scaled(column(samples, "server_cpu_ns"), 1, 0),
                         scaled(column(samples, "server_cpu_share"), 0.01, 0),
                         scaled(column(samples, "loader_cpu_ns"), 1, 0),
                         scaled(column(samples, "loader_cpu_share"), 0.01, 0), f"{sum(column(samples, 'right')):,}"])
    head = ["what answers", "thousand answers/s", "server's processor ns an answer", "server busy %",
            "sender's processor ns an answer", "sender busy %", "right answers"]
    lines = table(head, rows) + ["", "One request at a time:", ""] + table(["what answers", "p50 µs", "p99 µs"], slow)
    lines += ["", "The XDP program alone, by the kernel's statistics:", ""]
    return lines + table(["program", "ns a run"], programs)


def micro_table(samples):
    names = list(samples[0])
    return table(["path", "ns a run, median [min – max]"],
                 [[name, scaled([sample[name] for sample in samples], 1)] for name in names])


def markdown(facts, parts):
    lines = [f"# VIRGO bench, {facts['date']}", ""]
    lines += table(["", ""], [[name, value] for name, value in facts.items() if name != "commands"])
    missed = [bar for bar in parts["bars"] if not bar.met]
    lines += ["", "## Bars", "", f"{len(parts['bars'])} measured, {len(missed)} missed."
              + (" Missed: " + "; ".join(bar.what for bar in missed) + "." if missed else ""), ""]
    lines += bars_table(parts["bars"])
    lines += ["", "Every figure is the median over the runs, with the smallest and the largest; a ratio is taken "
              "within a run.", "", "## TCP", ""] + tcp_tables(parts["tcp"])
    lines += ["", "## UDP and XDP", ""] + xdp_tables(parts["xdp"])
    if parts["micro"]:
        lines += ["", "## Single paths", ""] + micro_table(parts["micro"])
    if parts["telemetry"]:
        lines += ["", "## Telemetry and choice", ""] + micro_table(parts["telemetry"])
    lines += ["", "## Commands", "", "```"] + facts["commands"] + ["```", ""]
    return "\n".join(lines)


def data(facts, parts):
    return json.dumps({
        "facts": facts,
        "bars": [bar.data() for bar in parts["bars"]],
        "tcp": {" ".join(map(str, key)): samples for key, samples in parts["tcp"].items()},
        "xdp": parts["xdp"],
        "micro": parts["micro"],
        "telemetry": parts["telemetry"],
    }, indent=1)
