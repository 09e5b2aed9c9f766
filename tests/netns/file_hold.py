# SPDX-License-Identifier: GPL-3.0-or-later
"""What a session holds and what is remembered for it, over cut links, dead clients and dead nodes; exports and quotas:
file_hold.py DIRECTORY, inside a network namespace of its own. Prints TAP."""
import errno
import os
import random
import signal
import struct
import sys
import time

from file_node import PORT, Node, Tests, fails, fine, same, soon
from file_wire import (APPEND, CHANGE, COPY, CREATE, DURABLE, EVENT, EXCLUSIVE, EXCLUSIVE_LOCK, LOCK, MODE, RDWR,
                       READ, RETRY, SESSION, SHARED, SIZE, TEST, TRUNCATE, UNLOCK, WAIT, WHOLE, Link, opening)

DIRECTORY = sys.argv[1]
tests = Tests()


def open_file(link, path="f", flags=RDWR | CREATE, mode=0o644):
    return fine(link.ask("OPEN", path, argument=opening(flags, mode)), path).ident


def silent(link, seconds=0.2):
    """Nothing comes."""
    link.socket.settimeout(seconds)
    try:
        reply = link.receive()
    except TimeoutError:
        return
    finally:
        link.socket.settimeout(link.timeout)
    raise AssertionError(f"not expected: {reply!r}")


# ---- locks -----------------------------------------------------------------------------------------------------------

def locks_exclude(node):
    """locks of two sessions exclude each other, and say who holds them"""
    a, b = node.link(), node.link()
    fa, fb = open_file(a), open_file(b)
    fine(a.lock(fa, 1, 0, 10, EXCLUSIVE_LOCK))
    fails(b.lock(fb, 1, 9, 1, SHARED), errno.EAGAIN)
    fine(b.lock(fb, 1, 10, 0, EXCLUSIVE_LOCK))
    held = fine(b.lock(fb, 1, 0, 0, SHARED, TEST))
    same((held.ident, LOCK.unpack(held.body)), (1, (1, 0, 10, EXCLUSIVE_LOCK, 0, 0, os.getpid())))
    same(fine(a.lock(fa, 1, 0, 10, SHARED, TEST)).ident, 0)
    fine(b.lock(fb, 1, 0, 0, EXCLUSIVE_LOCK, WHOLE))
    fails(a.lock(fa, 1, 0, 0, SHARED, WHOLE), errno.EAGAIN)
    reader = open_file(a, flags=READ)
    fails(a.lock(reader, 5, 100, 1, EXCLUSIVE_LOCK), errno.EBADF)
    fails(a.lock(fa, 1, 1 << 63, 1, SHARED), errno.EINVAL)
    fails(a.ask("LOCK", ident=fa, body=LOCK.pack(1, 0, 1, 9, 0, 0, 0)), errno.EINVAL)
    fine(a.ask("END"))
    fine(b.ask("END"))


def locks_wait(node):
    """who waits gets the lock with UNLOCK, CLOSE, END and the end of a lease"""
    b = node.link()
    fb = open_file(b)
    for ending in ("UNLOCK", "CLOSE", "END", "lease"):
        a = node.link(lease_ms=200)
        fa = open_file(a)
        fine(a.lock(fa, 1, 0, 10, EXCLUSIVE_LOCK))
        waiting = b.send_lock(fb, 1, 0, 10, EXCLUSIVE_LOCK, WAIT)
        fine(b.ask("STAT", "f"))  # it can do other things meanwhile
        silent(b)
        if ending == "UNLOCK":
            fine(a.lock(fa, 1, 0, 0, UNLOCK))
        elif ending == "lease":
            a.close()
        else:
            fine(a.ask(ending, ident=fa if ending == "CLOSE" else 0))
        fine(b.receive_for(waiting), ending)
        fine(b.lock(fb, 1, 0, 0, UNLOCK))
    fine(b.ask("END"))


def locks_end_early(node):
    """deadlocks are refused; waits are interrupted by UNLOCK, by CLOSE, and by UNLOCK that only interrupts"""
    a, b = node.link(), node.link()
    fa, fb = open_file(a), open_file(b)
    fine(a.lock(fa, 1, 0, 1, EXCLUSIVE_LOCK))
    fine(b.lock(fb, 1, 1, 1, EXCLUSIVE_LOCK))
    waiting = a.send_lock(fa, 1, 1, 1, EXCLUSIVE_LOCK, WAIT)
    fine(a.ask("PING"))
    fails(b.lock(fb, 1, 0, 1, EXCLUSIVE_LOCK, WAIT), errno.EDEADLK)
    interrupt = a.send_lock(fa, 1, 0, 0, UNLOCK, WAIT)
    fails(a.receive_for(waiting), errno.EINTR)
    fine(a.receive_for(interrupt))
    fails(b.lock(fb, 2, 0, 1, SHARED), errno.EAGAIN, "what was held still is")
    waiting = a.send_lock(fa, 1, 1, 1, EXCLUSIVE_LOCK, WAIT)
    unlock = a.send_lock(fa, 1, 0, 0, UNLOCK)
    fails(a.receive_for(waiting), errno.EINTR)
    fine(a.receive_for(unlock))
    waiting = a.send_lock(fa, 1, 1, 1, EXCLUSIVE_LOCK, WAIT)
    close = a.send("CLOSE", ident=fa)
    fails(a.receive_for(waiting), errno.EINTR)
    fine(a.receive_for(close))
    fine(a.ask("END"))
    fine(b.ask("END"))


def locks_are_bounded(node):
    """a connection may wait for 128 locks at once, and is served all the same"""
    a, b = node.link(), node.link()
    fa, fb = open_file(a), open_file(b)
    fine(a.lock(fa, 1, 0, 0, EXCLUSIVE_LOCK))
    waiting = [b.send_lock(fb, owner, 0, 1, SHARED, WAIT) for owner in range(300)]
    refused = [b.receive() for _ in range(300 - 128)]
    same({reply.error for reply in refused}, {errno.ENOLCK})
    fine(b.ask("STAT", "f"))
    fine(a.lock(fa, 1, 0, 0, UNLOCK))
    granted = {b.receive().sequence for _ in range(128)}
    same(granted | {reply.sequence for reply in refused}, set(waiting))
    fine(a.ask("END"))
    fine(b.ask("END"))


def waiting_survives_the_link(node):
    """a lock that waits is granted to the connection its client has come back with"""
    a, b = node.link(), node.link()
    fa, fb = open_file(a), open_file(b)
    fine(a.lock(fa, 1, 0, 0, EXCLUSIVE_LOCK))
    waiting = b.send_lock(fb, 1, 0, 0, EXCLUSIVE_LOCK, WAIT)
    fine(b.ask("PING"))
    fine(b.reconnect())
    b.send("LOCK", ident=fb, body=LOCK.pack(1, 0, 0, EXCLUSIVE_LOCK, WAIT, 0, os.getpid()), flags=RETRY,
           sequence=waiting)
    fine(b.ask("PING"))
    fine(a.lock(fa, 1, 0, 0, UNLOCK))
    fine(b.receive_for(waiting))
    fails(a.lock(fa, 1, 0, 1, SHARED), errno.EAGAIN)
    # Granted while nobody was there: the answer was kept.
    waiting = a.send_lock(fa, 1, 0, 0, SHARED, WAIT)
    fine(a.ask("PING"))
    a.close()
    fine(b.lock(fb, 1, 0, 0, UNLOCK))
    a.open()
    fine(a.session())
    fine(a.ask("LOCK", ident=fa, body=LOCK.pack(1, 0, 0, SHARED, WAIT, 0, os.getpid()), flags=RETRY, sequence=waiting))
    fails(b.lock(fb, 1, 0, 0, EXCLUSIVE_LOCK), errno.EAGAIN)
    fine(a.ask("END"))
    fine(b.ask("END"))


def dead_client(node):
    """what a client held that was killed is released when its lease is over"""
    b = node.link()
    fb = open_file(b)
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        a = node.link(lease_ms=300)
        fa = open_file(a)
        a.lock(fa, 1, 0, 0, EXCLUSIVE_LOCK)
        for i in range(50):
            open_file(a, f"held{i}")
        a.ask("UNLINK", "held0")
        os.write(tell, b"x")
        signal.pause()
    os.read(ready, 1)
    opened = int(node.figure("open_files"))
    fails(b.lock(fb, 1, 0, 1, SHARED), errno.EAGAIN)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    fine(b.lock(fb, 1, 0, 1, SHARED, WAIT))
    soon(lambda: int(node.figure("open_files")) == opened - 51, "its files are closed")
    fine(b.ask("END"))


# ---- changes are made once -------------------------------------------------------------------------------------------

def change_of(size=None, mode=None):
    return CHANGE.pack((SIZE if size is not None else 0) | (MODE if mode is not None else 0), mode or 0, 0, 0, size or 0,
                       0, 0)


def operations(fd):
    """name, what is asked, whether its answer is OK the second time only from memory"""
    lock = LOCK.pack(9, 0, 0, EXCLUSIVE_LOCK, 0, 0, 1)
    return [
        ("OPEN", dict(key="made", argument=opening(RDWR | CREATE | EXCLUSIVE, 0o600))),
        ("WRITE", dict(ident=fd, body=b"0123456789", flags=APPEND)),
        ("WRITE", dict(ident=fd, body=os.urandom(100000), flags=APPEND | DURABLE)),
        ("PUT", dict(key="put", argument=opening(CREATE | EXCLUSIVE, 0o600), body=b"whole")),
        ("PUT", dict(key="put2", argument=opening(CREATE | EXCLUSIVE, 0o600), body=os.urandom(300000))),
        ("MKDIR", dict(key="dir", argument=0o755)),
        ("RENAME", dict(key="put", body=b"dir/moved")),
        ("LINK", dict(key="put2", body=b"dir/linked")),
        ("SYMLINK", dict(key="sym", body=b"dir/linked")),
        ("UNLINK", dict(key="dir/moved")),
        ("UNLINK", dict(key="dir/linked")),
        ("RMDIR", dict(key="dir")),
        ("CHANGE", dict(key="put2", body=change_of(mode=0o640))),
        ("CHANGE", dict(ident=fd, body=change_of(size=77))),
        ("XATTR_SET", dict(key="put2", body=struct.pack(">II", 6, 1) + b"user.avalue")),
        ("XATTR_REMOVE", dict(key="put2", body=b"user.a")),
        ("COPY", dict(ident=fd, body=COPY.pack(fd, 0, 100, 50))),
        ("ALLOCATE", dict(ident=fd, body=struct.pack(">QQ", 0, 5000))),
        ("LOCK", dict(ident=fd, body=lock)),
        ("SYNC", dict(ident=fd)),
        ("WATCH", dict(key="", argument=0x100)),
        ("CLOSE", dict(ident=fd)),
    ]


def cut_after(node):
    """the answer lost: each change asked again is answered as it would have been, and made once"""
    a = node.link()
    other = node.link()
    fd = open_file(a, "log", RDWR | CREATE)
    for name, asked in operations(fd):
        sequence = a.send(name, **asked)
        a.receive_for(sequence)  # and forgotten: as if it had been lost
        size = other.ask("STAT", "log").stat.size
        fine(a.reconnect())
        again = dict(asked, flags=asked.get("flags", 0) | RETRY, sequence=sequence)
        first = fine(a.ask(name, **again), f"{name} again")
        second = fine(a.ask(name, **again), f"{name} a third time")
        same((first.ident, first.argument, first.body), (second.ident, second.argument, second.body), name)
        same(other.ask("STAT", "log").stat.size, size, f"{name}: length")
        if name == "OPEN":
            same((first.stat.size, first.stat.mode), (0, 0o100600), "the answer's body is kept")
            fine(a.ask("CLOSE", ident=first.ident))
    same(int(node.figure("open_files")), 0, "descriptors are not left behind")
    sequence = a.send("MKDIR", "dir", argument=0o755)
    fine(a.receive_for(sequence))
    fails(a.ask("RMDIR", "dir", flags=RETRY, sequence=sequence), errno.EINVAL, "a number that was another operation's")
    fine(a.ask("END"))
    fine(other.ask("END"))


def cut_before(node):
    """the link cut in the middle of each change, at any byte: asked again, it is made once"""
    generator = random.Random(5)
    a = node.link()
    fd = open_file(a, "log", RDWR | CREATE | TRUNCATE)
    length = 0
    for name, asked in operations(fd):
        frame = a.frame(name, **asked)
        sequence = a.sequence
        for _ in range(3):
            a.socket.sendall(frame[:generator.randrange(1, len(frame))])
            fine(a.reconnect())
            frame = a.frame(name, **dict(asked, flags=asked.get("flags", 0) | RETRY, sequence=sequence))
        fine(a.ask(name, **dict(asked, flags=asked.get("flags", 0) | RETRY, sequence=sequence)), name)
        if name == "WRITE":
            length += len(asked["body"])
            same(a.ask("STAT", ident=fd).stat.size, length, "appended once")
    fine(a.ask("END"))


def cut_somewhere(node):
    """random cuts under a pipeline of appends: each is in the file once, in order"""
    generator = random.Random(6)
    a = node.link()
    fd = open_file(a, "records", RDWR | CREATE)
    unanswered, made, written = {}, 0, []
    while made < 2000 or unanswered:
        frames = b""
        for _ in range(generator.randrange(1, 20)):
            if made < 2000 and len(unanswered) < 100:
                body = b"%07d\n" % made
                frames += a.frame("WRITE", ident=fd, body=body, flags=APPEND)
                unanswered[a.sequence] = body
                made += 1
        cut = generator.randrange(4) == 0
        a.socket.sendall(frames[:generator.randrange(len(frames) + 1)] if cut else frames)
        for _ in range(0 if cut and generator.randrange(2) else len(unanswered)):
            if cut:  # some answers arrive before it
                a.socket.settimeout(0.01)
            try:
                reply = fine(a.receive())
            except TimeoutError:
                break
            written.append((reply.ident, unanswered.pop(reply.sequence)))
        if cut:
            fine(a.reconnect())
            for sequence in sorted(unanswered):
                a.send("WRITE", ident=fd, body=unanswered[sequence], flags=APPEND | RETRY, sequence=sequence)
    with open(node.path("records"), "rb") as file:
        content = file.read()
    same(content, b"".join(b"%07d\n" % i for i in range(2000)), "records")
    for at, body in written:
        same(content[at:at + 8], body, "where it was written")
    fine(a.ask("END"))


def old_connection_is_cut(node):
    """what is half sent on a connection is not carried out behind its retry on the next"""
    a = node.link()
    fd = open_file(a, "twice", RDWR | CREATE)
    body = os.urandom(200000)
    frame = a.frame("WRITE", ident=fd, body=body, flags=APPEND)
    a.socket.sendall(frame[:150000])
    old = a.socket
    a.open()
    fine(a.session())
    fine(a.ask("WRITE", ident=fd, body=body, flags=APPEND | RETRY, sequence=a.sequence - 1))
    try:
        old.sendall(frame[150000:])
        while old.recv(4096):
            pass
    except OSError:
        pass
    old.close()
    fine(a.ask("SYNC", ident=fd))
    same(a.ask("STAT", ident=fd).stat.size, len(body))
    fine(a.ask("END"))


def long_ago(node):
    """what was asked too long ago is not known to be done: EREMOTEIO"""
    a = node.link()
    fd = open_file(a)
    first = a.send("WRITE", ident=fd, body=b"x", flags=APPEND)
    fine(a.receive_for(first))
    for _ in range(300):
        fine(a.ask("WRITE", ident=fd, body=b"y"))
    fails(a.ask("WRITE", ident=fd, body=b"x", flags=APPEND | RETRY, sequence=first), errno.EREMOTEIO)
    fine(a.ask("END"))


def sessions_end(node):
    """leases: who comes back in time has everything, who does not has nothing; secrets are needed"""
    a = node.link(lease_ms=60000)
    fd = open_file(a)
    a.close()
    time.sleep(0.3)
    a.open()
    fine(a.session())
    fine(a.ask("STAT", ident=fd))
    thief = Link(PORT)
    fails(thief.ask("SESSION", ident=a.ident, body=SESSION.pack(bytes(16), 0, 0, 0, 0, 0, 0)), errno.ESTALE)
    fails(thief.ask("STAT", ident=fd), errno.ESTALE)
    thief.close()
    b = node.link(lease_ms=100)
    fb = open_file(b)
    ended = int(node.figure("sessions_ended"))
    b.close()
    soon(lambda: int(node.figure("sessions_ended")) > ended, "the lease is over")
    b.open()
    fails(b.session(), errno.ESTALE)
    b.ident, b.secret = 0, bytes(16)
    fine(b.session())
    fails(b.ask("STAT", ident=fb), errno.EBADF)
    fine(a.ask("END"))
    fine(b.ask("END"))


def kill_node(node):
    """a node killed in the middle of durable appends: what was acknowledged is there, nothing twice"""
    a = node.link()
    fd = open_file(a, "ledger", RDWR | CREATE)
    acknowledged = made = 0
    for round_ in range(3):
        for _ in range(200):
            a.send("WRITE", ident=fd, body=b"%07d\n" % made, flags=APPEND | DURABLE)
            made += 1
        for _ in range(20 + round_ * 60):
            fine(a.receive())
            acknowledged += 1
        node.kill()
        node.start()
        a.close()
        a.open()
        fails(a.session(), errno.ESTALE, "a node that was started anew has no sessions")
        with open(node.path("ledger"), "rb") as file:
            lines = file.read().split(b"\n")[:-1]
        numbers = [int(line) for line in lines]
        same(numbers, list(range(len(numbers))), "in order and once")
        if len(numbers) < acknowledged:
            raise AssertionError(f"{acknowledged} acknowledged, {len(numbers)} there")
        made = acknowledged = len(numbers)
        a.ident, a.secret = 0, bytes(16)
        fine(a.session())
        fails(a.ask("STAT", ident=fd), errno.EBADF if fd >> 52 == 0 else errno.ESTALE)
        fd = open_file(a, "ledger", RDWR)
    fine(a.ask("END"))


# ---- watches ---------------------------------------------------------------------------------------------------------

def events_of(link, count):
    while len(link.events) < count:
        link.ask("PING")
    events = [(reply.ident, EVENT.unpack(reply.body[:16])[0], reply.body[16:]) for reply in link.events[:count]]
    link.events = link.events[count:]
    return events


def watches(node):
    """watches tell what happens, to who asked, as long as they asked for it"""
    a, b = node.link(), node.link()
    fine(a.ask("MKDIR", "w", argument=0o755))
    wa = fine(a.ask("WATCH", "w", argument=0x3c6)).ident
    wb = fine(b.ask("WATCH", "w", argument=0x200)).ident
    fine(b.ask("PUT", "w/x", argument=opening(CREATE, 0o644), body=b"1"))
    fine(b.ask("RENAME", "w/x", b"w/y"))
    fine(b.ask("UNLINK", "w/y"))
    same(events_of(a, 5), [(wa, 0x100, b"x"), (wa, 2, b"x"), (wa, 0x40, b"x"), (wa, 0x80, b"y"), (wa, 0x200, b"y")])
    same(events_of(b, 1), [(wb, 0x200, b"y")])
    fine(a.ask("UNWATCH", ident=wa))
    fails(a.ask("UNWATCH", ident=wa), errno.EINVAL)
    fails(a.ask("UNWATCH", ident=wb), errno.EINVAL, "another's")
    fine(b.ask("PUT", "w/z", argument=opening(CREATE, 0o644), body=b"1"))
    fine(b.ask("UNLINK", "w/z"))
    same(events_of(b, 1), [(wb, 0x200, b"z")])
    same(a.events, [])
    # Gone while nobody was there: something was lost, and that is told.
    b.close()
    fine(a.ask("PUT", "w/q", argument=opening(CREATE, 0o644), body=b"1"))
    fine(a.ask("UNLINK", "w/q"))
    time.sleep(0.1)
    b.open()
    fine(b.session())
    same(events_of(b, 1), [(wb, 0x4000, b"")])
    fine(a.ask("RMDIR", "w"))
    same([event[1] for event in events_of(b, 1)], [0x8000], "the end of the watch")
    fails(b.ask("UNWATCH", ident=wb), errno.EINVAL)
    fails(a.ask("WATCH", "nothing", argument=0x200), errno.ENOENT)
    fails(a.ask("WATCH", "", argument=0), errno.EINVAL)
    fails(a.ask("WATCH", "", argument=1 << 40), errno.EINVAL)
    fine(a.ask("END"))
    fine(b.ask("END"))
    same(node.figure("watches"), "0")


def watch_flood(node):
    """a client that does not read is told that it has lost events, and stalls nobody"""
    for name, text in (("tcp_wmem", "4096 16384 65536"), ("tcp_rmem", "4096 65536 131072")):
        with open("/proc/sys/net/ipv4/" + name, "w", encoding="ascii") as file:  # of this namespace
            file.write(text)
    a, b = node.link(), node.link()
    fine(a.ask("WATCH", "", argument=0x300))
    for _ in range(3000):
        for name, asked in (("PUT", dict(argument=opening(CREATE, 0o644))), ("UNLINK", {})):
            for letter in "ab":
                b.send(name, letter * 200, **asked)
            fine(b.receive())
            fine(b.receive())
    masks = []

    def is_told():
        a.ask("PING")
        masks.extend(event[1] for event in events_of(a, len(a.events)))
        return 0x4000 in masks

    soon(is_told, "that events were lost is told")
    same(len(masks) < 12000, True, "all of them fit")
    fine(b.ask("END"))
    fine(a.ask("END"))


def main():
    node = Node(DIRECTORY)
    only = sys.argv[2:]
    for check in (locks_exclude, locks_wait, locks_end_early, locks_are_bounded, waiting_survives_the_link, dead_client,
                  cut_after, cut_before, cut_somewhere, old_connection_is_cut, long_ago, sessions_end, kill_node,
                  watches, watch_flood):
        if only and check.__name__ not in only:
            continue
        node.empty()
        tests.run(check, node)
    tests.result(node.stop() == 0, "the node ends well", node.log()[-3000:])
    tests.end()


main()
