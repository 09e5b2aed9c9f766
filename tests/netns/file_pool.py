# SPDX-License-Identifier: GPL-3.0-or-later
"""Several nodes with file pools, and a client that finds its way among them, in Python."""
import errno
import os
import random
import struct
import subprocess
import time

from file_node import BUILD, PORT
from file_wire import AT_HOME, CREATE, ENTRY, ERRNO, EXCLUSIVE, Link, Stat, TRUNCATE, WRITE, WRONG_NODE, opening

MAYBE = {errno.EHOSTDOWN, errno.EBUSY, errno.ESTALE}  # it was done, or not


class Refused(Exception):
    def __init__(self, number):
        super().__init__(errno.errorcode.get(number, number))
        self.errno = number


class Cluster:
    """In a network namespace of the test's own; node i listens on 127.0.7.(i + 1)."""

    def __init__(self, directory, nodes, *flags):
        self.directory, self.nodes, self.flags = directory, nodes, list(flags)
        self.host = [f"127.0.7.{i + 1}" for i in range(nodes)]
        self.process = [None] * nodes
        for i in range(nodes):
            os.makedirs(self.root(i))
        for i in range(nodes):
            self.start(i)
        # A node that asked another before that was there gives it a moment's rest: until each has been heard by each.
        pool = Pool(self)
        for i in range(12):
            settle(pool.mkdir, f"ready{i}")
            settle(pool.rmdir, f"ready{i}")

    def root(self, i):
        return os.path.join(self.directory, f"root{i}")

    def log(self, i):
        with open(os.path.join(self.directory, f"log{i}"), errors="replace") as log:
            return log.read()

    def start(self, i):
        with open(os.path.join(self.directory, f"log{i}"), "ab") as log:
            self.process[i] = subprocess.Popen(
                [os.path.join(BUILD, "virgod"), "--listen", self.host[i], "--nodes", ",".join(self.host), "--node", str(i),
                 "--bpf", "off", "--arena-size", "16m", "--heap-size", "64m", "--workers", "1", "--cpu-port", "0",
                 "--connections", "64", "--file-root", self.root(i), *self.flags], stdout=log, stderr=log)
        for _ in range(600):
            try:
                link = Link(PORT, host=self.host[i], timeout=5)
                link.ask("PING")
                link.close()
                return
            except OSError:
                if self.process[i].poll() is not None:
                    break
                time.sleep(0.05)
        raise RuntimeError(f"node {i} does not listen:\n" + self.log(i)[-2000:])

    def kill(self, i):
        self.process[i].kill()
        self.process[i].wait()

    def died(self):
        """Of itself: the nodes that did, and what they said last."""
        return [(i, self.log(i)[-1000:]) for i in range(self.nodes) if self.process[i].poll() is not None]

    def end(self):
        for process in self.process:
            if process.poll() is None:
                process.kill()
                process.wait()

    def left(self):
        """What lies in the roots, but directories of the pool's own."""
        found = []
        for i in range(self.nodes):
            for where, directories, files in os.walk(self.root(i)):
                own = where.startswith(os.path.join(self.root(i), ".virgo"))
                found += [os.path.join(where, name) for name in files]
                found += [os.path.join(where, name) for name in directories if not own and name != ".virgo"]
        return [name for name in found if "/.virgo/new/" not in name]


class Pool:
    """What libvirgo does, without its patience: a node that is not there is EHOSTDOWN at once."""

    def __init__(self, cluster):
        self.cluster, self.links = cluster, {}

    def link(self, node):
        if node not in self.links:
            link = Link(PORT, host=self.cluster.host[node])
            link.session()
            self.links[node] = link
        return self.links[node]

    def once(self, node, opcode, path, **named):
        try:
            return self.link(node).ask(opcode, path, **named)
        except OSError:
            self.links.pop(node, None)
            return None

    def ask(self, opcode, path=b"", node=None, flags=0, **named):
        path = path.encode() if isinstance(path, str) else path
        for _ in range(3):
            at, given = node, flags
            starts = random.sample(range(self.cluster.nodes), self.cluster.nodes) if node is None else [node]
            for _ in range(8):
                if at is None:
                    at = starts.pop() if starts else None
                    reply = self.once(at, opcode, path, flags=given, **named) if at is not None else None
                    if reply is None and starts:
                        at = None
                        continue
                else:
                    reply = self.once(at, opcode, path, flags=given, **named)
                if reply is None:
                    raise Refused(errno.EHOSTDOWN)
                if reply.status != WRONG_NODE:
                    break
                at, given = reply.argument, flags | reply.partition & 0xff
            # Its name has moved, perhaps.
            if not (reply.error == errno.ENOENT and given & AT_HOME):
                break
        if reply.status == ERRNO:
            raise Refused(reply.argument)
        if reply.status:
            raise RuntimeError(f"{opcode} {path}: {reply!r}")
        return reply

    def open(self, path, how, mode=0o644, **named):
        return self.ask("OPEN", path, argument=opening(how, mode), **named)

    def close(self, descriptor):
        self.ask("CLOSE", node=descriptor >> 52, ident=descriptor)

    def put(self, path, data):
        self.ask("PUT", path, body=data, argument=opening(WRITE | CREATE | TRUNCATE, 0o644))

    def create(self, path, mode=0o644):
        reply = self.open(path, WRITE | CREATE | EXCLUSIVE, mode)
        self.close(reply.ident)
        return reply

    def get(self, path):
        return self.ask("FETCH", path).body[80:]

    def stat(self, path):
        return Stat(self.ask("STAT", path).body)

    def mkdir(self, path):
        self.ask("MKDIR", path, argument=0o755)

    def rmdir(self, path):
        self.ask("RMDIR", path)

    def unlink(self, path):
        self.ask("UNLINK", path)

    def rename(self, path, other, flags=0):
        self.ask("RENAME", path, body=other.encode(), flags=flags)

    def link_to(self, path, other):
        self.ask("LINK", path, body=other.encode())

    def symlink(self, path, target):
        self.ask("SYMLINK", path, body=target.encode())

    def readlink(self, path):
        return self.ask("READLINK", path).body.decode()

    def list(self, path):
        """name → the nodes that list it, and their modes"""
        names = {}
        for node in range(self.cluster.nodes):
            cursor = 0
            while True:
                try:
                    reply = self.ask("LIST", path, node=node, flags=AT_HOME, argument=cursor,
                                     body=struct.pack(">II", 65536, 0))
                except Refused as refused:
                    if refused.errno == errno.ENOENT:
                        break
                    raise
                at = 0
                while at < len(reply.body):
                    stat, _, length, _, _, _ = ENTRY.unpack_from(reply.body, at)
                    name = reply.body[at + ENTRY.size:at + ENTRY.size + length].decode()
                    names.setdefault(name, []).append((node, Stat(stat).mode))
                    at += ENTRY.size + length + -length % 8
                cursor = reply.argument
                if not cursor:
                    break
        return names


def settle(function, *arguments, seconds=60):
    """Until it is known."""
    end = time.time() + seconds
    while True:
        try:
            return function(*arguments)
        except Refused as refused:
            if refused.errno not in MAYBE or time.time() > end:
                raise
            time.sleep(0.1)
