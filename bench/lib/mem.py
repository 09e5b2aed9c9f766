# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory pool over TCP against its peers: sizes of values, skew, pipelines, both protocols, and workers."""
import os
import shlex
import shutil
import subprocess

from .bars import Bar, column, loader_note, spread
from .report import scaled, table
from .system import BenchError, LOADER_CPU, Process, SERVER_CPU, connects, free_port, say
from .tcp import TcpServer, checked, redis_like

CONNECTIONS = 50
# Bytes of a value, keys: what is stored stays below 256 MiB in each server.
SIZES = [(16, 1 << 18), (64, 1 << 18), (512, 1 << 18), (1024, 1 << 17), (16384, 1 << 13)]
MAIN_SIZE = 64
ZIPF = 0.99
WARMUP_S = 0.3
ARENA, HEAP = "1g", "2g"
RESP, MEMCACHE, ECHO = "virgod", "virgod memcached", "io_uring echo"
# Which peers each face of virgod is compared with.
PEERS = {RESP: ["redis", "valkey", "memcached"], MEMCACHE: ["memcached"]}


class Door(TcpServer):
    """Another port of a server that runs already."""

    def __init__(self, name, owner, port, protocol):
        super().__init__(name, owner.arguments, port, protocol)
        self.owner = owner

    def up(self):
        self.child, self.log = self.owner.child, self.owner.log
        self.wait_until(lambda: connects(self.port), f"port {self.port}")
        return self

    def stop(self):
        self.child = self.log = None


def released(package):
    """Whether this release has the package: then it must be measured."""
    if not shutil.which("apt-cache"):
        return False
    answer = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False).stdout
    return any("Candidate:" in line and "(none)" not in line for line in answer.splitlines())


def virgod(build, port, memcache_port, workers=1):
    return [f"{build}/virgod", "--listen", f"127.0.0.1:{port}", "--memcache-port", memcache_port, "--workers", workers,
            "--bpf", "off", "--arena-size", ARENA, "--heap-size", HEAP, "--log-level", "warning"]


def servers(build):
    """Everything that is compared. A peer of the release that is not there is an error."""
    port, memcache_port = free_port(), free_port()
    own = TcpServer(RESP, virgod(build, port, memcache_port), port)
    found = [own, Door(MEMCACHE, own, memcache_port, "memcache")]
    port = free_port()
    found.append(TcpServer(ECHO, [f"{build}/bench/uring_echo", "127.0.0.1", port], port, "echo"))
    for name, program in (("redis", "redis-server"), ("valkey", "valkey-server")):
        port = free_port()
        if shutil.which(program):
            found.append(TcpServer(name, redis_like(program, port), port))
        elif name == "redis" or released(program):
            raise BenchError(f"{program} is not installed, though this release has it")
        else:
            say(f"{program} is not in this release: not compared")
    if not shutil.which("memcached"):
        raise BenchError("memcached is not installed")
    port = free_port()
    account = [] if os.geteuid() else ["-u", "nobody"]
    found.append(TcpServer("memcached", ["memcached", *account, "-l", "127.0.0.1", "-p", port, "-U", 0, "-t", 1,
                                         "-m", 2048, "-I", "1m"], port, "memcache"))
    return found


# ---- measuring


def loader(build, server, size, keys, *extra):
    return [f"{build}/bench/load", "--port", server.port, "--protocol", server.protocol, "--cpu", LOADER_CPU,
            "--server", server.pid, "--keys", keys, "--value", size, "--connections", CONNECTIONS, "--warmup", WARMUP_S,
            *extra]


def points(size):
    """(verb, pipeline, skew) measured with values of this size."""
    skews = ["uniform", "zipf"] if size == MAIN_SIZE else ["uniform"]
    return [(verb, pipeline, skew) for skew in skews for pipeline in (1, 16) for verb in ("get", "set")]


def point(measure, build, server, size, keys, which, seconds):
    verb, pipeline, skew = which
    extra = ["--zipf", ZIPF] if skew == "zipf" else []
    sample = measure(loader(build, server, size, keys, "--pipeline", pipeline, "--duration", seconds,
                            "--set", 1000 if verb == "set" else 0, *extra))
    return checked(server, sample, verb == "get")


def matrix(measure, build, runs, seconds, group, results):
    for size, keys in SIZES:
        for server in group:
            if server.protocol != "echo" and server.name != MEMCACHE:
                measure(loader(build, server, size, keys, "--fill", "--pipeline", 16))
        for number in range(runs):
            say(f"values of {size} bytes, run {number + 1} of {runs}")
            for which in points(size):
                for server in group[number % len(group):] + group[:number % len(group)]:
                    if server.protocol == "echo" and size > 1024:
                        continue
                    results.setdefault((server.name, size, *which), []).append(
                        point(measure, build, server, size, keys, which, seconds))


class Workers(Process):
    """virgod with so many workers, each on a processor of its own."""

    def __init__(self, build, workers):
        self.port = free_port()
        super().__init__(f"virgod, {workers} workers", virgod(build, self.port, free_port(), workers))
        self.workers = workers
        self.protocol = "resp"

    def up(self):
        self.start()
        for task in os.listdir(f"/proc/{self.pid}/task"):
            os.sched_setaffinity(int(task), set(range(self.workers)))
        self.wait_until(lambda: connects(self.port), f"port {self.port}")
        for task in os.listdir(f"/proc/{self.pid}/task"):
            os.sched_setaffinity(int(task), set(range(self.workers)))
        return self


def scaling(measure, build, runs, seconds, results):
    """Processor time a request with one worker and with two: what a second one adds where processors are the limit."""
    size, keys = next(entry for entry in SIZES if entry[0] == MAIN_SIZE)
    group = [Workers(build, 1), Workers(build, 2)]
    try:
        for server in group:
            server.up()
            measure(loader(build, server, size, keys, "--fill", "--pipeline", 16))
        for number in range(runs):
            say(f"workers, run {number + 1} of {runs}")
            for server in group if number % 2 == 0 else reversed(group):
                sample = point(measure, build, server, size, keys, ("get", 16, "uniform"), seconds)
                results.setdefault(("workers", server.workers), []).append(sample)
    finally:
        for server in group:
            server.stop()


def run_all(measure, build, runs, seconds):
    """Samples by (server, bytes, verb, pipeline, skew), one a run, and by ("workers", n). And the commands."""
    group = servers(build)
    results = {}
    try:
        for server in group:
            server.up()
        matrix(measure, build, runs, seconds, group, results)
    finally:
        for server in reversed(group):
            server.stop()
    scaling(measure, build, runs, seconds, results)
    commands = [shlex.join(server.arguments) + f"   # processor {SERVER_CPU}"
                for server in group if not isinstance(server, Door)]
    commands.append(f"{build}/bench/load --connections {CONNECTIONS} --pipeline 1|16 --set 0|1000 --zipf 0|{ZIPF} "
                    f"--duration {seconds} --cpu {LOADER_CPU}")
    return results, commands


# ---- judging


def peers_of(results, face):
    return [peer for peer in PEERS[face] if (peer, MAIN_SIZE, "get", 1, "uniform") in results]


def bars_of(results):
    bars = []
    for face in PEERS:
        for pipeline in (1, 16):
            for verb in ("get", "set"):
                which = (MAIN_SIZE, verb, pipeline, "uniform")
                own = results[(face, *which)]
                for peer in peers_of(results, face):
                    other = results[(peer, *which)]
                    name = f"TCP {verb.upper()} of {MAIN_SIZE} B, pipeline {pipeline}, {face} / {peer}"
                    bars.append(Bar(f"{name}, rate", 1.2 if pipeline == 1 else 1.5, True, column(own, "rate"),
                                    column(other, "rate"), loader_note(own)))
                    bars.append(Bar(f"{name}, server CPU a request", 0.75 if pipeline == 1 else 0.55, False,
                                    column(own, "server_cpu_ns"), column(other, "server_cpu_ns")))
    which = (MAIN_SIZE, "get", 1, "uniform")
    bars.append(Bar(f"TCP GET of {MAIN_SIZE} B, pipeline 1, {RESP} / bare {ECHO}, server CPU a request", 1.15, False,
                    column(results[(RESP, *which)], "server_cpu_ns"), column(results[(ECHO, *which)], "server_cpu_ns")))
    one, two = column(results[("workers", 1)], "server_cpu_ns"), column(results[("workers", 2)], "server_cpu_ns")
    bars.append(Bar("requests a processor second, two workers / one, times two", 1.8, True,
                    [2 * value for value in one], two, "GET, pipeline 16"))
    return bars


def ratio(results, face, peer, which, name):
    own, other = column(results[(face, *which)], name), column(results[(peer, *which)], name)
    median, low, high = spread([a / b for a, b in zip(own, other)])
    return f"{median:.2f} [{low:.2f} – {high:.2f}]"


def tables(results):
    """The ratios of all points, and what they are made of."""
    rows, raw = [], []
    for size, _ in SIZES:
        for which in points(size):
            where = (size, *which)
            what = f"{which[0].upper()} {size} B, pipeline {which[1]}, {which[2]}"
            for face in PEERS:
                for peer in peers_of(results, face):
                    rows.append([what, f"{face} / {peer}", ratio(results, face, peer, where, "rate"),
                                 ratio(results, face, peer, where, "server_cpu_ns")])
            for server in dict.fromkeys(key[0] for key in results if key[0] != "workers"):
                if (server, *where) in results:
                    samples = results[(server, *where)]
                    raw.append([what, server, scaled(column(samples, "rate"), 1000),
                                scaled(column(samples, "server_cpu_ns"), 1000, 2),
                                scaled(column(samples, "loader_cpu_share"), 0.01, 0),
                                scaled(column(samples, "p50_ns"), 1000), scaled(column(samples, "p99_ns"), 1000)])
    lines = table(["point", "ratio", "rate", "server CPU a request"], rows) + [""]
    return lines + table(["point", "server", "thousand requests/s", "server CPU µs a request", "loader busy %",
                          "p50 µs", "p99 µs"], raw)


def plots(results):
    """File name → (title, unit, groups, series): see plot.py."""
    drawn = {}
    names = [name for name in (RESP, MEMCACHE, "redis", "valkey", "memcached")
             if (name, MAIN_SIZE, "get", 1, "uniform") in results]
    for verb in ("get", "set"):
        for pipeline in (1, 16):
            series = {name: [spread(column(results[(name, size, verb, pipeline, "uniform")], "server_cpu_ns"))
                             for size, _ in SIZES] for name in names}
            drawn[f"mem-cpu-{verb}-p{pipeline}"] = (
                f"{verb.upper()}, pipeline {pipeline}: server's processor time a request by size of value",
                "µs", [f"{size} B" for size, _ in SIZES],
                {name: [tuple(v / 1000 for v in value) for value in values] for name, values in series.items()})
    return drawn
