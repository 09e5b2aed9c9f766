# SPDX-License-Identifier: GPL-3.0-or-later
"""What telemetry and the steering decision cost: a context switch with the probes and without, a choice by itself."""
from .bars import Bar, column
from .system import SERVER_CPU, say


def run_all(measure, build, runs, seconds):
    """One dictionary of figures for each run, and the commands."""
    commands = [[f"{build}/bench/switch", str(seconds), build],
                ["taskset", "-c", str(SERVER_CPU), f"{build}/bench/choose"]]
    samples = []
    for number in range(runs):
        say(f"telemetry, run {number + 1} of {runs}")
        sample = {}
        for command in commands:
            sample |= measure(command)
        samples.append(sample)
    return samples, [" ".join(command) for command in commands]


def bars(samples):
    choices = [name for name in samples[0] if name.startswith("xdp choice")]
    budget = [120.0] * len(samples)
    return [Bar("context switch with the probes / without, processor time", 1.02, False, column(samples, "with_ns"),
                column(samples, "without_ns"))] + \
        [Bar(f"{name} / 120 ns", 1, False, column(samples, name), budget) for name in choices]

