# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP: the daemon, its epoll twin, a bare io_uring echo, and the peers, in turn, on loopback."""
import os
import pwd
import shlex
import shutil

from .system import BenchError, LOADER_CPU, Process, SERVER_CPU, connects, free_port, run, say

KEYS = 1 << 20
VALUE_BYTES = 64
CONNECTIONS = 50
POINTS = [("get", 1), ("set", 1), ("get", 16), ("set", 16)]
# Open loop, requests a second: below what the slowest of them does, so that latency is not a queue's length.
OPEN_RATE = 40000


class TcpServer(Process):
    def __init__(self, name, arguments, port, protocol="resp"):
        super().__init__(name, arguments)
        self.port = port
        self.protocol = protocol

    def up(self):
        self.start()
        self.wait_until(lambda: connects(self.port), f"port {self.port}")
        return self


def redis_like(program, port):
    return [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--io-threads", "1",
            "--daemonize", "no", "--dir", "/tmp", "--protected-mode", "no"]


def servers(build):
    """All that can be measured here; the peers that must be there are an error when they are not."""
    found = []
    port = free_port()
    found.append(TcpServer("virgod", [f"{build}/virgod", "--listen", f"127.0.0.1:{port}", "--workers", 1,
                                      "--bpf", "off", "--arena-size", "1g", "--log-level", "warning"], port))
    port = free_port()
    found.append(TcpServer("io_uring echo", [f"{build}/bench/uring_echo", "127.0.0.1", port], port, "echo"))
    port = free_port()
    found.append(TcpServer("epoll twin", [f"{build}/bench/tcp_epoll", "127.0.0.1", port], port))
    port = free_port()
    found.append(TcpServer("redis", redis_like("redis-server", port), port))
    if shutil.which("valkey-server"):
        port = free_port()
        found.append(TcpServer("valkey", redis_like("valkey-server", port), port))
    else:
        say("valkey-server is not installed and not in this release: not compared")
    port = free_port()
    account = [] if os.geteuid() else ["-u", "nobody"]
    if account:
        pwd.getpwnam("nobody")
    found.append(TcpServer("memcached", ["memcached", *account, "-l", "127.0.0.1", "-p", port, "-U", 0, "-t", 1,
                                         "-m", 2048], port, "memcache"))
    return found


def versions():
    def first_line(arguments):
        return run(arguments).splitlines()[0].strip() if shutil.which(arguments[0]) else "not installed"

    return {"redis": first_line(["redis-server", "--version"]), "valkey": first_line(["valkey-server", "--version"]),
            "memcached": first_line(["memcached", "--version"])}


def loader(build, server, *extra):
    return [f"{build}/bench/load", "--port", server.port, "--protocol", server.protocol, "--cpu", LOADER_CPU,
            "--server", server.pid, "--keys", KEYS, "--value", VALUE_BYTES, *extra]


def checked(server, sample, reads=True):
    server.check()
    if not sample["requests"] or sample["errors"] or sample["wrong"]:
        raise BenchError(f"{server.name}: {sample['requests']} requests, {sample['errors']} errors, "
                         f"{sample['wrong']} wrong values")
    if reads and server.protocol != "echo" and sample["misses"]:
        raise BenchError(f"{server.name}: {sample['misses']} keys were missing")
    return sample


def point(measure, build, server, verb, pipeline, seconds):
    sample = measure(loader(build, server, "--connections", CONNECTIONS, "--pipeline", pipeline, "--duration", seconds,
                            "--set", 1000 if verb == "set" else 0))
    return checked(server, sample, verb == "get")


def latencies(measure, build, server, seconds):
    """One request at a time, and an open loop."""
    one = measure(loader(build, server, "--connections", 1, "--duration", seconds))
    many = measure(loader(build, server, "--connections", CONNECTIONS, "--rate", OPEN_RATE, "--duration", seconds))
    return checked(server, one), checked(server, many)


def run_all(measure, build, runs, seconds):
    """Samples by (server, verb, pipeline), one a run; verb "one" and "open" are the latencies. And the commands."""
    group = servers(build)
    results = {}
    try:
        for server in group:
            server.up()
            if server.protocol != "echo":
                measure(loader(build, server, "--fill", "--pipeline", 64))
        for number in range(runs):
            say(f"TCP, run {number + 1} of {runs}")
            for verb, pipeline in POINTS:
                # Each run begins with another server, so that none is always first or always behind the same one.
                for server in group[number % len(group):] + group[:number % len(group)]:
                    sample = point(measure, build, server, verb, pipeline, seconds)
                    results.setdefault((server.name, verb, pipeline), []).append(sample)
            for server in (s for s in group if s.protocol != "echo"):
                one, many = latencies(measure, build, server, min(seconds, 1))
                results.setdefault((server.name, "one", 1), []).append(one)
                results.setdefault((server.name, "open", 1), []).append(many)
    finally:
        for server in group:
            server.stop()
    commands = [shlex.join(server.arguments) + f"   # processor {SERVER_CPU}" for server in group]
    commands.append(f"{build}/bench/load --connections {CONNECTIONS} --pipeline 1|16 --set 0|1000 --keys {KEYS} "
                    f"--value {VALUE_BYTES} --duration {seconds} --cpu {LOADER_CPU}")
    return results, commands
