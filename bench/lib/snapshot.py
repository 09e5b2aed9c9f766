# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: latencies while a snapshot is being written all the time, against the same without; redis beside it."""
import os
import shlex
import shutil
import socket
import tempfile
import threading
import time

from .bars import Bar, column
from .report import scaled, table
from .system import BenchError, free_port, say
from .tcp import CONNECTIONS, KEYS, OPEN_RATE, TcpServer, checked, loader, redis_like

SETS_PERMILLE = 500


class Saver(threading.Thread):
    """BGSAVE, again as soon as it is done."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.link = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.stopping = threading.Event()
        self.saves = 0
        self.error = None

    def ask(self, *words):
        text = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
        self.link.sendall(text)
        answer = b""
        while not answer.endswith(b"\r\n") or (answer[:1] == b"$" and answer.count(b"\r\n") < 3):
            part = self.link.recv(65536)
            if not part:
                raise BenchError("the connection for BGSAVE was closed")
            answer += part
        return answer.decode()

    def running(self):
        return "rdb_bgsave_in_progress:1" in self.ask("INFO", "persistence")

    def run(self):
        try:
            while not self.stopping.is_set():
                if not self.running():
                    self.ask("BGSAVE")
                    self.saves += 1
                time.sleep(0.01)
            while self.running():
                time.sleep(0.01)
            if "rdb_last_bgsave_status:ok" not in self.ask("INFO", "persistence"):
                raise BenchError("the last BGSAVE failed")
        except (BenchError, OSError) as error:
            self.error = error

    def end(self):
        self.stopping.set()
        self.join()
        if self.error:
            raise BenchError(f"BGSAVE: {self.error}")
        if not self.saves:
            raise BenchError("no snapshot was made while it was measured")
        return self.saves


def servers(build, directory):
    port = free_port()
    own = TcpServer("virgod", [f"{build}/virgod", "--listen", f"127.0.0.1:{port}", "--workers", 1, "--bpf", "off",
                               "--arena-size", "1g", "--log-level", "warning", "--data-dir", f"{directory}/virgo",
                               "--appendonly", "no"], port)
    port = free_port()
    redis = redis_like("redis-server", port)
    redis[redis.index("--dir") + 1] = directory
    return [own, TcpServer("redis", redis, port)]


def load_once(measure, build, server, seconds):
    sample = measure(loader(build, server, "--connections", CONNECTIONS, "--rate", OPEN_RATE, "--set", SETS_PERMILLE,
                            "--duration", seconds))
    return checked(server, sample)


def run_all(measure, build, runs, seconds):
    directory = tempfile.mkdtemp(prefix="virgo-bench-snapshot-")
    os.chmod(directory, 0o755)
    results = {}
    group = servers(build, directory)
    try:
        for server in group:
            server.up()
            measure(loader(build, server, "--fill", "--pipeline", 64))
        for number in range(runs):
            say(f"snapshots, run {number + 1} of {runs}")
            for server in group[number % len(group):] + group[:number % len(group)]:
                results.setdefault((server.name, "quiet"), []).append(load_once(measure, build, server, seconds))
                saver = Saver(server.port)
                saver.start()
                sample = load_once(measure, build, server, seconds)
                sample["saves"] = saver.end()
                results.setdefault((server.name, "saving"), []).append(sample)
    finally:
        for server in group:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)
    commands = [shlex.join(map(str, server.arguments)) for server in group]
    commands.append(f"BGSAVE over and over; {build}/bench/load --connections {CONNECTIONS} --rate {OPEN_RATE} "
                    f"--set {SETS_PERMILLE} --keys {KEYS} --duration {seconds}")
    return results, commands


def bars_of(results):
    def ratio(server, field, target, note=""):
        return Bar(f"{server}, GET and SET while snapshots are written / without, {field.removesuffix('_ns')}", target,
                   False, column(results[(server, "saving")], field), column(results[(server, "quiet")], field), note)

    saves = sum(column(results[("virgod", "saving")], "saves"))
    return [ratio("virgod", "p99_ns", 2, f"{saves} snapshots of {KEYS} keys")]


def tables(results):
    rows = [[server, what, scaled(column(samples, "rate"), 1000), scaled(column(samples, "p50_ns"), 1000),
             scaled(column(samples, "p99_ns"), 1000), scaled(column(samples, "p999_ns"), 1000)]
            for (server, what), samples in results.items()]
    return table(["server", "snapshots", "thousand requests/s", "p50 µs", "p99 µs", "p99.9 µs"], sorted(rows))


def plots(results):
    return {}
