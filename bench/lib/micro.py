# SPDX-License-Identifier: GPL-3.0-or-later
"""Single paths without a network: one program run, one call of the store."""
from .system import SERVER_CPU, say


def run_all(measure, build, runs):
    """One dictionary of nanoseconds a run for each run, and the commands."""
    commands = [["taskset", "-c", str(SERVER_CPU), f"{build}/bench/{program}"] for program in ("store", "paths")]
    samples = []
    for number in range(runs):
        say(f"single paths, run {number + 1} of {runs}")
        sample = {}
        for command in commands:
            sample |= measure(command)
        samples.append(sample)
    return samples, [" ".join(command) for command in commands]
