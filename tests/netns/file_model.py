# SPDX-License-Identifier: GPL-3.0-or-later
"""Random operations on a file pool and on a local directory of the same file system: every answer and every error must
be the same, and so must the two trees at the end: file_model.py DIRECTORY [STEPS [SEED]], inside a network namespace of
its own. Links are cut all the time, in the middle of requests and before answers, and every change is made once."""
import ctypes
import errno
import os
import random
import stat
import struct
import sys

from file_node import LONG, Node, Tests, fine, same
from file_wire import (APPEND, CHANGE, COPY, CREATE, DIRECTORY, DURABLE, ERRNO, EXCHANGE, EXCLUSIVE, KEEP_SIZE, MODE,
                       MODIFIED, NO_REPLACE, PUNCH_HOLE, RDWR, READ, RETRY, SIZE, TRUNCATE, WRITE, opening)

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 60000 if LONG else 6000
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32) if LONG else 20261121
libc = ctypes.CDLL(None, use_errno=True)
ZERO_RANGE = 0x400
FILES_OPEN_MAX = 12


def system(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


class Model:
    def __init__(self, node, oracle):
        self.node, self.oracle = node, oracle
        self.random = random.Random(SEED)
        self.link = node.link()
        self.open = []  # (descriptor of the pool, of ours, may be read, may be written)
        self.cuts = 0

    # ---- asking the pool -----------------------------------------------------------------------------------------

    def ask(self, opcode, path=b"", **named):
        """The reply, over as many connections as it takes."""
        cut = self.random.randrange(40)
        if cut > 2:
            return self.link.ask(opcode, path, **named)
        self.cuts += 1
        frame = self.link.frame(opcode, path, **named)
        sequence = self.link.sequence
        if cut:  # some of it arrives, perhaps all
            self.link.socket.sendall(frame[:self.random.randrange(len(frame) + 1)])
        else:  # all of it, and it is carried out
            self.link.socket.sendall(frame)
            self.link.receive_for(sequence)
        fine(self.link.reconnect())
        named["flags"] = named.get("flags", 0) | RETRY
        return self.link.ask(opcode, path, sequence=sequence, **named)

    # ---- choosing ------------------------------------------------------------------------------------------------

    def path(self, symlink=None):
        """Only s0 and s1 are ever symbolic links: the pool follows none on the way, a directory would."""
        parts = [self.random.choice("abcd") for _ in range(self.random.randrange(1, 4))]
        if symlink or (symlink is None and self.random.randrange(8) == 0):
            parts[-1] = self.random.choice(("s0", "s1"))
        return "/".join(parts)

    def two_paths(self):
        symlinks = self.random.randrange(6) == 0
        return self.path(symlinks), self.path(symlinks)

    def ours(self, path):
        return os.path.join(self.oracle, path)

    def descriptor(self):
        return self.random.choice(self.open) if self.open else None

    def bytes(self):
        return self.random.randbytes(self.random.choice((0, 1, 10, 4096, 5000, 20000, 70000)))

    def offset(self):
        return self.random.choice((0, 1, 100, 4096, 10000, self.random.randrange(100000)))

    # ---- comparing -----------------------------------------------------------------------------------------------

    def compare(self, what, reply, function, either=()):
        """The same error, or whatever function gives, for its caller to compare. `either`: errors that may both be right."""
        try:
            result, error = function(), 0
        except OSError as exception:
            result, error = None, exception.errno
        if reply.status not in (0, ERRNO) or (reply.error != error and not {reply.error, error} <= set(either)):
            raise AssertionError(f"{what}: the pool says {reply!r}, the directory "
                                 f"{errno.errorcode.get(error, error) if error else 'OK'}")
        return result

    def compare_stat(self, what, got, wanted):
        same((got.size if not stat.S_ISDIR(got.mode) else 0, got.mode, got.links, got.uid, got.gid),
             (wanted.st_size if not stat.S_ISDIR(wanted.st_mode) else 0, wanted.st_mode, wanted.st_nlink, wanted.st_uid,
              wanted.st_gid), what)

    # ---- operations on names -------------------------------------------------------------------------------------

    def do_open(self):
        path = self.path()
        flags = self.random.choice((READ, WRITE, RDWR))
        flags |= self.random.choice((0, 0, CREATE, CREATE, CREATE | EXCLUSIVE, TRUNCATE, CREATE | TRUNCATE, DIRECTORY))
        mode = self.random.choice((0o600, 0o644, 0o777, 0o400))
        system_flags = {READ: os.O_RDONLY, WRITE: os.O_WRONLY, RDWR: os.O_RDWR}[flags & RDWR] | os.O_NOFOLLOW
        for bit, name in ((CREATE, "O_CREAT"), (EXCLUSIVE, "O_EXCL"), (TRUNCATE, "O_TRUNC"), (DIRECTORY, "O_DIRECTORY")):
            system_flags |= getattr(os, name) if flags & bit else 0
        if flags & TRUNCATE and not flags & WRITE:
            return  # unspecified by POSIX
        reply = self.ask("OPEN", path, argument=opening(flags, mode))
        fd = self.compare(f"OPEN {path} {flags:#x}", reply, lambda: os.open(self.ours(path), system_flags, mode))
        if fd is None:
            return
        self.compare_stat(f"OPEN {path}", reply.stat, os.fstat(fd))
        self.open.append((reply.ident, fd, flags & READ, flags & WRITE))
        if len(self.open) > FILES_OPEN_MAX:
            self.do_close()

    def do_close(self):
        if self.open:
            theirs, fd, _, _ = self.open.pop(self.random.randrange(len(self.open)))
            fine(self.ask("CLOSE", ident=theirs))
            os.close(fd)

    def do_mkdir(self):
        path = self.path()
        reply = self.ask("MKDIR", path, argument=0o755)
        self.compare(f"MKDIR {path}", reply, lambda: os.mkdir(self.ours(path), 0o755))

    def do_rmdir(self):
        path = self.path()
        self.compare(f"RMDIR {path}", self.ask("RMDIR", path), lambda: os.rmdir(self.ours(path)))

    def do_unlink(self):
        path = self.path()
        self.compare(f"UNLINK {path}", self.ask("UNLINK", path), lambda: os.unlink(self.ours(path)))

    def do_rename(self):
        one, two = self.two_paths()
        flags = self.random.choice((0, 0, 0, NO_REPLACE, EXCHANGE))
        system_flags = {0: 0, NO_REPLACE: 1, EXCHANGE: 2}[flags]
        self.compare(f"RENAME {one} {two} {flags:#x}", self.ask("RENAME", one, body=two.encode(), flags=flags),
                     lambda: system(libc.renameat2(-100, self.ours(one).encode(), -100, self.ours(two).encode(),
                                                   system_flags)))

    def do_link(self):
        one, two = self.two_paths()
        self.compare(f"LINK {one} {two}", self.ask("LINK", one, body=two.encode()),
                     lambda: os.link(self.ours(one), self.ours(two), follow_symlinks=False),
                     (errno.ENOENT, errno.ENOTDIR))  # which of the two names is looked at first

    def do_symlink(self):
        path, target = self.path(True), self.random.choice(("nothing", "../a", "/etc/passwd", "a" * 300, "\xff\xfe"))
        self.compare(f"SYMLINK {path}", self.ask("SYMLINK", path, body=target.encode("latin-1")),
                     lambda: os.symlink(target.encode("latin-1"), self.ours(path).encode()))

    def do_readlink(self):
        path = self.path()
        reply = self.ask("READLINK", path)
        target = self.compare(f"READLINK {path}", reply, lambda: os.readlink(self.ours(path).encode()))
        if target is not None:
            same(reply.body, target, path)

    def do_stat(self):
        path = self.path()
        reply = self.ask("STAT", path)
        wanted = self.compare(f"STAT {path}", reply, lambda: os.lstat(self.ours(path)))
        if wanted:
            self.compare_stat(f"STAT {path}", reply.stat, wanted)

    def do_list(self):
        path = self.random.choice(("", self.path(False)))
        got = self.link.list(path)
        try:
            wanted = {entry.name.encode(): stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
                      for entry in os.scandir(self.ours(path))}
        except OSError as exception:
            wanted = exception.errno
        same({name: stat.S_IFMT(mode) for name, mode in got.items()} if isinstance(got, dict) else got, wanted, f"LIST {path}")

    def do_change(self):
        descriptor = self.descriptor() if self.random.randrange(2) else None
        path, mode = self.path(False), self.random.choice((0o600, 0o755, 0o640))
        size, when = self.offset(), self.random.randrange(1 << 60)
        what = self.random.choice((MODE, SIZE, MODIFIED))
        body = CHANGE.pack(what, mode, 0, 0, size, 0, when)
        if descriptor and (what != SIZE or descriptor[3]):
            ours, reply = descriptor[1], self.ask("CHANGE", ident=descriptor[0], body=body)
        else:
            ours, reply = self.ours(path), self.ask("CHANGE", path, body=body)
        if what == SIZE and not isinstance(ours, int) and os.path.islink(ours):
            return
        call = {MODE: lambda: os.chmod(ours, mode), SIZE: lambda: os.truncate(ours, size),
                MODIFIED: lambda: os.utime(ours, ns=(os.stat(ours).st_atime_ns, when))}[what]
        self.compare(f"CHANGE {what} {path} {descriptor}", reply, call)
        if not reply.error:
            wanted = os.stat(ours)
            self.compare_stat(f"CHANGE {what} {path}", reply.stat, wanted)
            if what == MODIFIED:
                same(reply.stat.modified, wanted.st_mtime_ns)

    def do_xattr(self):
        path, name = self.path(False), self.random.choice(("user.a", "user.b"))
        value = self.random.randbytes(self.random.choice((0, 1, 100)))
        ours = self.ours(path)
        kind = self.random.randrange(4)
        if kind == 0:
            flags = self.random.randrange(3)
            reply = self.ask("XATTR_SET", path, body=struct.pack(">II", len(name), flags) + name.encode() + value)
            self.compare(f"XATTR_SET {path}", reply, lambda: os.setxattr(ours, name, value, flags, follow_symlinks=False))
        elif kind == 1:
            reply = self.ask("XATTR_GET", path, body=name.encode())
            wanted = self.compare(f"XATTR_GET {path}", reply, lambda: os.getxattr(ours, name, follow_symlinks=False))
            same(reply.body if wanted is not None else None, wanted, path)
        elif kind == 2:
            reply = self.ask("XATTR_LIST", path)
            wanted = self.compare(f"XATTR_LIST {path}", reply, lambda: os.listxattr(ours, follow_symlinks=False))
            if wanted is not None:
                same(set(reply.body.decode().split("\0")[:-1]), set(wanted), path)
        else:
            reply = self.ask("XATTR_REMOVE", path, body=name.encode())
            self.compare(f"XATTR_REMOVE {path}", reply, lambda: os.removexattr(ours, name, follow_symlinks=False))

    # ---- operations on bytes -------------------------------------------------------------------------------------

    def do_write(self):
        descriptor, data, offset = self.descriptor(), self.bytes(), self.offset()
        if not descriptor:
            return
        theirs, fd, _, _ = descriptor
        flags = self.random.choice((0, 0, APPEND, DURABLE, APPEND | DURABLE))
        reply = self.ask("WRITE", ident=theirs, argument=offset, body=data, flags=flags)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            same(reply.error in (errno.EBADF, errno.EISDIR), True, "WRITE to a directory")
            return
        at = os.fstat(fd).st_size if flags & APPEND else offset
        written = self.compare(f"WRITE {descriptor}", reply, lambda: os.pwrite(fd, data, at))
        if written is not None:
            same(reply.argument, written)
            same(reply.ident, at, "where") if written else None

    def do_read(self):
        descriptor, offset, length = self.descriptor(), self.offset(), self.random.choice((0, 1, 4096, 100000))
        if not descriptor:
            return
        reply = self.ask("READ", ident=descriptor[0], argument=offset, body=struct.pack(">II", length, 0))
        if stat.S_ISDIR(os.fstat(descriptor[1]).st_mode):
            same(reply.error in (errno.EISDIR, 0) and not (length and not reply.error), True, f"READ of a directory {reply!r}")
            return
        wanted = self.compare(f"READ {descriptor}", reply, lambda: os.pread(descriptor[1], length, offset))
        if wanted is not None and reply.body != wanted:
            raise AssertionError(f"READ {descriptor} at {offset}: other bytes")

    def do_sync(self):
        descriptor = self.descriptor()
        if descriptor:
            fine(self.ask("SYNC", ident=descriptor[0]), "SYNC")

    def do_whole(self):
        path = self.path()
        if self.random.randrange(2):
            reply = self.ask("FETCH", path)

            def fetch():
                fd = os.open(self.ours(path), os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    return os.read(fd, 1 << 20)
                finally:
                    os.close(fd)
            wanted = self.compare(f"FETCH {path}", reply, fetch)
            if wanted is not None and reply.body[80:] != wanted:
                raise AssertionError(f"FETCH {path}: other bytes")
            return
        data = self.bytes()
        flags = self.random.choice((0, CREATE, CREATE | TRUNCATE, CREATE | EXCLUSIVE))
        reply = self.ask("PUT", path, argument=opening(flags, 0o640), body=data)

        def put():
            system_flags = os.O_WRONLY | os.O_NOFOLLOW | (os.O_CREAT if flags & CREATE else 0)
            system_flags |= (os.O_EXCL if flags & EXCLUSIVE else 0) | (os.O_TRUNC if flags & TRUNCATE else 0)
            fd = os.open(self.ours(path), system_flags, 0o640)
            os.pwrite(fd, data, 0)
            wanted = os.fstat(fd)
            os.close(fd)
            return wanted
        wanted = self.compare(f"PUT {path} {flags:#x}", reply, put)
        if wanted:
            self.compare_stat(f"PUT {path}", reply.stat, wanted)

    def do_copy(self):
        one, two = self.descriptor(), self.descriptor()
        if not one or stat.S_ISDIR(os.fstat(one[1]).st_mode) or stat.S_ISDIR(os.fstat(two[1]).st_mode):
            return
        start, to, length = self.offset(), self.offset(), self.random.choice((0, 1, 5000, 100000))
        reply = self.ask("COPY", ident=one[0], body=COPY.pack(two[0], start, to, length))

        def copy():
            if not one[2] or not two[3]:
                raise OSError(errno.EBADF, "")
            done = 0
            while done < length:  # as the node does, and who calls it would
                try:
                    part = os.copy_file_range(one[1], two[1], length - done, start + done, to + done)
                except OSError:
                    if done:
                        break
                    raise
                if not part:
                    break
                done += part
            return done
        copied = self.compare(f"COPY {one} {two} {start} {to} {length}", reply, copy)
        if copied is not None:
            same(reply.argument, copied, "COPY")

    def do_allocate(self):
        descriptor, offset, length = self.descriptor(), self.offset(), self.random.choice((1, 4096, 30000))
        if not descriptor or not descriptor[3] or not stat.S_ISREG(os.fstat(descriptor[1]).st_mode):
            return
        flags = self.random.choice((0, KEEP_SIZE, KEEP_SIZE | PUNCH_HOLE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE, PUNCH_HOLE))
        mode = (1 if flags & KEEP_SIZE else 0) | (2 if flags & PUNCH_HOLE else 0) | (16 if flags & ZERO_RANGE else 0)
        reply = self.ask("ALLOCATE", ident=descriptor[0], body=struct.pack(">QQ", offset, length), flags=flags)
        self.compare(f"ALLOCATE {flags:#x}", reply, lambda: system(
            libc.fallocate(descriptor[1], mode, ctypes.c_long(offset), ctypes.c_long(length))))

    # ---- all of it -----------------------------------------------------------------------------------------------

    def run(self):
        chosen = [(self.do_open, 14), (self.do_close, 4), (self.do_mkdir, 8), (self.do_rmdir, 4), (self.do_unlink, 6),
                  (self.do_rename, 8), (self.do_link, 4), (self.do_symlink, 3), (self.do_readlink, 2), (self.do_stat, 6),
                  (self.do_list, 4), (self.do_change, 6), (self.do_xattr, 5), (self.do_write, 14), (self.do_read, 10),
                  (self.do_sync, 1), (self.do_whole, 10), (self.do_copy, 4), (self.do_allocate, 4)]
        operations = [function for function, weight in chosen for _ in range(weight)]
        for _ in range(STEPS):
            self.random.choice(operations)()
        while self.open:
            self.do_close()
        same(tree(self.node.root), tree(self.oracle), "the trees")
        fine(self.link.ask("END"))


def tree(root):
    """path → what is there"""
    found, inodes, folders = {}, {}, [root]
    while folders:
        for entry in os.scandir(folders.pop()):
            status = os.lstat(entry.path)
            path = os.path.relpath(entry.path, root)
            what = [status.st_mode, status.st_nlink, sorted((name, os.getxattr(entry.path, name, follow_symlinks=False))
                                                            for name in os.listxattr(entry.path, follow_symlinks=False))]
            if stat.S_ISDIR(status.st_mode):
                folders.append(entry.path)
            elif stat.S_ISLNK(status.st_mode):
                what.append(os.readlink(entry.path.encode()))
            else:
                with open(entry.path, "rb") as file:
                    what.append(file.read())
            found[path] = what
            inodes.setdefault(status.st_ino, []).append(path)
    for paths in inodes.values():  # which names are of one file
        for path in paths:
            found[path].append(sorted(paths))
    return found


def main():
    os.umask(0)
    directory = sys.argv[1]
    oracle = os.path.join(directory, "oracle")
    os.makedirs(oracle)
    node = Node(directory)
    tests = Tests()
    print(f"# seed {SEED}, {STEPS} steps")
    model = Model(node, oracle)

    def check():
        """random operations have the same answers as on a local directory"""
        model.run()

    tests.run(check)
    tests.result(model.cuts > STEPS // 50, f"the link was cut {model.cuts} times")
    tests.result(node.stop() == 0, "the node ends well", node.log()[-3000:])
    tests.end()


main()
