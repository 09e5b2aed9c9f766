# SPDX-License-Identifier: GPL-3.0-or-later
"""The bars: which ratio of which two figures must be how large. Ratios are taken within a run."""
import statistics


def spread(values):
    return statistics.median(values), min(values), max(values)


class Bar:
    """at_least: the ratio must be at least the target, else at most."""

    def __init__(self, what, target, at_least, numerator, denominator, note=""):
        self.what = what
        self.target = target
        self.at_least = at_least
        self.ratios = [a / b for a, b in zip(numerator, denominator)]
        self.note = note

    @property
    def median(self):
        return statistics.median(self.ratios)

    @property
    def met(self):
        return self.median >= self.target if self.at_least else self.median <= self.target

    def row(self):
        median, low, high = spread(self.ratios)
        sign = "≥" if self.at_least else "≤"
        return [self.what, f"{sign} {self.target:.2f}", f"{median:.2f} [{low:.2f} – {high:.2f}]",
                "met" if self.met else "MISSED", self.note]

    def data(self):
        return {"bar": self.what, "target": self.target, "at_least": self.at_least, "ratios": self.ratios,
                "met": self.met, "note": self.note}


def column(samples, name):
    return [sample[name] for sample in samples]


def loader_note(samples):
    """A closed loop tells the server's rate only if the loader had time to spare."""
    share = statistics.median(column(samples, "loader_cpu_share"))
    return f"loader {share:.0%} busy" + (": the loader is the limit" if share > 0.95 else "")


def of_xdp(results):
    def rates(name):
        return column(results[name], "rate")

    def medians(name):
        return column(results[name], "p50_ns")

    def busy(name):
        share = statistics.median(column(results[name], "server_cpu_share"))
        return f"server's processor {share:.0%} busy" + ("" if share > 0.9 else ": the sender is the limit")

    def work(name, limit, field="server_cpu_ns"):
        """The same ratio by processor time an answer: does not mind who else uses the machine."""
        ratios = [a / b for a, b in zip(column(results[limit], field), column(results[name], field))]
        return f"by processor time {statistics.median(ratios):.2f}"

    def one_core(name):
        return "sender and receiver included; " + work(name, "echo one core", "loader_cpu_ns")

    return [
        Bar("XDP GET / XDP_TX echo, rate, uniform over 1 M keys, server on its own core", 0.70, True,
            rates("xdp uniform"), rates("echo"),
            f"{work('xdp uniform', 'echo')}; {busy('xdp uniform')}; echo: {busy('echo')}"),
        Bar("XDP GET / XDP_TX echo, rate, hot set of 1 K keys, server on its own core", 0.88, True,
            rates("xdp hot"), rates("echo"), f"{work('xdp hot', 'echo')}; {busy('xdp hot')}"),
        Bar("XDP GET / XDP_TX echo, whole round trip on one core, uniform", 0.70, True,
            rates("xdp uniform one core"), rates("echo one core"), one_core("xdp uniform one core")),
        Bar("XDP GET / XDP_TX echo, whole round trip on one core, hot set", 0.88, True,
            rates("xdp hot one core"), rates("echo one core"), one_core("xdp hot one core")),
        Bar("XDP GET / XDP_TX echo, p50 of one round trip at a time", 1.25, False,
            medians("xdp latency"), medians("echo latency")),
        Bar("XDP GET / the daemon's own UDP GET, rate, one core", 5, True,
            rates("xdp uniform"), rates("daemon udp"), f"{work('xdp uniform', 'daemon udp')}; {busy('daemon udp')}"),
        Bar("daemon UDP GET / recvmmsg+sendmmsg echo, rate", 0.9, True,
            rates("daemon udp"), rates("recvmmsg"), busy("recvmmsg")),
        Bar("recvmmsg+sendmmsg echo / daemon UDP GET, processor time a request", 0.9, True,
            column(results["recvmmsg"], "server_cpu_ns"), column(results["daemon udp"], "server_cpu_ns")),
    ]


def of_tcp(results, points):
    peers = [name for name in ("redis", "valkey", "memcached") if (name, "get", 1) in results]
    bars = []
    for verb, pipeline in points:
        own = results[("virgod", verb, pipeline)]
        for peer in peers:
            other = results[(peer, verb, pipeline)]
            name = f"TCP {verb.upper()}, pipeline {pipeline}, virgod / {peer}"
            bars.append(Bar(f"{name}, rate", 1.2 if pipeline == 1 else 1.5, True, column(own, "rate"),
                            column(other, "rate"), loader_note(own)))
            bars.append(Bar(f"{name}, server CPU a request", 0.75 if pipeline == 1 else 0.55, False,
                            column(own, "server_cpu_ns"), column(other, "server_cpu_ns")))
        if pipeline == 1:
            echo = results[("io_uring echo", verb, pipeline)]
            bars.append(Bar(f"TCP {verb.upper()}, pipeline 1, virgod / bare io_uring echo, server CPU a request", 1.15,
                            False, column(own, "server_cpu_ns"), column(echo, "server_cpu_ns")))
    return bars
