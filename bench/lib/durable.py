# SPDX-License-Identifier: GPL-3.0-or-later
"""Durable SET: every answer waits until its change is on the disk. virgod against redis with appendfsync always, on the
same disk in the same run, and what the disk itself gives: a loop of pwrite and fdatasync over blocks that are there."""
import os
import shlex
import shutil
import tempfile
import time

from .bars import Bar, column
from .report import scaled, table
from .system import say
from .tcp import TcpServer, checked, loader, redis_like
from .system import free_port

CLIENTS = (1, 32)
FILE_BYTES = 64 << 20
BLOCK_BYTES = 4096
SERVERS = ("virgod", "redis")
LIMIT = "pwrite + fdatasync"


def servers(build, directory):
    port = free_port()
    own = TcpServer("virgod", [f"{build}/virgod", "--listen", f"127.0.0.1:{port}", "--workers", 1, "--bpf", "off",
                               "--arena-size", "1g", "--log-level", "warning", "--data-dir", f"{directory}/virgo",
                               "--appendfsync", "always"], port)
    port = free_port()
    redis = redis_like("redis-server", port)
    redis[redis.index("--dir") + 1] = directory
    redis[redis.index("--appendonly") + 1] = "yes"
    return [own, TcpServer("redis", redis + ["--appendfsync", "always", "--auto-aof-rewrite-percentage", 0], port)]


def disk(directory, seconds):
    """Writes a second that the disk takes one after the other, each on stable storage before the next."""
    path = os.path.join(directory, "limit")
    block = b"\x5a" * BLOCK_BYTES
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    times = []
    try:
        for at in range(0, FILE_BYTES, 1 << 20):
            os.pwrite(descriptor, bytes(1 << 20), at)
        os.fsync(descriptor)
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            began = time.monotonic_ns()
            os.pwrite(descriptor, block, len(times) * BLOCK_BYTES % FILE_BYTES)
            os.fdatasync(descriptor)
            times.append(time.monotonic_ns() - began)
        elapsed = time.monotonic() - started
    finally:
        os.close(descriptor)
        os.unlink(path)
    times.sort()
    return {"rate": len(times) / elapsed, "p50_ns": times[len(times) // 2], "p99_ns": times[len(times) * 99 // 100]}


def run_all(measure, build, runs, seconds):
    """Samples by (server, clients), one a run; and the commands."""
    directory = tempfile.mkdtemp(prefix="virgo-bench-durable-")
    os.chmod(directory, 0o755)
    group = servers(build, directory)
    results = {}
    try:
        for server in group:
            server.up()
        for number in range(runs):
            say(f"durable SET, run {number + 1} of {runs}")
            results.setdefault((LIMIT, 1), []).append(disk(directory, min(seconds, 1)))
            for clients in CLIENTS:
                for server in group[number % len(group):] + group[:number % len(group)]:
                    sample = measure(loader(build, server, "--connections", clients, "--duration", seconds, "--set",
                                            1000))
                    results.setdefault((server.name, clients), []).append(checked(server, sample, False))
    finally:
        for server in group:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)
    commands = [shlex.join(map(str, server.arguments)) for server in group]
    commands.append(f"{build}/bench/load --connections 1|32 --set 1000 --duration {seconds}")
    return results, commands


def bars_of(results):
    def ratio(clients, target):
        return Bar(f"durable SET, {clients} clients, virgod / redis appendfsync always", target, True,
                   column(results[("virgod", clients)], "rate"), column(results[("redis", clients)], "rate"))

    return [ratio(32, 3)]


def tables(results):
    rows = []
    for (server, clients), samples in results.items():
        rows.append([server, clients, scaled(column(samples, "rate"), 1000), scaled(column(samples, "p50_ns"), 1000),
                     scaled(column(samples, "p99_ns"), 1000),
                     scaled(column(samples, "server_cpu_ns"), 1000) if server in SERVERS else ""])
    return table(["what", "clients", "thousand a second", "p50 µs", "p99 µs", "server's processor µs a request"], rows)


def plots(results):
    return {}
