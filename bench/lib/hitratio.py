# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps the right keys: the same trace to each server with the same memory, a miss is followed by its SET."""
import random
import shutil
import socket
from itertools import accumulate

from .bars import Bar
from .report import table
from .system import BenchError, Process, connects, free_port, say

KEYS = 400_000
REQUESTS = 2_000_000
ZIPF = 0.99
VALUE = b"v" * 100
MEMORY = 16 << 20  # beyond what the server has in use when it is empty
BATCH = 32         # requests whose answers are awaited together
SEED = 1
SCAN_EVERY, SCAN_KEYS = 100_000, 100_000
POLICIES = [("virgod", "allkeys-s3fifo"), ("virgod", "allkeys-lru"), ("redis-server", "allkeys-lru"),
            ("valkey-server", "allkeys-lru")]


def zipf_trace(requests):
    """Key numbers; which of them are popular is shuffled."""
    draw = random.Random(SEED)
    names = list(range(KEYS))
    draw.shuffle(names)
    weights = list(accumulate(1 / rank ** ZIPF for rank in range(1, KEYS + 1)))
    return draw.choices(names, cum_weights=weights, k=requests)


def scan_trace(requests):
    """The same with walks through keys that nobody asks for again."""
    trace, once = [], KEYS
    for at in range(0, requests, SCAN_EVERY):
        trace += zipf_trace.cached[at:at + SCAN_EVERY]
        trace += range(once, once + SCAN_KEYS)
        once += SCAN_KEYS
    return trace[:requests]


class Cache:
    """A cache seen by an application that reads through it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.file = self.socket.makefile("rb")

    def command(self, *words):
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        answer = self.file.readline()
        if answer.startswith(b"-"):
            raise BenchError(answer.decode().strip())
        if answer.startswith(b"$") and answer != b"$-1\r\n":
            return self.file.read(int(answer[1:]) + 2)[:-2]
        return answer

    def play(self, trace):
        """Hits of the second half of the trace: the first fills the cache."""
        hits, warm = 0, len(trace) // 2
        for at in range(0, len(trace), BATCH):
            batch = trace[at:at + BATCH]
            self.socket.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:%012d\r\n" % key for key in batch))
            missed = [key for key in batch if not self.hit()]
            if at >= warm:
                hits += len(batch) - len(missed)
            self.store(dict.fromkeys(missed))
        return hits / (len(trace) - warm)

    def hit(self):
        length = int(self.file.readline()[1:])
        return length >= 0 and self.file.read(length + 2) == VALUE + b"\r\n"

    def store(self, keys):
        head, tail = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:", b"\r\n$100\r\n" + VALUE + b"\r\n"
        self.socket.sendall(b"".join(head + b"%012d" % key + tail for key in keys))
        for _ in keys:
            if self.file.readline() != b"+OK\r\n":
                raise BenchError("a SET was refused")

    def used(self):
        for line in self.command(b"INFO", b"memory").split(b"\r\n"):
            if line.startswith(b"used_memory:"):
                return int(line.split(b":")[1])
        raise BenchError("INFO has no used_memory")


def hit_ratio(build, name, policy, trace):
    port = free_port()
    arguments = ([f"{build}/virgod", "--listen", f"127.0.0.1:{port}", "--workers", "1", "--bpf", "off", "--arena-size",
                  "64m", "--heap-size", "64m", "--log-level", "warning"] if name == "virgod" else
                 [name, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
    process = Process(name, arguments).start()
    try:
        process.wait_until(lambda: connects(port), f"port {port}")
        cache = Cache(port)
        limit = cache.used() + MEMORY
        cache.command(b"CONFIG", b"SET", b"maxmemory-policy", policy.encode())
        cache.command(b"CONFIG", b"SET", b"maxmemory", b"%d" % limit)
        return cache.play(trace)
    finally:
        process.stop()


def run_all(measure, build, runs, seconds):
    """One run: a trace and a server give the same hits each time, nearly."""
    zipf_trace.cached = zipf_trace(REQUESTS)
    traces = {"zipf": zipf_trace.cached, "zipf and scans": scan_trace(REQUESTS)}
    rows = []
    for name, policy in POLICIES:
        if name != "virgod" and not shutil.which(name):
            continue
        row = {"server": name, "policy": policy}
        for trace, keys in traces.items():
            say(f"hit ratio: {name}, {policy}, {trace}")
            row[trace] = hit_ratio(build, name, policy, keys)
        rows.append(row)
    return {"requests": REQUESTS, "traces": list(traces), "rows": rows}, []


def bars_of(result):
    own = result["rows"][0]
    return [Bar(f"hit ratio / {row['server']} {row['policy']}, {trace}", 1.0, True, [own[trace]], [row[trace]])
            for row in result["rows"] if row["server"] != "virgod" for trace in result["traces"]]


def tables(result):
    return table(["server", "policy"] + result["traces"],
                 [[row["server"], row["policy"]] + [f"{row[trace]:.4f}" for trace in result["traces"]]
                  for row in result["rows"]])


def plots(result):
    return {}
