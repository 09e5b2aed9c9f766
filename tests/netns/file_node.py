# SPDX-License-Identifier: GPL-3.0-or-later
"""What Python tests of the file pool have in common: a node that is started, killed and started again, and TAP."""
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback

from file_wire import Link

BUILD = os.environ.get("B", "build")
LONG = "VG_FILE_LONG" in os.environ
PORT = 50000
MEMORY_PORT = 30000


class Node:
    """virgod with a file pool. Run inside a network namespace of the test's own: ports are the usual ones."""

    def __init__(self, directory, *flags, address="127.0.0.1"):
        self.directory, self.flags, self.address = directory, list(flags), address
        self.root = os.path.join(directory, "root")
        os.makedirs(self.root, exist_ok=True)
        self.process = None
        self.start()

    def start(self):
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, "virgod"), "--listen", self.address, "--bpf", "off", "--arena-size", "16m",
                 "--heap-size", "256m", "--workers", "1", "--cpu-port", "0", "--file-root", self.root, *self.flags],
                stdout=log, stderr=log)
        for _ in range(600):
            try:
                # It must answer: the port of one that was killed may be open for a moment more.
                link = Link(PORT, host=self.address, timeout=5)
                link.ask("PING")
                link.close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise RuntimeError("virgod does not listen:\n" + self.log()[-2000:])

    def log(self):
        with open(os.path.join(self.directory, "log"), errors="replace") as log:
            return log.read()

    def stop(self):
        """Its exit status: 0, or what a sanitizer makes of it."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process = None
        return status

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        self.start()

    def link(self, lease_ms=0, **named):
        link = Link(PORT, host=self.address, **named)
        reply = link.session(lease_ms)
        if reply.status:
            raise RuntimeError(f"no session: {reply}")
        return link

    def path(self, name):
        return os.path.join(self.root, name)

    def empty(self):
        for name in os.listdir(self.root):
            path = self.path(name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def figure(self, name):
        text = subprocess.run([os.path.join(BUILD, "virgo"), "status", "--json", "-n", self.address],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
        return subprocess.run(["jq", f"[.. | objects | .{name}? // empty][0]"], input=text, stdout=subprocess.PIPE,
                              text=True, check=False).stdout.strip()


class Tests:
    """Each check is a function of the node; an exception is a failure, and so is a node that has died."""

    def __init__(self):
        self.number = self.failed = 0

    def result(self, good, name, why=""):
        self.number += 1
        for line in str(why).splitlines() if not good else []:
            print("# " + line)
        print(f"{'ok' if good else 'not ok'} {self.number} - {name}", flush=True)
        self.failed += not good

    def skip(self, name, why):
        self.number += 1
        print(f"ok {self.number} - {name} # SKIP {why}", flush=True)

    def run(self, function, *arguments):
        name = (function.__doc__ or function.__name__).strip().splitlines()[0]
        try:
            function(*arguments)
            self.result(True, name)
        except Exception:  # whatever it is, the other checks go on
            self.result(False, name, traceback.format_exc())

    def end(self):
        print(f"1..{self.number}")
        sys.exit(1 if self.failed else 0)


def same(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def fine(reply, what=""):
    if reply.error:
        raise AssertionError(f"{what}: {reply!r}")
    return reply


def fails(reply, error, what=""):
    if reply.error != error:
        raise AssertionError(f"{what}: got {reply!r}, wanted {errno.errorcode.get(error, error)}")


def soon(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
