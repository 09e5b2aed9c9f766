# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of a key: 16 bytes of key, 32 of value, as many as asked for, in each server; and how smoothly ours grows."""
import json
import shlex
import shutil
import socket

from .bars import Bar
from .report import table
from .system import BenchError, Process, connects, free_port, run, say

VALUE = b"v" * 32
BATCH = 5000
TARGET = 0.5  # of redis
KEYS = 10_000_000


class Client:
    """As much of RESP as loading needs."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def load(self, first, last):
        """Set keys first … last - 1; every answer is checked."""
        head, tail = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:", b"\r\n$32\r\n" + VALUE + b"\r\n"
        self.socket.sendall(b"".join(head + b"%012d" % number + tail for number in range(first, last)))
        wanted = 5 * (last - first)
        if self.file.read(wanted) != b"+OK\r\n" * (last - first):
            raise BenchError("a SET was refused")

    def info(self, field):
        self.socket.sendall(b"*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n")
        text = self.file.read(int(self.file.readline()[1:]) + 2).decode()
        for line in text.splitlines():
            if line.startswith(field + ":"):
                return int(line.split(":")[1])
        raise BenchError(f"INFO has no {field}")


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise BenchError("no VmRSS")


def servers(build, keys):
    port = free_port()
    # Just large enough: an arena is touched whole at start, so all of it counts.
    arena = max(16 << 20, (keys * 69 + (4 << 20)) >> 20 << 20)
    yield "virgod", port, [f"{build}/virgod", "--listen", f"127.0.0.1:{port}", "--workers", "1", "--bpf", "off",
                           "--arena-size", arena, "--heap-size", "64m", "--log-level", "warning"]
    for name in ("redis-server", "valkey-server"):
        if shutil.which(name):
            port = free_port()
            yield name, port, [name, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                               "--daemonize", "no"]


def fill(name, port, arguments, keys):
    """Bytes a key, by the server's own account and by what is resident; fixed costs are taken off where they show."""
    process = Process(name, arguments).start()
    try:
        process.wait_until(lambda: connects(port), f"port {port}")
        client = Client(port)
        used, before = client.info("used_memory"), resident(process.pid)
        for first in range(0, keys, BATCH):
            client.load(first, min(first + BATCH, keys))
        used = client.info("used_memory") - used
        after = resident(process.pid)
        client.close()
        # Ours is resident from the start: the whole process counts, arena and all that is not used of it.
        return {"server": name, "used": used / keys, "resident": (after - (0 if name == "virgod" else before)) / keys}
    finally:
        process.stop()


def run_all(measure, build, runs, seconds):
    """One row a server, and the figures of growing: counts, so one run is enough."""
    rows, commands = [], []
    for name, port, arguments in servers(build, KEYS):
        say(f"memory of {KEYS} keys: {name}")
        rows.append(fill(name, port, arguments, KEYS))
        commands.append(shlex.join(map(str, arguments)))
    say(f"growing to {KEYS} keys")
    growth = json.loads(run([f"{build}/bench/growth", KEYS]))
    return {"keys": KEYS, "rows": rows, "growth": growth}, commands + [f"{build}/bench/growth {KEYS}"]


def bars_of(result):
    rows = {row["server"]: row for row in result["rows"]}
    own = rows["virgod"]
    return [Bar(f"memory a key / {name}, {by}, {result['keys']} keys", TARGET, False, [own[by]], [rows[name][by]])
            for name in rows if name != "virgod" for by in ("used", "resident")]


def tables(result):
    lines = table(["server", "bytes a key, its account", "bytes a key, resident"],
                  [[row["server"], f"{row['used']:.1f}", f"{row['resident']:.1f}"] for row in result["rows"]])
    growth = result["growth"]
    return lines + ["", f"Growing to {growth['keys']} keys, one thread: the slowest call took "
                    f"{growth['slowest us']} µs; {growth['over 1 ms']} took over 1 ms, the scheduler's "
                    f"{growth['preempted']} pauses included."]


def plots(result):
    return {}
