# SPDX-License-Identifier: GPL-3.0-or-later
"""The file pool against sshfs, NFS, 9P, and against what the disk and the network give: the same work, on the same
disk, in the same run."""
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time

from .bars import Bar, column
from .cpu import Everywhere, Sshd
from .report import scaled, table
from .system import BenchError, LOADER_CPU, SERVER_CPU, connects, free_port, run, say

SMALL_BYTES = 1024
SMALL_THREADS = (1, 8)
BIG_BYTES = 1 << 30  # of the file whose blocks are read and written
CACHED_BYTES = 64 << 20
CROWD = 1000
CROWD_FLIGHT = 4
DURABLE_WRITERS = 32
TICKS = os.sysconf("SC_CLK_TCK")
PARTS = ("small", "blocks", "durable", "crowd")
PROGRAMS = ("sshfs", "fusermount3", "ganesha.nfsd", "diod", "fio", "iperf3")


def program(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise BenchError(f"no {name}: scripts/deps bench-file installs it")
    return path


def in_kernel(name):
    with open("/proc/filesystems") as file:
        return any(line.split()[-1] == name for line in file)


def cpu_ns(pid):
    """Processor time of all threads of a process; the scheduler's own count where it is kept."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        total = (int(fields[11]) + int(fields[12])) * 1000000000 // TICKS
    return total


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))


def unmount(path):
    for command in (["fusermount3", "-u", "-z", path], ["umount", "-l", path]):
        if os.path.ismount(path):
            subprocess.run(command, check=False, capture_output=True)


class Server(Everywhere):
    """A server of one folder, asked by one way of bench/files."""

    def __init__(self, name, arguments, way, target, note=""):
        super().__init__(name, arguments)
        self.way, self.target, self.note = way, target, note
        self.folder = None  # where its files are, on this disk

    def up(self, port, seconds=60):
        self.start()
        self.wait_until(lambda: connects(port), f"port {port}", seconds)
        return self


class Virgod(Server):
    def __init__(self, build, folder):
        self.port, self.file_port = free_port(), free_port()
        arguments = [f"{build}/virgod", "--listen", "127.0.0.1", "--mem-port", self.port, "--file-port", self.file_port,
                     "--nodes", f"127.0.0.1:{self.port}", "--insecure", "--bpf", "off", "--arena-size", "64m",
                     "--heap-size", "64m", "--workers", 1, "--log-level", "warning", "--file-root", folder]
        super().__init__("virgod", arguments, "virgo", "pool")
        self.folder = folder

    def up(self, port=None, seconds=60):
        return super().up(self.file_port, seconds)

    def environment(self):
        return {"VIRGO_NODES": f"127.0.0.1:{self.port}", "BENCH_FILE_PORT": str(self.file_port)}


class Mounted:
    """A file system in user space; `server` is the process that serves it, or None where it forks."""

    def __init__(self, name, arguments, path, environment=None):
        self.name, self.arguments, self.path = name, [str(a) for a in arguments], path
        self.environment, self.process, self.way, self.target = environment, None, "here", path
        self.note = ""

    def up(self):
        os.makedirs(self.path, exist_ok=True)
        log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env=dict(os.environ, **(self.environment or {})), start_new_session=True)
        deadline = time.monotonic() + 30
        while not os.path.ismount(self.path):
            if self.process.poll() not in (None, 0) or time.monotonic() > deadline:
                log.seek(0)
                raise BenchError(f"{self.name} does not mount: {log.read().strip()[-400:]}")
            time.sleep(0.05)
        return self

    def stop(self):
        unmount(self.path)
        if self.process:
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.terminate()
                self.process.wait()


def ganesha(folder, export):
    port = free_port()
    with open(f"{folder}/ganesha.conf", "w") as file:
        file.write(f"""NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1;
  Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Graceless = true; RecoveryRoot = "{folder}/recovery"; Only_Numeric_Owners = true; }}
EXPORT {{ Export_Id = 1; Path = "{export}"; Pseudo = "/bench"; Access_Type = RW; Squash = No_Root_Squash;
  SecType = "sys"; Protocols = 4; Transports = TCP; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = FATAL; }}
""")
    os.makedirs(f"{folder}/recovery")
    server = Server("nfs-ganesha", [program("ganesha.nfsd"), "-F", "-f", f"{folder}/ganesha.conf", "-L",
                                    f"{folder}/ganesha.log", "-p", f"{folder}/ganesha.pid"],
                    "nfs", f"nfs://127.0.0.1/bench?version=4&nfsport={port}",
                    "NFS 4.0 by libnfs; a file is committed to the disk when it is closed, as the protocol wants")
    server.folder, server.port = export, port
    return server


def diod(folder, export):
    port = free_port()
    server = Server("diod", [program("diod"), "-f", "-n", "-N", "-l", f"127.0.0.1:{port}", "--nwthreads", 16, "-e",
                             export, "-L", f"{folder}/diod.log"], "9p", f"{port}:{export}",
                    "9P2000.L, four messages a file")
    server.folder, server.port = export, port
    return server


class Lab:
    """All servers, each with a folder of its own on one disk."""

    def __init__(self, build):
        self.build = build
        # Where the disk is fast or is the one that is meant: BENCH_DIR.
        self.folder = tempfile.mkdtemp(prefix="virgo-bench-file-", dir=os.environ.get("BENCH_DIR"))
        self.commands, self.servers, self.mounts, self.absent = [], [], [], []
        self.sshd = Sshd(self.folder)
        self.virgod = None

    def make(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    def start(self):
        for name in PROGRAMS:
            program(name)
        self.virgod = Virgod(self.build, self.make("pool"))
        self.servers = [self.virgod.up()]
        for make in (ganesha, diod):
            server = make(self.folder, self.make(make.__name__))
            self.servers.append(server)
            server.up(server.port)
        self.sshd.start()
        ssh = [str(word) for word in self.sshd.command()]
        options = ",".join(["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes",
                            f"IdentityFile={self.folder}/user"])
        self.mount("sshfs", [program("sshfs"), "-f", "-p", self.sshd.port, "-F", "none", "-o", options,
                             f"{ssh[-1]}:{self.make('sshfs')}", f"{self.folder}/mnt-sshfs"])
        if os.path.exists(f"{self.build}/virgo-mount"):
            self.mount("virgo mount", [f"{self.build}/virgo-mount", "--file-port", self.virgod.file_port,
                                       "--foreground", f"{self.folder}/mnt-virgo"], self.virgod.environment())
        else:
            self.absent.append("virgo mount: build/virgo-mount was not built")
        for kind, server in (("nfs4", "nfs-ganesha"), ("9p", "diod")):
            if not in_kernel(kind):
                self.absent.append(f"{server} by the kernel's client: this kernel has no {kind}; by a client in user "
                                   "space instead, which saves it the way through the kernel")
        self.commands += [shlex.join(server.arguments) for server in self.servers + self.mounts]
        return self

    def mount(self, name, arguments, environment=None):
        mounted = Mounted(name, arguments, arguments[-1], environment)
        self.mounts.append(mounted)
        mounted.up()

    def stop(self):
        for mounted in self.mounts:
            mounted.stop()
        self.sshd.stop()
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def files(self, way, target, mode, path, cpu=None, **options):
        """bench/files; what it prints. Underscores in options' names are hyphens; True: no value."""
        command = [f"{self.build}/bench/files", way, target, mode, path]
        for name, value in options.items():
            if value is not False:
                command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        if cpu is not None:
            command = ["taskset", "-c", str(cpu)] + command
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False,
                                env=dict(os.environ, **self.virgod.environment()))
        self.commands.append(shlex.join(command))
        if result.returncode:
            raise BenchError(f"{shlex.join(command)}: {(result.stderr or result.stdout).strip()[-400:]}")
        return json.loads(result.stdout)


# ---- small files -----------------------------------------------------------------------------------------------------

def small_ways(lab):
    """name: (way, target, path of the folder by that way, more options)"""
    ways = {"virgod, whole files": ("virgo", "pool", "", {}),
            "virgod, open write close": ("virgo-calls", "pool", "", {}),
            "virgod, whole files, 32 at once": ("virgo", "pool", "", {"flight": 32})}
    for server in lab.servers[1:]:
        ways[server.name] = (server.way, server.target, "/" if server.way == "nfs" else "", {})
    for mounted in lab.mounts:
        ways[mounted.name] = ("here", mounted.path, "", {})
    ways["the disk itself"] = ("here", lab.make("disk"), "", {})
    return ways


def small_run(lab, seconds, number, results):
    ways = list(small_ways(lab).items())
    for name, (way, target, prefix, more) in ways[number % len(ways):] + ways[:number % len(ways)]:
        for threads in SMALL_THREADS:
            if more and threads > 1:
                continue  # many at once by one client are enough
            path = f"small-{number}-{threads}-{way}-{len(more)}"
            sample = lab.files(way, target, "small", prefix + path, threads=threads, seconds=seconds,
                               block=SMALL_BYTES, **more)
            for phase in ("create", "read"):
                results.setdefault((name, phase, threads), []).append(sample[phase])
            # Nothing is removed before the end: ext4 steps over each inode that went in the last minutes when it looks
            # for a free one, and the next server would pay for it.


# ---- blocks ----------------------------------------------------------------------------------------------------------

def fio(lab, path, pattern, block, depth, seconds, size, direct=True):
    command = [program("fio"), "--name=bench", f"--filename={path}", f"--rw={pattern}", f"--bs={block}",
               f"--iodepth={depth}", "--ioengine=io_uring", f"--direct={int(direct)}", f"--size={size}", "--time_based",
               f"--runtime={max(seconds, 0.5)}", "--output-format=json", "--allow_file_create=0", "--thread"]
    lab.commands.append(shlex.join(command))
    output = run(command)
    job = json.loads(output[output.index("{"):])["jobs"][0]
    kind = job["write" if "write" in pattern else "read"]
    return {"rate": kind["iops"], "bytes_rate": kind["bw_bytes"], "p50_ns": 0, "p99_ns": 0}


def listens(port):
    """Without connecting: iperf3 serves one only."""
    found = ""
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(path) as file:
            found += file.read()
    return f":{port:04X} " in found


def iperf(lab, seconds):
    port = free_port()
    server = Everywhere("iperf3", [program("iperf3"), "-s", "-p", port, "-1"]).start()
    try:
        server.wait_until(lambda: listens(port), f"port {port}")
        command = [program("iperf3"), "-c", "127.0.0.1", "-p", str(port), "-t", str(max(1, round(seconds))), "-J"]
        lab.commands.append(shlex.join(command))
        return {"bytes_rate": json.loads(run(command))["end"]["sum_received"]["bits_per_second"] / 8}
    finally:
        server.stop()


def make_file(path, size):
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def blocks_run(lab, seconds, results):
    folder = lab.virgod.folder
    for name, size in (("big", BIG_BYTES), ("cached", CACHED_BYTES)):
        if not os.path.exists(f"{folder}/{name}"):
            make_file(f"{folder}/{name}", size)
    big, cached = f"{folder}/big", f"{folder}/cached"

    def note(name, sample):
        results.setdefault(name, []).append(sample)

    def ours(name, path, size, **options):
        before = cpu_ns(lab.virgod.pid)
        sample = lab.files("virgo", "pool", "data", path, seconds=seconds, file_bytes=size, **options)["data"]
        sample["server_cpu_ns"] = (cpu_ns(lab.virgod.pid) - before) / max(sample["count"], 1)
        note(name, sample)

    note("4 KiB random reads past the cache, 64 at once: fio", fio(lab, big, "randread", 4096, 64, seconds, BIG_BYTES))
    ours("4 KiB random reads past the cache, 64 at once: virgod", "big", BIG_BYTES, block=4096, flight=64, random=True,
         direct=True)
    for pattern, write in (("read", False), ("write", True)):
        note(f"1 MiB {pattern}s past the cache: fio", fio(lab, big, pattern, 1 << 20, 8, seconds, BIG_BYTES))
        ours(f"1 MiB {pattern}s past the cache: virgod", "big", BIG_BYTES, block=1 << 20, flight=8, direct=True,
             write=write)
    note("stream over loopback: iperf3", iperf(lab, seconds))
    ours("1 MiB cached reads: virgod", "cached", CACHED_BYTES, block=1 << 20, flight=8)
    ours("1 MiB cached writes: virgod", "cached", CACHED_BYTES, block=1 << 20, flight=8, write=True)
    note("1 MiB cached writes: fio", fio(lab, cached, "write", 1 << 20, 1, seconds, CACHED_BYTES, direct=False))
    cached_run(lab, seconds, note)


def cached_run(lab, seconds, note):
    """Processor time of a 4 KiB read from the page cache: server and loader on a processor each."""
    os.sched_setaffinity(lab.virgod.pid, {SERVER_CPU})
    for task in os.listdir(f"/proc/{lab.virgod.pid}/task"):
        os.sched_setaffinity(int(task), {SERVER_CPU})
    here = lab.files("here", lab.virgod.folder, "data", "cached", cpu=SERVER_CPU, seconds=seconds, block=4096,
                     random=True, file_bytes=CACHED_BYTES)
    note("4 KiB cached reads: pread", here["data"] | {"server_cpu_ns": here["cpu_ns"] / here["data"]["count"]})
    sent = lab.files("here", lab.virgod.folder, "send", f"{lab.virgod.folder}/cached", seconds=seconds, block=4096,
                     flight=32, random=True, file_bytes=CACHED_BYTES)["data"]
    # bench/files puts the sender's processor time where its bytes would stand.
    busy_ns = sent["bytes_rate"] * (sent["count"] / sent["rate"])
    note("4 KiB cached reads: pread, and send of 32 at once", sent | {"server_cpu_ns": busy_ns / sent["count"],
                                                                      "bytes_rate": sent["rate"] * 4096})
    for flight in (1, 64):
        before = cpu_ns(lab.virgod.pid)
        sample = lab.files("virgo", "pool", "data", "cached", cpu=LOADER_CPU, seconds=seconds, block=4096, random=True,
                           flight=flight, file_bytes=CACHED_BYTES)["data"]
        sample["server_cpu_ns"] = (cpu_ns(lab.virgod.pid) - before) / sample["count"]
        note(f"4 KiB cached reads: virgod, {flight} at once", sample)
    for task in os.listdir(f"/proc/{lab.virgod.pid}/task"):
        os.sched_setaffinity(int(task), set(range(os.cpu_count() or 1)))


# ---- durable, and many ----------------------------------------------------------------------------------------------

def durable_run(lab, seconds, results):
    folder = lab.virgod.folder
    size = 8 << 20
    for number in range(DURABLE_WRITERS):
        if not os.path.exists(f"{folder}/durable.{number}"):
            make_file(f"{folder}/durable.{number}", size)
    if not os.path.exists(f"{folder}/loop.0"):
        make_file(f"{folder}/loop.0", size)
    loop = lab.files("here", folder, "data", "loop", seconds=seconds, block=4096, write=True, durable=True, own=True,
                     file_bytes=size)["data"]
    many = {"seconds": seconds, "block": 4096, "write": True, "durable": True, "threads": DURABLE_WRITERS,
            "file_bytes": size}
    ours = lab.files("virgo", "pool", "data", "durable", own=True, **many)["data"]
    one = lab.files("virgo", "pool", "data", "shared", random=True, **many)["data"]
    results.setdefault("4 KiB durable writes: one loop here (O_DSYNC)", []).append(loop)
    results.setdefault(f"4 KiB durable writes: virgod, {DURABLE_WRITERS} clients, a file each", []).append(ours)
    results.setdefault(f"4 KiB durable writes: virgod, {DURABLE_WRITERS} clients, one file", []).append(one)


class Crowd:
    """Many clients at once, while something else is looked at."""

    def __init__(self, lab, seconds, lazy):
        # What nobody takes lies in the kernel's memory for TCP, which is bounded for all together: not too much of it.
        options = {"threads": 2, "clients": CROWD, "flight": 1 if lazy else CROWD_FLIGHT, "block": 1 << 20,
                   "file-bytes": CACHED_BYTES, "seconds": seconds}
        self.command = [f"{lab.build}/bench/files", "virgo", "pool", "crowd", "cached",
                        *[word for name, value in options.items() for word in (f"--{name}", str(value))],
                        *(["--lazy"] if lazy else [])]
        lab.commands.append(shlex.join(self.command))
        self.output = tempfile.TemporaryFile(mode="w+")
        self.child = subprocess.Popen(self.command, stdout=self.output, stderr=self.output, stdin=subprocess.DEVNULL,
                                      env=dict(os.environ, **lab.virgod.environment()))

    def ended(self):
        return self.child.poll() is not None

    def stop(self):
        if not self.ended():
            self.child.kill()
        self.child.wait()

    def sample(self):
        self.output.seek(0)
        text = self.output.read()
        if self.child.returncode:
            raise BenchError(f"{shlex.join(self.command)}: {text.strip()[-400:]}")
        return json.loads(text)["data"]


def crowd_run(lab, seconds, results):
    """The daemon's memory while a crowd streams; and one who reads beside a crowd that takes nothing."""
    if not os.path.exists(f"{lab.virgod.folder}/cached"):
        make_file(f"{lab.virgod.folder}/cached", CACHED_BYTES)
    before = highest = resident_bytes(lab.virgod.pid)
    crowd = Crowd(lab, max(seconds, 1), False)
    try:
        deadline = time.monotonic() + 120
        while not crowd.ended() and time.monotonic() < deadline:
            highest = max(highest, resident_bytes(lab.virgod.pid))
            time.sleep(0.02)
    finally:
        crowd.stop()
    sample = crowd.sample() | {"before": before, "highest": highest, "asked": CROWD * CROWD_FLIGHT << 20}
    results.setdefault(f"{CROWD} clients, {CROWD_FLIGHT} MiB on the way to each", []).append(sample)

    def alone():
        return lab.files("virgo", "pool", "data", "cached", seconds=seconds, block=1 << 20, flight=8,
                         file_bytes=CACHED_BYTES)["data"]

    results.setdefault("one who reads, alone", []).append(alone())
    connected = connections(lab.virgod.file_port)
    crowd = Crowd(lab, 4 * seconds + 20, True)
    try:
        deadline = time.monotonic() + 60
        while connections(lab.virgod.file_port) < connected + CROWD and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)  # until all that was asked for lies ready
        results.setdefault(f"one who reads, beside {CROWD} who take nothing of 1 MiB each", []).append(alone())
    finally:
        crowd.stop()


def connections(port):
    with open("/proc/net/tcp") as file:
        return sum(1 for line in file if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01")


def versions():
    def words(*command):
        lines = run([program(command[0]), *command[1:]]).strip().splitlines()
        return next((line for line in lines if command[0] in line.lower()), lines[0])

    def package(name):
        found = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True,
                               check=False)
        return found.stdout or "not a Debian package"

    return {"sshfs": words("sshfs", "--version"), "nfs-ganesha": package("nfs-ganesha"), "diod": package("diod"),
            "fio": words("fio", "--version"), "iperf3": words("iperf3", "--version")}


# ---- the four functions of a part ------------------------------------------------------------------------------------

def run_all(measure, build, runs, seconds):
    lab = Lab(build)
    results = {"small": {}, "blocks": {}, "durable": {}, "crowd": {}, "absent": []}
    try:
        lab.start()
        results["absent"] = lab.absent
        for number in range(runs):
            say(f"files, run {number + 1} of {runs}")
            if "small" in PARTS:
                small_run(lab, seconds, number, results["small"])
            if "blocks" in PARTS:
                blocks_run(lab, seconds, results["blocks"])
            if "durable" in PARTS:
                durable_run(lab, seconds, results["durable"])
            if "crowd" in PARTS:
                crowd_run(lab, seconds, results["crowd"])
            for server in lab.servers:
                server.check()
    finally:
        lab.stop()
    return results, list(dict.fromkeys(lab.commands))


def small_bars(results):
    bars = []

    def bar(ours, peer, phase, threads, target, note=""):
        word = "create, write, close" if phase == "create" else "open, read, close"
        bars.append(Bar(f"1 KiB files: {word}, {threads} at once, {ours} / {peer}, rate", target, True,
                        column(results[(ours, phase, threads)], "rate"),
                        column(results[(peer, phase, threads)], "rate"), note))

    for phase in ("create", "read"):
        for threads in SMALL_THREADS:
            for peer, target in (("sshfs", 5), ("nfs-ganesha", 2), ("diod", 2)):
                bar("virgod, whole files", peer, phase, threads, target)
            bar("virgod, open write close", "diod", phase, threads, 1, "the same number of calls")
            if ("virgo mount", phase, threads) in results:
                bar("virgo mount", "sshfs", phase, threads, 5, "both through FUSE")
    fast = column(results[("virgod, whole files, 32 at once", "read", 1)], "rate")
    bars.append(Bar("1 KiB files: reads a second by one client, 32 at once, / 30,000", 1, True, fast,
                    [30000] * len(fast)))
    return bars


def blocks_bars(blocks):
    def ratio(what, target, at_least, name, peer, field, note=""):
        return Bar(what, target, at_least, column(blocks[name], field), column(blocks[peer], field), note)

    def past(what):
        return f"{what}: virgod", f"{what}: fio"

    def cpu(name):
        values = sorted(column(blocks[name], "server_cpu_ns"))
        return values[len(values) // 2]

    def network(peer):
        """No way over the network can be faster than this."""
        return f"a stream over loopback has {middle('stream over loopback: iperf3') / middle(peer):.2f} of fio"

    def middle(name):
        values = sorted(column(blocks[name], "bytes_rate"))
        return values[len(values) // 2]

    sent = cpu("4 KiB cached reads: pread, and send of 32 at once") / cpu("4 KiB cached reads: pread")
    return [
        ratio("4 KiB cached reads, 64 at once, processor time of the daemon / a bare pread", 2, False,
              "4 KiB cached reads: virgod, 64 at once", "4 KiB cached reads: pread", "server_cpu_ns",
              f"a loop of pread and send alone has {sent:.2f}"),
        ratio("4 KiB random reads past the cache, 64 at once, virgod / fio io_uring, rate", 0.9, True,
              *past("4 KiB random reads past the cache, 64 at once"), "rate"),
        ratio("1 MiB sequential reads past the cache, virgod / fio io_uring, rate", 0.9, True,
              *past("1 MiB reads past the cache"), "bytes_rate", network("1 MiB reads past the cache: fio")),
        ratio("1 MiB sequential writes past the cache, virgod / fio io_uring, rate", 0.9, True,
              *past("1 MiB writes past the cache"), "bytes_rate", network("1 MiB writes past the cache: fio")),
        ratio("1 MiB cached reads over loopback, virgod / iperf3, rate", 0.7, True, "1 MiB cached reads: virgod",
              "stream over loopback: iperf3", "bytes_rate"),
        ratio("1 MiB cached writes over loopback, virgod / iperf3, rate", 0.7, True, "1 MiB cached writes: virgod",
              "stream over loopback: iperf3", "bytes_rate", "the page cache's own work is in it"),
    ]


def durable_bars(durable):
    (_, loop), *ours = durable.items()
    return [Bar(f"{name} / one O_DSYNC loop here, rate", 10, True, column(samples, "rate"), column(loop, "rate"))
            for name, samples in ours]


def crowd_bars(crowd):
    many, one, beside = crowd.items()
    return [
        Bar(f"the daemon's memory with {many[0]}: growth / what is asked for", 0.25, False,
            [sample["highest"] - sample["before"] for sample in many[1]], column(many[1], "asked")),
        Bar(f"{beside[0]} / alone, rate", 0.7, True, column(beside[1], "bytes_rate"), column(one[1], "bytes_rate")),
    ]


def bars_of(results):
    bars = []
    judges = {"small": small_bars, "blocks": blocks_bars, "durable": durable_bars, "crowd": crowd_bars}
    for part, judge in judges.items():
        bars += judge(results[part]) if results[part] else []
    return bars


def tables(results):
    rows = []
    for (name, phase, threads), samples in sorted(results["small"].items(), key=lambda item: item[0][1:]):
        rows.append([phase, threads, name, scaled(column(samples, "rate"), 1000, 2),
                     scaled(column(samples, "p50_ns"), 1000), scaled(column(samples, "p99_ns"), 1000)])
    lines = ["Files of 1 KiB:", ""]
    lines += table(["what", "at once", "by", "thousand a second", "p50 µs", "p99 µs"], rows)
    rows = []
    for name, samples in (results["blocks"] | results["durable"]).items():
        rate = scaled(column(samples, "rate"), 1000, 2) if "rate" in samples[0] else ""
        busy = scaled(column(samples, "server_cpu_ns"), 1000, 2) if "server_cpu_ns" in samples[0] else ""
        rows.append([name, rate, scaled(column(samples, "bytes_rate"), 1 << 20, 0), busy])
    lines += ["", "Blocks:", ""]
    lines += table(["what", "thousand a second", "MiB/s", "server's processor µs a request"], rows)
    rows = [[name, scaled(column(samples, "bytes_rate"), 1 << 20, 0)]
            + [scaled(column(samples, field), 1 << 20, 0) if field in samples[0] else ""
               for field in ("before", "highest")]
            for name, samples in results["crowd"].items()]
    lines += ["", "Many clients:", ""] + table(["what", "MiB/s", "daemon before, MiB", "daemon at most, MiB"], rows)
    if results["absent"]:
        lines += ["", "Not measured:", ""] + [f"* {what}" for what in results["absent"]]
    return lines


def plots(results):
    return {}
