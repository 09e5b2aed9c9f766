# SPDX-License-Identifier: GPL-3.0-or-later
"""One tree over three nodes. See test_file_tree.sh."""
import errno
import os
import signal
import socket
import struct
import sys
import time

from file_node import LONG, PORT, Tests, same
from file_pool import Cluster, Pool, Refused, settle
from file_tree_kill import directories_under_kill, names_under_kill
from file_wire import CHANGE, CREATE, EXCLUSIVE, MODE, MODIFIED, NO_REPLACE, PIECE, RDWR, READ, STRIPED, WRITE

COUNT = 24  # names, so that each of three nodes has some, and each pair of them


def refused(number, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except Refused as error:
        same(errno.errorcode[error.errno], errno.errorcode[number], f"{function.__name__}{arguments}")
        return
    raise AssertionError(f"{function.__name__}{arguments}: went well, not {errno.errorcode[number]}")


def names_of(directory):
    return [f"{directory}/f{i}" for i in range(COUNT)]


def listed_once(pool, directory, names):
    found = pool.list(directory)
    same(sorted(found), sorted(names), directory)
    same({name: nodes for name, nodes in found.items() if len(nodes) > 1}, {}, "listed twice")


def names(cluster, pool):
    """a name is one thing, whichever node it and its file are on"""
    pool.mkdir("names")
    files = names_of("names")
    for name in files:
        pool.put(name, name.encode())
    for name in files:
        same(pool.get(name), name.encode())
        refused(errno.EEXIST, pool.create, name)
        refused(errno.ENOTDIR, pool.put, name + "/x", b"")
    listed_once(pool, "names", [f"f{i}" for i in range(COUNT)])
    refused(errno.ENOENT, pool.get, "names/none")
    refused(errno.ENOENT, pool.put, "none/f", b"")
    refused(errno.EEXIST, pool.mkdir, "names")
    refused(errno.ENOTEMPTY, pool.rmdir, "names")
    for name in files:
        pool.unlink(name)
        refused(errno.ENOENT, pool.stat, name)
        refused(errno.ENOENT, pool.unlink, name)
    pool.rmdir("names")
    refused(errno.ENOENT, pool.put, "names/f", b"")


def renames(cluster, pool):
    """a file keeps its home when its name moves to another node, and replaces what was there"""
    pool.mkdir("r")
    for name in names_of("r"):
        pool.put(name, name.encode())
    for i in range(COUNT):
        pool.rename(f"r/f{i}", f"r/g{i}")
        refused(errno.ENOENT, pool.stat, f"r/f{i}")
        pool.put(f"r/h{i}", b"other")
    for i in range(COUNT):
        refused(errno.EEXIST, pool.rename, f"r/g{i}", f"r/h{i}", NO_REPLACE)
        pool.rename(f"r/g{i}", f"r/h{i}")
    listed_once(pool, "r", [f"h{i}" for i in range(COUNT)])
    for i in range(COUNT):
        same(pool.get(f"r/h{i}"), f"r/f{i}".encode())
        refused(errno.EEXIST, pool.create, f"r/h{i}")
        refused(errno.EEXIST, pool.mkdir, f"r/h{i}")
        pool.rename(f"r/h{i}", f"r/f{i}")
        pool.put(f"r/f{i}", b"new")
        same(pool.get(f"r/f{i}"), b"new")
        pool.rename(f"r/f{i}", f"r/f{i}")
    listed_once(pool, "r", [f"f{i}" for i in range(COUNT)])
    for name in names_of("r"):
        pool.unlink(name)
    same(pool.list("r"), {})
    pool.rmdir("r")


def links(cluster, pool):
    """links and symbolic links, over nodes"""
    pool.mkdir("l")
    for i, name in enumerate(names_of("l")):
        pool.put(name, b"x")
        pool.link_to(name, f"l/g{i}")
        same(pool.stat(f"l/g{i}").links, 2)
        refused(errno.EEXIST, pool.link_to, name, f"l/g{i}")
        pool.rename(name, f"l/g{i}")  # two names of one file: both stay
        pool.unlink(name)
        same(pool.get(f"l/g{i}"), b"x")
        pool.symlink(f"l/s{i}", f"g{i}")
        pool.rename(f"l/s{i}", f"l/t{i}")
        same(pool.readlink(f"l/t{i}"), f"g{i}")
        refused(errno.ELOOP, pool.open, f"l/t{i}", READ)
        refused(errno.ELOOP, pool.put, f"l/t{i}/below", b"")
        refused(errno.ELOOP, pool.get, f"l/t{i}/below/more")
        refused(errno.EINVAL, pool.symlink, f"l/u{i}", "/.virgo-home/1")
        pool.unlink(f"l/t{i}")
        pool.unlink(f"l/g{i}")
    pool.rmdir("l")


def directories(cluster, pool):
    """directories are renamed and removed on all nodes"""
    for i in range(6):
        pool.mkdir(f"d{i}")
        pool.mkdir(f"d{i}/in")
        for name in names_of(f"d{i}/in")[:8]:
            pool.put(name, b"1")
        pool.ask("XATTR_SET", f"d{i}", body=struct.pack(">II", 6, 0) + b"user.a" + b"value%d" % i)
        pool.ask("CHANGE", f"d{i}", body=CHANGE.pack(MODE | MODIFIED, 0o750, 0, 0, 0, 0, 1234567890 * 10**9 + i))
    for i in range(6):
        pool.rename(f"d{i}", f"e{i}")
        same(pool.ask("XATTR_GET", f"e{i}", body=b"user.a").body, b"value%d" % i)
        stat = pool.stat(f"e{i}")
        same((stat.mode, stat.modified), (0o40750, 1234567890 * 10**9 + i), "what the directory was")
        refused(errno.ENOENT, pool.stat, f"d{i}")
        refused(errno.ENOENT, pool.put, f"d{i}/in/f", b"")
        for name in names_of(f"e{i}/in")[:8]:
            same(pool.get(name), b"1")
        pool.put(f"e{i}/in/new", b"n")
        listed_once(pool, f"e{i}/in", [f"f{j}" for j in range(8)] + ["new"])
    refused(errno.EINVAL, pool.rename, "e0", "e0/in/x")
    refused(errno.ENOTEMPTY, pool.rename, "e0", "e1")
    refused(errno.ENOTDIR, pool.rename, "e0", "e1/in/f0")
    refused(errno.EISDIR, pool.rename, "e0/in/f0", "e1")
    refused(errno.EISDIR, pool.unlink, "e0")
    refused(errno.ENOTDIR, pool.rmdir, "e0/in/f0")
    pool.mkdir("z")
    refused(errno.EEXIST, pool.rename, "e0", "z", NO_REPLACE)
    pool.rename("e0", "z")
    same(pool.get("z/in/new"), b"n")
    pool.rename("z", "e0")
    for i in range(6):
        for name in names_of(f"e{i}/in")[:8] + [f"e{i}/in/new"]:
            pool.unlink(name)
        pool.rmdir(f"e{i}/in")
        pool.rmdir(f"e{i}")
        pool.mkdir(f"e{i}")
        same(pool.list(f"e{i}"), {})
        pool.rmdir(f"e{i}")


def small_directories(cluster, pool):
    """a directory that most nodes have nothing of is found, whichever node is asked first"""
    body = struct.pack(">II", 65536, 0)
    pool.mkdir("s")
    for i in range(COUNT):
        pool.mkdir(f"s/d{i}")
        pool.put(f"s/d{i}/one{i}", b"1")
    for i in range(COUNT):
        for node in range(cluster.nodes):
            pool.ask("LIST", f"s/d{i}", node=node, body=body)
            refused(errno.ENOENT, pool.ask, "LIST", f"s/n{i}", node=node, body=body)
            refused(errno.ENOTDIR, pool.ask, "LIST", f"s/d{i}/one{i}", node=node, body=body)
        listed_once(pool, f"s/d{i}", [f"one{i}"])
    for i in range(COUNT):
        pool.unlink(f"s/d{i}/one{i}")
        pool.rmdir(f"s/d{i}")
    pool.rmdir("s")


def pinned(cluster, pool):
    """new files of a directory that is pinned to a node go there; their mode is what was asked for"""
    pool.mkdir("pinned")
    pool.ask("XATTR_SET", "pinned", body=struct.pack(">II", 15, 0) + b"user.virgo.home" + b"1")
    time.sleep(3.5)  # where they go is believed for so long
    for i, name in enumerate(names_of("pinned")):
        if i % 2:
            pool.put(name, b"x")
        else:
            same(pool.create(name, 0o440).stat.mode & 0o777, 0o440)
        stat = pool.stat(name)
        same((stat.node, stat.mode & 0o777), (1, 0o644 if i % 2 else 0o440), name)
    listed_once(pool, "pinned", [f"f{i}" for i in range(COUNT)])
    for name in names_of("pinned"):
        pool.unlink(name)
    pool.rmdir("pinned")


def striped(cluster, pool):
    """a striped file is one name, and its pieces go with it"""
    reply = pool.open("big", RDWR | CREATE | EXCLUSIVE, 0o640, body=struct.pack(">QIHH", 0, 65536, 3, 0))
    same(reply.partition & STRIPED, STRIPED)
    ident, unit, count = struct.unpack(">QIH", reply.body[80:94])
    nodes = struct.unpack(f">{count}H", reply.body[96:96 + 2 * count])
    same((unit, sorted(nodes)), (65536, [0, 1, 2]))
    for i, node in enumerate(nodes):
        piece = pool.open(f"{ident:x}.{i}", RDWR, flags=PIECE, node=node)
        pool.ask("WRITE", node=node, ident=piece.ident, body=b"piece", argument=0)
        pool.close(piece.ident)
    stat = pool.stat("big")
    same((stat.mode, stat.flags), (0o100640, STRIPED))
    refused(errno.EPERM, pool.link_to, "big", "big2")
    pool.mkdir("s")
    for i in range(6):
        pool.rename("big", f"s/big{i}")
        listed_once(pool, "s", [f"big{i}"])
        same(pool.list("s")[f"big{i}"][0][1] >> 12, 8, "what it is listed as")
        pool.rename(f"s/big{i}", "big")
    pool.put("over", b"o")
    pool.rename("over", "big")
    same(pool.get("big"), b"o")
    pool.unlink("big")
    pool.rmdir("s")
    for _ in range(100):
        if not cluster.left():
            break
        time.sleep(0.1)
    same(cluster.left(), [], "pieces")


def dead_node(cluster, pool):
    """a dead node's files are EHOSTDOWN soon, the others go on, and they are back with it"""
    pool.mkdir("k")
    names_here = names_of("k")
    home = {}
    for name in names_here:
        pool.put(name, b"k")
        home[name] = pool.stat(name).node
    cluster.process[2].send_signal(signal.SIGSTOP)  # silent, which is worse than gone
    os.waitid(os.P_PID, cluster.process[2].pid, os.WSTOPPED)  # one thread takes the signal, others go on until it has
    try:
        end = time.time() + 60
        for name in names_here:
            if home[name] != 2:
                same(pool_but(pool, 2, "FETCH", name)[80:], b"k")
        refused(errno.EHOSTDOWN, pool_but, pool, 2, "RMDIR", "k")
        refused(errno.EHOSTDOWN, pool_but, pool, 2, "RENAME", "k", body=b"kk")
        if time.time() > end:
            raise AssertionError("that took a minute")
    finally:
        cluster.process[2].send_signal(signal.SIGCONT)
    cluster.kill(2)
    for name in names_here:
        if home[name] == 2:
            refused(errno.EHOSTDOWN, pool.get, name)
        else:
            same(pool.get(name), b"k")
    cluster.start(2)
    for name in names_here:
        same(settle(pool.get, name), b"k")
        settle(pool.unlink, name)
    settle(pool.rmdir, "k")


def pool_but(pool, node, opcode, path, **named):
    """Beginning at nodes other than that one; who is sent there is told EHOSTDOWN, as libvirgo would."""
    for start in range(pool.cluster.nodes):
        if start == node:
            continue
        reply = pool.link(start).ask(opcode, path, **named)
        if reply.status == 8 and reply.argument != node:
            continue
        if reply.status == 8:
            raise Refused(errno.EHOSTDOWN)
        if reply.error:
            raise Refused(reply.error)
        return reply.body
    raise Refused(errno.EHOSTDOWN)


def say(cluster, node, *lines):
    """What a text client of that node hears, a connection for each line, as the original's."""
    heard = []
    for line in lines:
        with socket.create_connection((cluster.host[node], PORT), 30) as stream:
            stream.sendall(line.encode() + b"\r\n")
            stream.shutdown(socket.SHUT_WR)
            heard.append(b"".join(iter(lambda: stream.recv(65536), b"")).decode().strip())
    return heard


def text(cluster, pool):
    """who speaks text may open any file at any node"""
    for i in range(COUNT):
        number, = say(cluster, 0, f"virgo_cloud_open(t{i}.txt)")
        same(number.isdigit(), True, number)
        same(say(cluster, 0, f"virgo_cloud_write({number},hello{i:02},7,0)", f"virgo_cloud_read({number},x,5,2)",
                 f"virgo_cloud_close({number})", f"virgo_cloud_close({number})"),
             ["7", f"llo{i:02}", "OK", "virgo_error(EBADF,Bad file descriptor)"], f"t{i}.txt")
        same(pool.get(f"t{i}.txt"), f"hello{i:02}".encode())
        pool.unlink(f"t{i}.txt")


def quotas(cluster, pool):
    """what is written and removed over nodes is counted where it is"""
    def free():
        return [pool.link(node).statfs()[1] for node in range(3)]

    pool.mkdir("q")
    before = free()
    for i in range(COUNT):
        pool.put(f"q/f{i}", b"x" * 10000)
        pool.rename(f"q/f{i}", f"q/g{i}")
        pool.put(f"q/f{i}", b"y" * 5000)
    same(sum(before) - sum(free()), COUNT * 15000, "bytes")
    for i in range(COUNT):
        pool.rename(f"q/f{i}", f"q/g{i}")
    for i in range(COUNT):
        pool.unlink(f"q/g{i}")
    same(free(), before, "bytes that are free")
    pool.rmdir("q")


def strangers(cluster, pool):
    """what nodes ask of each other is not asked by others"""
    link = pool.link(0)
    same(link.ask("HOME", "x", argument=3).error, errno.EPERM)
    refused(errno.EPERM, pool.ask, "UNLINK", "1.0", flags=PIECE, node=0)
    refused(errno.EINVAL, pool.open, "..%2f.0", READ, flags=PIECE, node=0)
    refused(errno.EINVAL, pool.ask, "UNLINK", "x", flags=1, node=0)


def main():
    directory, only = sys.argv[1], sys.argv[2:]
    tests = Tests()
    checks = [names, renames, links, directories, small_directories, pinned, striped, text, dead_node, quotas, strangers]
    placements = ["hash", "leastused"]
    for placement in placements:
        flags = [] if placement == "hash" else ["--file-quota-bytes", "1g", "--file-quota-files", "10000"]
        cluster = Cluster(os.path.join(directory, placement), 3, "--file-placement", placement, *flags)
        if placement != "hash":
            time.sleep(1.5)  # the nodes ask each other once a second for what room there is
        try:
            for check in checks:
                if only and check.__name__ not in only:
                    continue
                if check in ([quotas] if placement == "hash" else [dead_node, pinned]):
                    continue
                begun = time.time()
                tests.run(check, cluster, Pool(cluster))
                print(f"# {placement}, {time.time() - begun:.1f} s")
            tests.result(not cluster.died() and not cluster.left(), f"nothing is left, nobody died ({placement})",
                         f"{cluster.died()} {cluster.left()}")
        finally:
            cluster.end()
    for check in (names_under_kill, directories_under_kill):
        if only and check.__name__ not in only:
            continue
        for run in range(4 if LONG else 1):
            cluster = Cluster(os.path.join(directory, f"{check.__name__}{run}"), 3, "--file-placement", placements[run % 2])
            try:
                tests.run(check, cluster, 15 if LONG else 3)
            finally:
                cluster.end()
    tests.end()


main()
