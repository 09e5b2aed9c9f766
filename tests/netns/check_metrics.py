#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether standard input is Prometheus text format 0.0.4 as scrapers want it; complaints on standard output.

Checked: names, labels and their escapes, numbers, HELP and TYPE once and before the samples, samples of one name
together, no series twice, counters end in _total, histograms have growing buckets, +Inf, _sum and _count that agree.
"""
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"^({NAME})(?:\{{({LABEL}(?:,{LABEL})*)?,?\}})? (\S+)$")
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}

complaints = []
types, helps, seen, families, series = {}, set(), set(), [], {}


def complain(number, text):
    complaints.append(f"line {number}: {text}")


def family_of(name):
    for suffix in ("_bucket", "_sum", "_count"):
        if name.endswith(suffix) and types.get(name[:-len(suffix)]) == "histogram":
            return name[:-len(suffix)]
    return name


def sample(number, line):
    match = SAMPLE.match(line)
    if not match:
        return complain(number, f"not a sample: {line!r}")
    name, labels, value = match.groups()
    family = family_of(name)
    if family not in types or family not in helps:
        complain(number, f"{name} has no HELP or no TYPE before it")
    if families and families[-1] != family and family in families:
        complain(number, f"samples of {family} are not together")
    if not families or families[-1] != family:
        families.append(family)
    if types.get(family) == "counter" and not family.endswith("_total"):
        complain(number, f"a counter that does not end in _total: {family}")
    if types.get(family) == "gauge" and family.endswith("_total"):
        complain(number, f"a gauge that ends in _total: {family}")
    try:
        number_value = float(value)
    except ValueError:
        return complain(number, f"not a number: {value}")
    if types.get(family) in ("counter", "histogram") and not number_value >= 0:
        complain(number, f"{name} is negative")
    if (name, labels) in seen:
        complain(number, f"{name}{{{labels}}} twice")
    seen.add((name, labels))
    pairs = dict(re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"', labels or ""))
    if types.get(family) == "histogram":
        edge = pairs.pop("le", None)
        entry = series.setdefault((family, tuple(sorted(pairs.items()))), {"buckets": []})
        if name.endswith("_bucket"):
            entry["buckets"].append((float("inf") if edge == "+Inf" else float(edge), number_value))
        else:
            entry[name[len(family):]] = number_value


text = sys.stdin.read()
if not text.endswith("\n"):
    complaints.append("the last line has no end")
for number, line in enumerate(text.splitlines(), 1):
    comment = re.match(rf"^# (HELP|TYPE) ({NAME}) (.*)$", line)
    if comment:
        kind, name, rest = comment.groups()
        if kind == "TYPE" and (rest not in TYPES or name in types):
            complain(number, f"TYPE {name} {rest}: unknown or twice")
        if kind == "HELP" and name in helps:
            complain(number, f"HELP {name} twice")
        types.update({name: rest} if kind == "TYPE" else {})
        helps.update({name} if kind == "HELP" else set())
    elif line and not line.startswith("#"):
        sample(number, line)
for (family, labels), entry in series.items():
    edges = [edge for edge, _ in entry["buckets"]]
    counts = [count for _, count in entry["buckets"]]
    if edges != sorted(edges) or counts != sorted(counts) or not edges or edges[-1] != float("inf"):
        complaints.append(f"{family} {labels}: buckets do not grow to +Inf")
    elif entry.get("_count") != counts[-1] or "_sum" not in entry:
        complaints.append(f"{family} {labels}: _count is not the last bucket, or no _sum")
if not seen:
    complaints.append("no sample at all")
print("\n".join(complaints) or f"{len(seen)} samples of {len(types)} metrics")
sys.exit(1 if complaints else 0)
