# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what in a file pool, and how much: exports, quotas, a disk that is full, one that fails:
file_room.py DIRECTORY FULL FAILING [CHECK…], inside a network namespace of its own. Prints TAP.

FULL: a mounted file system of a few megabytes; FAILING: one whose device has less room than it says.
"""
import errno
import os
import random
import stat
import subprocess
import sys

from file_node import LONG, MEMORY_PORT, PORT, Node, Tests, fails, fine, same, soon
from file_wire import (APPEND, CHANGE, COPY, CREATE, DURABLE, EVENT, EXCHANGE, EXCLUSIVE, KEEP_SIZE, OK, RDWR, READ,
                       SESSION, SIZE, TRUNCATE, UNAUTHORIZED, WRONG_NODE, Link, opening)

DIRECTORY, FULL, FAILING = sys.argv[1:4]
ONLY = sys.argv[4:]
CLUSTER = (0x0011223344556677, 0x8899AABBCCDDEEFF)
ALICE = (0x1111111111111111, 0x1111111111111111)
READER = (0x2222222222222222, 0x2222222222222222)
tests = Tests()


def hexadecimal(key):
    return "%016x%016x" % key


def check(function, *arguments):
    if not ONLY or function.__name__ in ONLY:
        tests.run(function, *arguments)


def create(link, path, data=b"", flags=CREATE):
    return link.ask("PUT", path, argument=opening(flags, 0o644), body=data)


def resize(link, size, path=b"", ident=0):
    return link.ask("CHANGE", path, ident=ident, body=CHANGE.pack(SIZE, 0, 0, 0, size, 0, 0))


# ---- exports ---------------------------------------------------------------------------------------------------------

EXPORTS = f"""
[alice]
key = {hexadecimal(ALICE)}
directory = /home/alice/
quota-bytes = 1m
quota-files = 20

[reader]
key = {hexadecimal(READER)}
read-only = yes

[everybody]
directory = public
read-only = yes
"""


def exports_confine(node):
    """an export's key opens its directory and nothing else"""
    alice, all_ = node.link(key=ALICE), node.link(key=CLUSTER)
    fine(create(all_, "secret", b"s"))
    fine(create(alice, "mine", b"m"))
    same(set(alice.list("")), {b"mine"})
    same(set(all_.list("")), {b"home", b"public", b"secret"})
    same(fine(all_.ask("FETCH", "home/alice/mine")).body[80:], b"m")
    for path in ("secret", "home/alice/mine", "alice/mine"):
        fails(alice.ask("STAT", path), errno.ENOENT, path)
    for path in ("../secret", "/mine", "a/../../secret", "./mine", "mine/", "a//b", ""):
        error = alice.ask("UNLINK", path).error
        if error not in (errno.EINVAL, errno.EBUSY):
            raise AssertionError(f"{path!r}: {errno.errorcode.get(error, error)}")
    for opcode, body in (("RENAME", b"../../secret"), ("LINK", b"../x")):
        fails(alice.ask(opcode, "mine", body), errno.EINVAL, opcode)
    fine(alice.ask("RENAME", "mine", b"renamed"))
    same(set(all_.list("home/alice")), {b"renamed"})
    fine(alice.ask("SYMLINK", "way-out", b"../../secret"))
    fails(alice.ask("OPEN", "way-out", argument=opening(READ)), errno.ELOOP)
    fails(alice.ask("FETCH", "way-out"), errno.ELOOP)
    fine(alice.ask("UNLINK", "renamed"))
    fine(alice.ask("UNLINK", "way-out"))
    # Flags that are the pool's own name nothing outside either.
    for flags in (1, 0x100, 0x101, 0x108, 0xffff & ~2):
        for opcode in ("OPEN", "STAT", "FETCH", "UNLINK"):
            reply = alice.ask(opcode, "secret", argument=opening(READ), flags=flags)
            if reply.status == OK:
                raise AssertionError(f"{opcode} with flags {flags:#x}: {reply!r}")
    same(fine(all_.ask("FETCH", "secret")).body[80:], b"s")


def exports_keep_apart(node):
    """sessions and descriptors of one key are not another's; without the right key nobody is let in"""
    alice, reader = node.link(key=ALICE), node.link(key=READER)
    fd = fine(alice.ask("OPEN", "own", argument=opening(RDWR | CREATE, 0o600))).ident
    thief = Link(PORT, key=READER)
    fails(thief.ask("SESSION", ident=alice.ident, body=SESSION.pack(alice.secret, 0, 0, 0, 0, 0, 0)), errno.ESTALE)
    fails(reader.ask("STAT", ident=fd), errno.EBADF)
    stranger = Link(PORT, key=(1, 2))
    same(stranger.ask("SESSION", body=bytes(40)).status, OK, "a wrong tag is none: everybody's export")
    same(set(stranger.list("")), set())
    alice.key = READER  # in the middle of a session
    same(alice.ask("STAT", ident=fd).status, UNAUTHORIZED)
    alice.key = None
    same(alice.ask("STAT", ident=fd).status, UNAUTHORIZED)
    alice.key = ALICE
    fine(alice.ask("STAT", ident=fd))
    fine(alice.ask("CLOSE", ident=fd))
    fine(alice.ask("UNLINK", "own"))


def exports_read_only(node):
    """a read-only export is read, and every change is EROFS"""
    node_link, reader, anybody = node.link(key=CLUSTER), node.link(key=READER), node.link()
    fine(create(node_link, "public/file", b"for all"))
    same(fine(anybody.ask("FETCH", "file")).body[80:], b"for all")
    for link, name in ((reader, "public/file"), (anybody, "file")):
        fine(link.ask("OPEN", name, argument=opening(READ)))
        for opcode, asked in (("OPEN", dict(argument=opening(RDWR))), ("OPEN", dict(argument=opening(READ | CREATE, 0o600))),
                              ("OPEN", dict(argument=opening(READ | TRUNCATE))), ("UNLINK", {}), ("RMDIR", {}),
                              ("MKDIR", dict(argument=0o755)), ("RENAME", dict(body=b"x")), ("LINK", dict(body=b"x")),
                              ("SYMLINK", dict(body=b"x")), ("PUT", dict(argument=opening(CREATE, 0o600), body=b"x")),
                              ("CHANGE", dict(body=CHANGE.pack(1, 0o600, 0, 0, 0, 0, 0))),
                              ("XATTR_REMOVE", dict(body=b"user.x"))):
            fails(link.ask(opcode, name, **asked), errno.EROFS, opcode)
    same(fine(reader.ask("STAT", "public/file")).stat.mode, stat.S_IFREG | 0o644)


def exports_have_quotas(node):
    """an export's quota is its directory's, whoever writes there, and statfs shows it"""
    alice, all_ = node.link(key=ALICE), node.link(key=CLUSTER)
    same(alice.statfs(), (1 << 20, 1 << 20, 20, 20))
    fine(create(all_, "home/alice/big", bytes(1000000)))
    same(alice.statfs(), (1 << 20, (1 << 20) - 1000000, 20, 19))
    fails(create(alice, "more", bytes(100000)), errno.EDQUOT)
    fails(create(all_, "home/alice/more", bytes(100000)), errno.EDQUOT)
    fine(create(all_, "elsewhere", bytes(100000)))
    fails(all_.ask("RENAME", "elsewhere", b"home/alice/elsewhere"), errno.EXDEV)
    fails(all_.ask("LINK", "elsewhere", b"home/alice/elsewhere"), errno.EXDEV)
    fails(all_.ask("RENAME", "home/alice/big", b"big"), errno.EXDEV)
    fails(all_.ask("RENAME", "home", b"house"), errno.EBUSY)
    fails(all_.ask("RENAME", "home/alice", b"home/bob"), errno.EBUSY)
    for i in range(19):
        fine(alice.ask("MKDIR", f"d{i}", argument=0o755))
    fails(alice.ask("MKDIR", "d19", argument=0o755), errno.EDQUOT)
    fails(alice.ask("SYMLINK", "d19", b"x"), errno.EDQUOT)
    fails(create(alice, "d19"), errno.EDQUOT)
    fd = fine(alice.ask("OPEN", "big", argument=opening(RDWR | CREATE, 0o600))).ident
    fine(alice.ask("CLOSE", ident=fd))
    for i in range(19):
        fine(alice.ask("RMDIR", f"d{i}"))
    fine(alice.ask("UNLINK", "big"))
    same(alice.statfs()[3], 20)


class Together:
    """One client of several nodes: asks on as it is told."""

    def __init__(self, nodes, key):
        self.links = [node.link(key=key) for node in nodes]

    def ask(self, opcode, path=b"", flags=0, **named):
        node = 0
        for _ in range(8):
            reply = self.links[node].ask(opcode, path, flags=flags, **named)
            if reply.status != WRONG_NODE:
                break
            node, flags = reply.argument, flags | reply.partition
        return reply


def exports_of_many_nodes(exports, key):
    """an export is the same on all nodes, and each change of a name is told once"""
    table = ",".join(f"127.0.0.{i}:{MEMORY_PORT}/0/{PORT}" for i in (1, 2, 3))
    nodes = [Node(os.path.join(DIRECTORY, f"many{i}"), "--nodes", table, "--node", str(i), "--key-file", key,
                  "--file-exports", exports, address=f"127.0.0.{i + 1}") for i in range(3)]
    try:
        alice, all_, anybody = (Together(nodes, who) for who in (ALICE, CLUSTER, None))
        soon(lambda: not all_.ask("MKDIR", "home/alice/d", argument=0o755).error, "the nodes have found each other")
        watches = [fine(link.ask("WATCH", "", argument=0x3c0)).ident for link in alice.links]
        for i in range(12):
            fine(alice.ask("PUT", f"f{i}", argument=opening(CREATE, 0o644), body=b"%d" % i))
        for i in range(12):
            same(fine(all_.ask("FETCH", f"home/alice/f{i}")).body[80:], b"%d" % i)
            fails(anybody.ask("FETCH", f"f{i}"), errno.ENOENT)
            fails(anybody.ask("FETCH", f"home/alice/f{i}"), errno.ENOENT)
        lists = [link.list("") for link in alice.links]
        same(sorted(name for names in lists for name in names), sorted([b"d"] + [b"f%d" % i for i in range(12)]))
        fails(alice.ask("RENAME", "f0", body=b"../../f0"), errno.EINVAL)
        for i in range(12):
            fine(alice.ask("RENAME", f"f{i}", body=b"d/g%d" % i))
            fine(alice.ask("UNLINK", f"d/g{i}"))
        seen = []

        def all_told():
            for link, watch in zip(alice.links, watches):
                fine(link.ask("PING"))
                seen.extend((EVENT.unpack(event.body[:16])[0], event.body[16:]) for event in link.events
                            if event.ident == watch)
                link.events = []
            return len(seen) >= 24

        soon(all_told, "events")
        same(sorted(seen), sorted((mask, b"f%d" % i) for i in range(12) for mask in (0x100, 0x40)), "events")
    finally:
        ends = [node.stop() for node in nodes]
    same(ends, [0, 0, 0], "".join(node.log()[-1000:] for node in nodes))


def exports_are_checked():
    """a list of exports that is not right stops the node with a sentence"""
    wrong = {
        "key = 12\n": "before the first",
        "[a]\nkey = 12\n": "'key' in [a] is not valid",
        "[a]\ndirectory = ../x\n": "'directory' in [a] is not valid",
        "[a]\ndirectory = .virgo/x\n": "'directory' in [a] is not valid",
        "[a]\nquota-bytes = much\n": "'quota-bytes' in [a] is not valid",
        "[a]\nread-only = maybe\n": "'read-only' in [a] is not valid",
        "[a]\ncolour = red\n": "unknown key 'colour'",
        "[a]\ndirectory = x\n[b]\ndirectory = y\n": "have the same key",
        f"[a]\nkey = {'1' * 32}\n[b]\nkey = {'1' * 32}\n": "have the same key",
        f"[a]\ndirectory = x\nquota-files = 1\n[b]\nkey = {'1' * 32}\ndirectory = x\nquota-files = 2\n": "different quotas",
        "".join(f"[e{i}]\nkey = {i:032x}\n" for i in range(64)): "more than 63",
    }
    path = os.path.join(DIRECTORY, "wrong")
    for text, sentence in wrong.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)
        result = subprocess.run([os.path.join(os.environ.get("B", "build"), "virgod"), "--listen", "127.0.0.1", "--bpf",
                                 "off", "--arena-size", "16m", "--heap-size", "64m", "--workers", "1", "--cpu-port", "0",
                                 "--file-root", DIRECTORY, "--file-exports", path], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        if not result.returncode or sentence not in result.stdout:
            raise AssertionError(f"{text!r}: {result.returncode} {result.stdout!r}")


# ---- quotas ----------------------------------------------------------------------------------------------------------

def usage(root):
    """What quotas count, counted from outside: bytes, files."""
    bytes_ = files = 0
    seen, folders = set(), [root]
    while folders:
        for entry in os.scandir(folders.pop()):
            status = entry.stat(follow_symlinks=False)
            if status.st_ino in seen:
                continue
            seen.add(status.st_ino)
            files += 1
            if stat.S_ISDIR(status.st_mode):
                folders.append(entry.path)
            elif stat.S_ISREG(status.st_mode):
                bytes_ += status.st_size
    return bytes_, files


QUOTA_BYTES, QUOTA_FILES = 400000, 40


def random_request(generator, link, files):
    name = f"{generator.choice('abcdef')}{generator.randrange(8)}"
    other = f"{generator.choice('abcdef')}{generator.randrange(8)}"
    size = generator.choice((0, 1, 100, 5000, 40000, 120000))
    fd = generator.choice(files) if files else 0
    return generator.choice((
        lambda: ("PUT", name, dict(argument=opening(CREATE | generator.choice((0, TRUNCATE, EXCLUSIVE)), 0o644),
                                   body=bytes(size))),
        lambda: ("OPEN", name, dict(argument=opening(RDWR | generator.choice((0, CREATE, TRUNCATE, CREATE | TRUNCATE)),
                                                        0o644))),
        lambda: ("OPEN", name, dict(argument=opening(RDWR | CREATE, 0o644))),
        lambda: ("WRITE", b"", dict(ident=fd, argument=generator.randrange(200000), body=bytes(size))),
        lambda: ("WRITE", b"", dict(ident=fd, body=bytes(size), flags=APPEND)),
        lambda: ("WRITE", b"", dict(ident=fd, body=bytes(size), flags=APPEND | DURABLE)),
        lambda: ("CHANGE", b"", dict(ident=fd, body=CHANGE.pack(SIZE, 0, 0, 0, size, 0, 0))),
        lambda: ("CHANGE", name, dict(body=CHANGE.pack(SIZE, 0, 0, 0, size, 0, 0))),
        lambda: ("COPY", b"", dict(ident=fd, body=COPY.pack(generator.choice(files or [0]), 0, generator.randrange(100000),
                                                            size))),
        lambda: ("ALLOCATE", b"", dict(ident=fd, body=generator.randrange(100000).to_bytes(8, "big") +
                                       (size + 1).to_bytes(8, "big"), flags=generator.choice((0, KEEP_SIZE, 0x300)))),
        lambda: ("UNLINK", name, {}),
        lambda: ("UNLINK", name, {}),
        lambda: ("RENAME", name, dict(body=other.encode(), flags=generator.choice((0, 0, 0x100, EXCHANGE)))),
        lambda: ("LINK", name, dict(body=other.encode())),
        lambda: ("SYMLINK", name, dict(body=other.encode())),
        lambda: ("MKDIR", name, dict(argument=0o755)),
        lambda: ("RMDIR", name, {}),
        lambda: ("CLOSE", b"", dict(ident=fd)),
    ))()


def quotas_add_up(node):
    """random changes under a quota, many at once: what is counted is what is there"""
    generator = random.Random(11)
    link = node.link()
    files, refused = [], 0
    for round_ in range(400 if LONG else 60):
        asked = {}
        for _ in range(generator.randrange(1, 40)):
            opcode, path, named = random_request(generator, link, files)
            if opcode == "CLOSE" and named["ident"] in files:
                files.remove(named["ident"])
            asked[link.send(opcode, path, **named)] = opcode
        for _ in range(len(asked)):
            reply = link.receive()
            if asked[reply.sequence] == "OPEN" and not reply.error:
                files.append(reply.ident)
            refused += reply.error == errno.EDQUOT
            if reply.error < 0 or reply.error in (errno.EIO, errno.ENOMEM):
                raise AssertionError(f"{asked[reply.sequence]}: {reply!r}")
        if round_ % 10 == 9:
            for fd in files:
                fine(link.ask("CLOSE", ident=fd))
            files = []
            bytes_, count = usage(node.root)
            # Who writes while another empties the same file may get past it by that much; then it is known.
            if bytes_ > QUOTA_BYTES + 3 * 120000 or count > QUOTA_FILES:
                raise AssertionError(f"more than allowed: {bytes_} bytes, {count} files")
            same(link.statfs(), (QUOTA_BYTES, max(0, QUOTA_BYTES - bytes_), QUOTA_FILES, QUOTA_FILES - count),
                 f"round {round_}")
    if not refused:
        raise AssertionError("the quota was never met")
    shown = link.statfs()
    fine(link.ask("END"))
    node.restart()
    same(node.link().statfs(), shown, "counted anew")


def quotas_of_nameless(node):
    """a file without a name counts until it is closed; nobody writes past the quota by that"""
    link = node.link()
    fd = fine(link.ask("OPEN", "gone", argument=opening(RDWR | CREATE, 0o600))).ident
    fine(link.ask("WRITE", ident=fd, body=bytes(300000)))
    fine(link.ask("UNLINK", "gone"))
    same(link.statfs()[1], QUOTA_BYTES - 300000)
    fails(link.ask("WRITE", ident=fd, argument=300000, body=bytes(100001)), errno.EDQUOT)
    fine(link.ask("WRITE", ident=fd, argument=300000, body=bytes(100000)))
    fails(create(link, "other", b"x"), errno.EDQUOT)
    same(link.list(""), {}, "what was refused has left nothing")
    link.close()
    other = node.link()
    same(other.statfs()[1], 0)
    link.open()
    fine(link.session())
    fine(link.ask("END"))
    same(other.statfs()[1], QUOTA_BYTES)


def quotas_refuse_before(node):
    """what is refused for a quota has changed nothing"""
    link = node.link()
    fd = fine(link.ask("OPEN", "f", argument=opening(RDWR | CREATE, 0o600))).ident
    fine(link.ask("WRITE", ident=fd, body=b"x" * 1000))
    for opcode, path, asked in (("WRITE", b"", dict(ident=fd, argument=QUOTA_BYTES, body=b"y")),
                                ("WRITE", b"", dict(ident=fd, body=bytes(QUOTA_BYTES), flags=APPEND)),
                                ("CHANGE", b"", dict(ident=fd, body=CHANGE.pack(SIZE, 0, 0, 0, QUOTA_BYTES + 1, 0, 0))),
                                ("CHANGE", b"f", dict(body=CHANGE.pack(SIZE, 0, 0, 0, QUOTA_BYTES + 1, 0, 0))),
                                ("ALLOCATE", b"", dict(ident=fd, body=bytes(8) + (QUOTA_BYTES + 1).to_bytes(8, "big"))),
                                ("COPY", b"", dict(ident=fd, body=COPY.pack(fd, 0, QUOTA_BYTES - 100, 1000))),
                                ("PUT", b"f", dict(argument=opening(TRUNCATE, 0), body=bytes(QUOTA_BYTES + 1)))):
        fails(link.ask(opcode, path, **asked), errno.EDQUOT, opcode)
        same(fine(link.ask("FETCH", "f")).body[80:], b"x" * 1000, opcode)
    fails(link.ask("ALLOCATE", ident=fd, body=bytes(8) + (5000).to_bytes(8, "big"), flags=KEEP_SIZE), errno.EOPNOTSUPP)
    # Less is always possible, and so is what does not grow.
    fine(resize(link, QUOTA_BYTES, ident=fd))
    fine(link.ask("WRITE", ident=fd, argument=QUOTA_BYTES - 10, body=b"z" * 10))
    fine(resize(link, 0, path="f"))
    same(link.statfs()[1], QUOTA_BYTES)
    fine(link.ask("END"))


# ---- the disk --------------------------------------------------------------------------------------------------------

def disk_full(node):
    """a full disk is ENOSPC, for every way to write, and is over when there is room again"""
    link = node.link()
    fd = fine(link.ask("OPEN", "filling", argument=opening(RDWR | CREATE, 0o600))).ident
    at, error = 0, 0
    while not error and at < 64 << 20:
        reply = link.ask("WRITE", ident=fd, argument=at, body=os.urandom(65536))
        error = reply.error
        at += 0 if error else reply.argument
    same(error, errno.ENOSPC)
    same(link.ask("STAT", ident=fd).stat.size, at, "all that was acknowledged is there")
    fails(link.ask("WRITE", ident=fd, body=bytes(65536), flags=APPEND), errno.ENOSPC)
    fails(link.ask("WRITE", ident=fd, argument=at + (1 << 20), body=bytes(65536), flags=DURABLE), errno.ENOSPC)
    fails(create(link, "put", os.urandom(200000)), errno.ENOSPC)
    fails(link.ask("ALLOCATE", ident=fd, body=bytes(8) + (1 << 30).to_bytes(8, "big")), errno.ENOSPC)
    fine(link.ask("READ", ident=fd, body=(65536).to_bytes(4, "big") + bytes(4)))
    fine(link.ask("UNLINK", "filling"))
    fine(link.ask("CLOSE", ident=fd))
    fine(link.ask("UNLINK", "put"))
    fine(create(link, "put", os.urandom(200000)))
    same(len(fine(link.ask("FETCH", "put")).body), 200080)
    fine(link.ask("UNLINK", "put"))
    fine(link.ask("END"))


def no_inodes(node):
    """a disk without room for more files is ENOSPC"""
    link = node.link()
    made, error = 0, 0
    while not error and made < 20000:
        for _ in range(100):
            link.send("MKDIR", f"d{made}", argument=0o755)
            made += 1
        error = max(link.receive().error for _ in range(100))
    same(error, errno.ENOSPC)
    fails(create(link, "put", b"x"), errno.ENOSPC)
    for i in range(made):
        link.send("RMDIR", f"d{i}")
        if i % 100 == 99:
            for _ in range(100):
                link.receive()
    fine(create(link, "put", b"x"))
    fine(link.ask("END"))


def disk_fails(node):
    """a device that fails is told to who waits for stable storage, and is no end of the node"""
    link = node.link()
    fd = fine(link.ask("OPEN", "f", argument=opening(RDWR | CREATE, 0o600))).ident
    fine(link.ask("WRITE", ident=fd, body=os.urandom(65536), flags=DURABLE))
    errors = set()
    for i in range(1, 120):  # what the file system takes, its device has no room for
        errors.add(link.ask("WRITE", ident=fd, argument=i << 16, body=os.urandom(65536), flags=DURABLE).error)
    errors.add(link.ask("SYNC", ident=fd).error)
    if not errors & {errno.EIO, errno.ENOSPC, errno.EROFS}:
        raise AssertionError(f"{errors}")
    same(errors - {0, errno.EIO, errno.ENOSPC, errno.EROFS}, set())
    fine(link.ask("PING"))
    fine(link.ask("READ", ident=fd, body=(65536).to_bytes(4, "big") + bytes(4)))
    fine(link.ask("CLOSE", ident=fd))
    fine(link.ask("END"))


def write_file(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o600)
    return path


def with_node(name, flags, checks, root=None):
    directory = os.path.join(DIRECTORY, "node-" + name)
    os.makedirs(directory)
    if root:
        os.symlink(root, os.path.join(directory, "root"))
    node = Node(directory, *flags)
    for function in checks:
        if function.__name__.startswith("quotas"):
            node.empty()
            node.restart()  # behind its back: it has to count anew
        check(function, node)
    tests.result(node.stop() == 0, f"the node of {name} ends well", node.log()[-3000:])


def main():
    exports = write_file(os.path.join(DIRECTORY, "exports"), EXPORTS)
    key = write_file(os.path.join(DIRECTORY, "key"), hexadecimal(CLUSTER) + "\n")
    check(exports_are_checked)
    check(exports_of_many_nodes, exports, key)
    with_node("exports", ["--file-exports", exports, "--key-file", key],
              (exports_confine, exports_keep_apart, exports_read_only, exports_have_quotas))
    with_node("quotas", ["--file-quota-bytes", str(QUOTA_BYTES), "--file-quota-files", str(QUOTA_FILES)],
              (quotas_add_up, quotas_of_nameless, quotas_refuse_before))
    with_node("full", [], (disk_full, no_inodes), FULL)
    with_node("failing", [], (disk_fails,), FAILING)
    tests.end()


main()
