# SPDX-License-Identifier: GPL-3.0-or-later
"""
Clients that change names of their own while nodes are killed. Each knows what its names may be: an operation that ends
with EHOSTDOWN was done or was not, any other did what it says. VG_SEED=n begins with the same numbers.
"""
import errno
import os
import random
import threading
import time
import traceback

from file_pool import MAYBE, Pool, Refused, settle
from file_wire import CREATE, EXCLUSIVE, WRITE


class Client(threading.Thread):
    def __init__(self, cluster, number, seed):
        super().__init__()
        self.pool, self.base = Pool(cluster), f"c{number}"
        self.random = random.Random(seed * 100 + number)
        self.model, self.done, self.log = {}, 0, []
        self.stop, self.bad = False, None

    def run(self):
        try:
            while not self.stop:
                self.step()
        except Exception:  # told at the end
            self.bad = traceback.format_exc() + "\n".join(map(str, self.log[-10:]))


class Names(Client):
    """model: name → set of what it may hold; None in it: perhaps it is not there"""

    DIRECTORIES = ["", "/x", "/y", "/x/z"]

    def may_be(self, name):
        return self.model.get(name, {None})

    def make_directories(self):
        for directory in self.DIRECTORIES:
            self.pool.mkdir(self.base + directory)

    def any_name(self):
        return f"{self.base}{self.random.choice(self.DIRECTORIES)}/n{self.random.randrange(6)}"

    def step(self):
        verb = self.random.choice(["put", "put", "get", "stat", "unlink", "rename", "rename", "rename", "create"])
        name, other = self.any_name(), self.any_name()
        was, other_was = self.may_be(name), self.may_be(other)
        self.done += 1
        value = f"{self.base}.{self.done}".encode()
        if verb == "rename" and name == other:
            return
        doubt = {}
        try:
            if verb == "put":
                doubt = {name: was | {value, b""}}
                self.pool.put(name, value)
                new = {name: {value}}
            elif verb == "create":
                doubt = {name: was | {b""}}
                self.pool.close(self.pool.open(name, WRITE | CREATE | EXCLUSIVE).ident)
                assert None in was, (verb, name, was)
                new = {name: {b""}}
            elif verb == "get":
                got = self.pool.get(name)
                assert got in was, (verb, name, got, was)
                new = {name: {got}}
            elif verb == "stat":
                self.pool.stat(name)
                new = {name: was - {None}}
            elif verb == "unlink":
                doubt = {name: was | {None}}
                self.pool.unlink(name)
                new = {name: {None}}
            else:
                doubt = {name: was | {None}, other: other_was | (was - {None})}
                self.pool.rename(name, other)
                new = {name: {None}, other: was - {None}}
            assert verb in ("put", "create") or was != {None}, (verb, name, "was not there")
            self.log.append((verb, name, other, value))
            self.model.update(new)
        except Refused as refused:
            self.log.append((verb, name, other, value, str(refused)))
            if refused.errno in MAYBE:
                self.model.update(doubt)
            elif refused.errno == errno.ENOENT and verb not in ("put", "create"):
                assert None in was, (verb, name, was)
                self.model[name] = {None}
            elif refused.errno == errno.EEXIST and verb == "create":
                assert was != {None}, (verb, name, was)
                self.model[name] = was - {None}
            else:
                raise

    def check(self):
        there = {}
        for name, values in self.model.items():
            try:
                there[name] = settle(self.pool.get, name)
            except Refused as refused:
                if refused.errno != errno.ENOENT:
                    raise
            assert there.get(name) in values, (name, there.get(name), values, [l for l in self.log if name in l[1:3]][-6:])
        for directory in sorted(self.DIRECTORIES, key=len, reverse=True):
            path = self.base + directory
            found = settle(self.pool.list, path)
            wanted = {name for name in there if name.rpartition("/")[0] == path}
            assert {f"{path}/{name}" for name, nodes in found.items() if nodes[0][1] >> 12 == 8} == wanted, (path, found)
            assert all(len(nodes) == 1 for nodes in found.values()), (path, found)
            for name in wanted:
                settle(self.pool.unlink, name)
            settle(self.pool.rmdir, path)


class Directories(Client):
    """model: directory → what is in it; after each doubtful change it is looked at, and is as before or as after it"""

    def make_directories(self):
        self.pool.mkdir(self.base)

    def read(self, directory):
        try:
            settle(self.pool.stat, directory)
        except Refused as refused:
            if refused.errno == errno.ENOENT:
                return None
            raise
        found = settle(self.pool.list, directory)
        assert all(len(nodes) == 1 for nodes in found.values()), (directory, found)
        return {name: settle(self.pool.get, f"{directory}/{name}") for name in found}

    def step(self):
        verb = self.random.choice(["mkdir", "mkdir", "rmdir", "rename", "rename", "put", "put", "put", "unlink", "read"])
        name, other = (f"{self.base}/d{self.random.randrange(5)}" for _ in range(2))
        file = f"f{self.random.randrange(4)}"
        was, other_was = self.model.get(name), self.model.get(other)
        self.done += 1
        value = f"{self.base}.{self.done}".encode()
        if (verb == "rename" and name == other) or (verb in ("put", "unlink") and was is None):
            return
        wanted, before, after = None, {name: was}, {}
        if verb == "mkdir":
            wanted = errno.EEXIST if was is not None else None
            call, after = lambda: self.pool.mkdir(name), {name: {}}
        elif verb == "rmdir":
            wanted = errno.ENOENT if was is None else errno.ENOTEMPTY if was else None
            call, after = lambda: self.pool.rmdir(name), {name: None}
        elif verb == "rename":
            wanted = errno.ENOENT if was is None else errno.ENOTEMPTY if other_was else None
            before = {name: was, other: other_was}
            call, after = lambda: self.pool.rename(name, other), {name: None, other: was}
        elif verb == "put":
            call, after = lambda: self.pool.put(f"{name}/{file}", value), {name: dict(was, **{file: value})}
        elif verb == "unlink":
            wanted = None if file in was else errno.ENOENT
            call = lambda: self.pool.unlink(f"{name}/{file}")
            after = {name: {key: held for key, held in was.items() if key != file}}
        else:
            got = self.read(name)
            assert got == was, (verb, name, got, was)
            return
        try:
            call()
            self.log.append((verb, name, other, file))
            assert wanted is None, (verb, name, other, "went well", was, other_was)
            self.model.update(after)
        except Refused as refused:
            self.log.append((verb, name, other, file, str(refused)))
            if refused.errno not in MAYBE:
                assert refused.errno == wanted, (verb, name, other, refused, was, other_was)
                return
            may_be = [before] + ([after] if wanted is None else [])
            if verb == "put":
                may_be.append({name: dict(was, **{file: b""})})
            self.find_out(may_be)

    def find_out(self, may_be):
        end = time.time() + 60
        while True:
            now = {name: self.read(name) for name in may_be[0]}
            if now in may_be:
                self.model.update(now)
                return
            assert time.time() < end, (now, may_be)
            time.sleep(0.2)

    def check(self):
        for name in [name for name in self.model]:
            got = self.read(name)
            assert got == self.model[name], (name, got, self.model[name])
            for file in got or {}:
                settle(self.pool.unlink, f"{name}/{file}")
            if got is not None:
                settle(self.pool.rmdir, name)
        settle(self.pool.rmdir, self.base)


def under_kill(cluster, seconds, kind):
    seed = int(os.environ.get("VG_SEED", random.randrange(1 << 30)))
    draw = random.Random(seed)
    clients = [kind(cluster, number, seed) for number in range(3)]
    for client in clients:
        client.make_directories()
    for client in clients:
        client.start()
    end = time.time() + seconds
    while time.time() < end and not any(client.bad for client in clients) and not cluster.died():
        time.sleep(draw.uniform(0.2, 1))
        node = draw.randrange(cluster.nodes)
        died = cluster.died()
        assert not died, (seed, died)
        cluster.kill(node)
        time.sleep(draw.choice([0, 0, 0.3]))
        cluster.start(node)
    for client in clients:
        client.stop = True
    for client in clients:
        client.join()
        assert not client.bad, f"seed {seed}: {client.bad}"
    assert not cluster.died(), (seed, cluster.died())
    for client in clients:
        client.pool.links.clear()
        client.check()
    assert sum(client.done for client in clients) > 20, "nothing was done"
    for _ in range(100):
        if not cluster.left():
            break
        time.sleep(0.1)
    assert not cluster.left(), (seed, cluster.left())
    print(f"# seed {seed}, {sum(client.done for client in clients)} operations")


def names_under_kill(cluster, seconds):
    """files are put, renamed and unlinked while nodes are killed: nothing is lost, doubled or left"""
    under_kill(cluster, seconds, Names)


def directories_under_kill(cluster, seconds):
    """directories are renamed, removed and filled while nodes are killed: each change is whole or not at all"""
    under_kill(cluster, seconds, Directories)
