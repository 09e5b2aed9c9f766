# SPDX-License-Identifier: GPL-3.0-or-later
"""Many RESP clients at once: redis_together.py PORT CHECK. Exits 0, or 1 with a sentence."""
import random
import socket
import sys
import threading

PORT, CHECK = int(sys.argv[1]), sys.argv[2]
ROUNDS = 300


class Client:
    def __init__(self, port=PORT):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.socket.makefile("rb")

    def send(self, *commands):
        data = b""
        for command in commands:
            words = [word.encode() for word in command.split(" ")]
            data += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(data)

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind in b"*>":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        return int(rest) if kind == b":" else None if kind == b"_" else rest.decode()

    def do(self, command):
        self.send(command)
        return self.read()


def fail(text):
    print("# " + text)
    sys.stdout.flush()
    import os
    os._exit(1)


def together(*functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def halves():
    """Writers set two keys in one transaction; no reader sees one of them without the other."""
    done = threading.Event()

    def write(name):
        client = Client()
        for i in range(ROUNDS):
            client.send("MULTI", f"SET x{name} {i}", f"SET pad{name} {'p' * 100}", f"SET y{name} {i}", "EXEC")
            if [client.read() for _ in range(5)][4] != ["OK"] * 3:
                fail("a transaction failed")

    def look():
        client = Client()
        while not done.is_set():
            client.send("MULTI", "MGET xa ya", "MGET xb yb", "EXEC")
            for one, other in [client.read() for _ in range(4)][3]:
                if one != other:
                    fail(f"half a transaction: {one} {other}")

    looker = threading.Thread(target=look)
    looker.start()
    together(lambda: write("a"), lambda: write("b"))
    done.set()
    looker.join()


def counting():
    """Several clients add to a number, each by WATCH, GET, MULTI, SET, EXEC until it holds: nothing is lost."""
    Client().do("SET n 0")

    def add():
        client = Client()
        for _ in range(ROUNDS // 3):
            while True:
                client.do("WATCH n")
                number = int(client.do("GET n"))
                client.send("MULTI", f"SET n {number + 1}", "EXEC")
                if [client.read() for _ in range(3)][2]:
                    break

    together(add, add, add, add)
    if Client().do("GET n") != str(4 * (ROUNDS // 3)):
        fail("an addition was lost: " + Client().do("GET n"))


def messages():
    """Subscribers on all workers hear every message of every publisher, each one's in order."""
    listeners = [Client() for _ in range(8)]
    for listener in listeners:
        listener.do("SUBSCRIBE c")

    def say(name):
        client = Client()
        for i in range(ROUNDS):
            if client.do(f"PUBLISH c {name}:{i}") != len(listeners):
                fail("not everybody was there")

    together(lambda: say("a"), lambda: say("b"))
    for listener in listeners:
        heard = {"a": -1, "b": -1}
        for _ in range(2 * ROUNDS):
            name, number = listener.read()[2].split(":")
            if int(number) != heard[name] + 1:
                fail("a message out of order")
            heard[name] = int(number)


def copies():
    """Clients keep copies while others write: who has heard of no change has the value that is there."""
    keys = [f"k{i}" for i in range(20)]
    readers = [Client() for _ in range(4)]
    writer = Client()
    for reader in readers:
        reader.send("HELLO 3")
        reader.file.readline()
        for _ in range(14):
            reader.read()
        reader.do("CLIENT TRACKING ON")
    for _ in range(ROUNDS // 10):
        held = [{} for _ in readers]
        for reader, mine in zip(readers, held):
            for key in keys:
                mine[key] = reader.do("GET " + key)
        changed = set(random.sample(keys, 7))
        for key in changed:
            writer.do(f"SET {key} {random.random()}")
        for reader, mine in zip(readers, held):
            reader.send("PING")
            while (said := reader.read()) != "PONG":
                mine.pop(said[1][0], None)
            if set(mine) != set(keys) - changed:
                fail("told of too much or too little")


{"halves": halves, "counting": counting, "messages": messages, "copies": copies}[CHECK]()
