# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes, network namespaces and facts of the machine. Everything made here is taken away again, however it ends."""
import ctypes
import glob
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SERVER_CPU = 0
LOADER_CPU = (os.cpu_count() or 1) - 1
PR_SET_PDEATHSIG = 1


class BenchError(Exception):
    """Something that should be measured could not be."""


def as_typed(commands):
    """The commands as a person in this folder would type them: results are read on other machines."""
    return [command.replace(os.getcwd() + "/", "") for command in commands]


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(arguments, **options):
    """Run a command to its end; its standard output."""
    result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=120, **options)
    if result.returncode:
        raise BenchError(f"{' '.join(map(str, arguments))}: {result.stderr.strip() or result.returncode}")
    return result.stdout


def measure(arguments):
    """Run a loader; the JSON it prints."""
    output = run(arguments)
    try:
        return json.loads(output)
    except ValueError as error:
        raise BenchError(f"{arguments[0]} printed no JSON: {output[:200]}") from error


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A server. It dies with this program, even when that is killed."""

    def __init__(self, name, arguments, cpu=SERVER_CPU):
        self.name = name
        self.arguments = [str(a) for a in arguments]
        self.cpu = cpu
        self.child = None
        self.log = None

    def _prepare(self):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.sched_setaffinity(0, {self.cpu})

    def start(self):
        self.log = tempfile.TemporaryFile(mode="w+")
        try:
            self.child = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                          preexec_fn=self._prepare, start_new_session=True)
        except OSError as error:
            raise BenchError(f"{self.name}: {error}") from error
        return self

    def output(self):
        self.log.seek(0)
        return self.log.read().strip()

    def check(self):
        if self.child.poll() is not None:
            raise BenchError(f"{self.name} ended with {self.child.returncode}: {self.output()[-600:]}")

    def wait_until(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: {what} not within {seconds} s: {self.output()[-600:]}")
            time.sleep(0.02)

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.log:
            self.log.close()
        self.child = self.log = None

    @property
    def pid(self):
        return self.child.pid


def connects(port, address="127.0.0.1"):
    try:
        with socket.create_connection((address, port), 0.2):
            return True
    except OSError:
        return False


class VethPair:
    """Two namespaces, `client` and `server`, with one veth pair of one queue between them."""

    CLIENT, SERVER = "10.77.0.1", "10.77.0.2"

    def __init__(self):
        self.names = {"client": f"virgo-bench-c{os.getpid()}", "server": f"virgo-bench-s{os.getpid()}"}
        self.links = {"client": f"vc{os.getpid()}", "server": f"vs{os.getpid()}"}
        self.mac = {}
        self.made = []

    def make(self):
        for side in ("client", "server"):
            run(["ip", "netns", "add", self.names[side]])
            self.made.append(self.names[side])
        one = ["numtxqueues", "1", "numrxqueues", "1"]
        run(["ip", "link", "add", self.links["client"], "netns", self.names["client"], *one, "type", "veth",
             "peer", "name", self.links["server"], "netns", self.names["server"], *one])
        for side, address in (("client", self.CLIENT), ("server", self.SERVER)):
            run(["ip", "-n", self.names[side], "addr", "add", f"{address}/24", "dev", self.links[side]])
            run(["ip", "-n", self.names[side], "link", "set", "lo", "up"])
            run(["ip", "-n", self.names[side], "link", "set", self.links[side], "up"])
            self.mac[side] = run(self.enter(side) + ["cat", f"/sys/class/net/{self.links[side]}/address"]).strip()
        return self

    def enter(self, side):
        """With a /sys of the namespace."""
        return ["ip", "netns", "exec", self.names[side]]

    def enter_network(self, side):
        """With the /sys (and the BPF file system) of this machine."""
        return ["nsenter", f"--net=/run/netns/{self.names[side]}"]

    def threaded(self, side, on):
        """Whether the side's receive queue is a kernel thread of its own. NAPI must run. Returns its PID or 0."""
        path = f"/sys/class/net/{self.links[side]}/threaded"
        run(self.enter(side) + ["sh", "-c", f"echo 0 > {path}; echo {int(on)} > {path}"])
        return self.receive_thread(side) if on else 0

    def receive_thread(self, side, cpu=SERVER_CPU):
        wanted = f"napi/{self.links[side]}"[:15]
        for _ in range(100):
            for path in glob.glob("/proc/[0-9]*/comm"):
                try:
                    with open(path) as file:
                        if file.read().startswith(wanted):
                            pid = int(path.split("/")[2])
                            os.sched_setaffinity(pid, {cpu})
                            return pid
                except OSError:
                    continue
            time.sleep(0.01)
        raise BenchError(f"no receive thread {wanted}")

    def remove(self):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        self.made = []


class BpfDirectory:
    """A BPF file system of our own, so that pins meet nobody else's."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="virgo-bench-bpf-")
        self.mounted = False

    def make(self):
        run(["mount", "-t", "bpf", "bpf", self.path])
        self.mounted = True
        return self

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.path], check=False, capture_output=True)
        shutil.rmtree(self.path, ignore_errors=True)


def cpu_model():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def machine():
    """What a reader needs to know to make sense of the figures."""
    with open("/proc/meminfo") as file:
        kib = int(file.readline().split()[1])
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "kernel": platform.release(),
        "processor": cpu_model(),
        "processors": os.cpu_count(),
        "memory_gib": round(kib / (1 << 20), 1),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True,
                                 check=False).stdout.strip(),
    }
