# SPDX-License-Identifier: GPL-3.0-or-later
"""VIRGO binary to a file pool, byte by byte: what tests of the node say to it that libvirgo would not.

    link = Link(port); link.session(); fd = link.ask("OPEN", "a/b", argument=opening(RDWR | CREATE, 0o644)).ident
"""
import errno
import os
import re
import socket
import struct

HEADER = struct.Struct(">HBBHBBQQHHIQIIQIIIHHQ")
SESSION = struct.Struct(">16sIHHQII")
STAT = struct.Struct(">QQQqqqqIIIIIHH")
LOCK = struct.Struct(">QQQBBHI")
CHANGE = struct.Struct(">IIIIQQQ")
STATFS = struct.Struct(">QQQQQIIII")
COPY = struct.Struct(">QQQQ")
ENTRY = struct.Struct(">80sQHHHH")
EVENT = struct.Struct(">IIII")

WIRE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../include/virgo/wire.h")
with open(WIRE, encoding="utf-8") as header:
    OPCODES = {name: int(number) for name, number in re.findall(r"X\((?:FILE_)?(\w+), (\d+), \"(?:file-|ping)", header.read())}

AT_HOME, RETRY, STRIPED = 1, 2, 4
DATA_ONLY = DURABLE = NO_REPLACE = KEEP_SIZE = WITH_STAT = PIECE = 0x100
APPEND = EXCHANGE = PUNCH_HOLE = 0x200
READ, WRITE, CREATE, EXCLUSIVE, TRUNCATE, O_APPEND, DIRECT, SYNC, DIRECTORY = (1 << i for i in range(9))
RDWR = READ | WRITE
UNLOCK, SHARED, EXCLUSIVE_LOCK = range(3)
WAIT, WHOLE, TEST = 1, 2, 4
MODE, UID, GID, SIZE, ACCESSED, MODIFIED = 1, 2, 4, 8, 16, 32
OK, UNAUTHORIZED, WRONG_NODE, ERRNO = 0, 7, 8, 16
TAGGED = 2


def opening(flags, mode=0):
    return flags << 32 | mode


def siphash24(key, data):
    mask = (1 << 64) - 1

    def rotate(x, by):
        return (x << by | x >> (64 - by)) & mask

    v = [key[0] ^ 0x736F6D6570736575, key[1] ^ 0x646F72616E646F6D,
         key[0] ^ 0x6C7967656E657261, key[1] ^ 0x7465646279746573]

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & mask
            v[2] = (v[2] + v[3]) & mask
            v[1], v[3] = rotate(v[1], 13) ^ v[0], rotate(v[3], 16) ^ v[2]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[1]) & mask
            v[0] = (v[0] + v[3]) & mask
            v[1], v[3] = rotate(v[1], 17) ^ v[2], rotate(v[3], 21) ^ v[0]
            v[2] = rotate(v[2], 32)

    last = len(data) - len(data) % 8
    words = [int.from_bytes(data[at:at + 8], "little") for at in range(0, last, 8)]
    words.append(int.from_bytes(data[last:].ljust(7, b"\0") + bytes([len(data) & 255]), "little"))
    for word in words:
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 255
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


class Reply:
    def __init__(self, fields, body):
        (_, _, self.opcode, self.flags, _, self.status, self.client, self.sequence, _, self.partition, _, self.ident,
         _, _, self.argument) = fields[:15]
        self.body = body

    @property
    def error(self):
        """The errno; 0: none; -1: refused without one."""
        return 0 if self.status == OK else self.argument if self.status == ERRNO else -1

    @property
    def stat(self):
        return Stat(self.body)

    def __repr__(self):
        what = errno.errorcode.get(self.error, self.status) if self.status else "OK"
        return f"<{what} ident={self.ident:#x} argument={self.argument} {self.body[:60]!r}>"


class Stat:
    def __init__(self, body):
        (self.inode, self.size, self.allocated, self.accessed, self.modified, self.changed, self.created, self.mode,
         self.links, self.uid, self.gid, self.block_size, self.node, self.flags) = STAT.unpack(body[:STAT.size])


class Link:
    """One connection. `client` names who asks, over reconnects; `key`: two numbers."""

    def __init__(self, port, client=None, host="127.0.0.1", key=None, timeout=60):
        self.host, self.port, self.key, self.timeout = host, port, key, timeout
        self.client = client or int.from_bytes(os.urandom(8), "big")
        self.sequence = 0
        self.ident, self.secret = 0, bytes(16)
        self.open()

    def open(self):
        self.socket = socket.create_connection((self.host, self.port), self.timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.events = []

    def close(self):
        self.socket.close()

    def frame(self, opcode, key=b"", body=b"", ident=0, argument=0, flags=0, sequence=None):
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        key = key.encode() if isinstance(key, str) else key
        padded = key + bytes(-len(key) % 8)
        fields = [0x5647, 1, OPCODES[opcode], TAGGED if self.key else 0, 0, 0, self.client, sequence, 0xFFFF, flags, 0,
                  ident, len(key), len(body), argument, 0, 0, 0, 0, 0, 0]
        if self.key:
            fields[20] = siphash24(self.key, HEADER.pack(*fields) + padded)
        return HEADER.pack(*fields) + padded + body

    def send(self, *arguments, **named):
        """The sequence it has."""
        self.socket.sendall(self.frame(*arguments, **named))
        return named.get("sequence") or self.sequence

    def take(self, length):
        while len(self.buffer) < length:
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionResetError("the node has closed the connection")
            self.buffer += data
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def receive(self):
        """The next message; FILE_EVENTs are put aside in self.events."""
        while True:
            fields = HEADER.unpack(self.take(HEADER.size))
            reply = Reply(fields, self.take(fields[13]))
            if reply.opcode != OPCODES["EVENT"]:
                return reply
            self.events.append(reply)

    def receive_for(self, sequence):
        while True:
            reply = self.receive()
            if reply.sequence == sequence:
                return reply

    def ask(self, *arguments, **named):
        return self.receive_for(self.send(*arguments, **named))

    def session(self, lease_ms=0):
        """Make one, or join that which this link had."""
        reply = self.ask("SESSION", ident=self.ident,
                         body=SESSION.pack(self.secret, lease_ms if not self.ident else 0, 0, 0, 0, 0, 0))
        if not reply.status:
            self.ident, self.secret = reply.ident, reply.body[:16]
            self.life = SESSION.unpack(reply.body)[4]
        return reply

    def reconnect(self):
        self.close()
        self.open()
        return self.session()

    def lock(self, descriptor, owner, start, length, kind, flags=0):
        return self.ask("LOCK", ident=descriptor, body=LOCK.pack(owner, start, length, kind, flags, 0, os.getpid()))

    def send_lock(self, descriptor, owner, start, length, kind, flags=0):
        return self.send("LOCK", ident=descriptor, body=LOCK.pack(owner, start, length, kind, flags, 0, os.getpid()))

    def statfs(self):
        """bytes, bytes_free, files, files_free"""
        fields = STATFS.unpack(self.ask("STATFS").body)
        return fields[0], fields[1], fields[3], fields[4]

    def list(self, path):
        """name → mode, or an errno; of this node"""
        names, cursor = {}, 0
        while True:
            reply = self.ask("LIST", path, flags=AT_HOME, argument=cursor, body=struct.pack(">II", 65536, 0))
            if reply.error:
                return reply.error
            at = 0
            while at < len(reply.body):
                stat, _, length, _, _, _ = ENTRY.unpack_from(reply.body, at)
                name = reply.body[at + ENTRY.size:at + ENTRY.size + length]
                names[name] = Stat(stat).mode
                at += ENTRY.size + length + -length % 8
            cursor = reply.argument
            if not cursor:
                return names
