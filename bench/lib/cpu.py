# SPDX-License-Identifier: GPL-3.0-or-later
"""The CPU pool against what the same work costs without it: posix_spawn here, ssh, pipes, GNU parallel."""
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time

from .bars import Bar, column
from .report import scaled, table
from .system import BenchError, Process, connects, free_port, run, say

OUTPUT_MIB = 1024
MAP_JOBS = 300
NODES = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


class Everywhere(Process):
    """A server that may use every processor: jobs are its children."""

    def _prepare(self):
        super()._prepare()
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))


class Sshd:
    """sshd of the distribution with a port, keys and files of its own; only this bench's key is let in."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None

    def start(self):
        sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not sshd or not shutil.which("ssh"):
            raise BenchError("no sshd or ssh: scripts/deps bench-cpu installs them")
        for key in ("host", "user"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.folder}/{key}"])
        shutil.copy(f"{self.folder}/user.pub", f"{self.folder}/allowed")
        # sshd keeps nothing there, but will not start without it.
        os.makedirs("/run/sshd", exist_ok=True)
        with open(f"{self.folder}/sshd_config", "w") as file:
            file.write(f"HostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/allowed\nStrictModes no\n"
                       f"PidFile none\nUsePAM no\nPasswordAuthentication no\nMaxStartups 100\nMaxSessions 100\n"
                       f"PermitRootLogin yes\nListenAddress 0.0.0.0\nPort {self.port}\nSubsystem sftp internal-sftp\n")
        self.process = Everywhere("sshd", [sshd, "-D", "-e", "-f", f"{self.folder}/sshd_config"])
        self.process.start()
        self.process.wait_until(lambda: connects(self.port), f"port {self.port}")
        return self

    def command(self, host="127.0.0.1"):
        user = pwd.getpwuid(os.getuid()).pw_name
        return ["ssh", "-q", "-p", self.port, "-i", f"{self.folder}/user", "-o", "StrictHostKeyChecking=no", "-o",
                "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-F", "none", f"{user}@{host}"]

    def stop(self):
        if self.process:
            self.process.stop()


def virgod(build, address, port, cpu_port):
    return [f"{build}/virgod", "--listen", address, "--mem-port", port, "--cpu-port", cpu_port,
            "--nodes", f"{address}:{port}", "--insecure", "--bpf", "off", "--arena-size", "64m", "--heap-size", "256m",
            "--workers", 1, "--log-level", "warning", "--cpu-user", "root",
            "--plugin-dir", os.path.abspath(f"{build}/bench/plugins")]


def seconds_of(command, environment=None):
    """Run a pipeline of the shell; how long it took."""
    began = time.monotonic()
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, timeout=600, env=environment, check=False)
    if result.returncode:
        raise BenchError(f"{command}: {result.stderr.strip()[-400:] or result.returncode}")
    return time.monotonic() - began


class Lab:
    """Three nodes on loopback and an sshd, and the commands that are measured against them."""

    def __init__(self, build):
        self.build = build
        self.folder = tempfile.mkdtemp(prefix="virgo-bench-cpu-")
        self.port, self.cpu_port = free_port(), free_port()
        self.servers = []
        self.sshd = Sshd(self.folder)
        self.commands = []

    def start(self):
        for address in NODES:
            command = virgod(self.build, address, self.port, self.cpu_port)
            self.commands.append(shlex.join(map(str, command)))
            server = Everywhere(f"virgod {address}", command).start()
            self.servers.append(server)
            server.wait_until(lambda at=address: connects(self.cpu_port, at), f"port {self.cpu_port}")
        self.sshd.start()
        return self

    def stop(self):
        for server in self.servers:
            server.stop()
        self.sshd.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def environment(self, nodes):
        """One node is asked for itself; no state of a user is touched."""
        return dict(os.environ, VIRGO_NODES=",".join(f"{n}:{self.port}" for n in nodes),
                    VIRGO_CPU_PORT=str(self.cpu_port), VIRGO_OWNER="bench")

    def virgo(self, *words):
        return [f"{self.build}/virgo", "--cpu-port", self.cpu_port, *words]

    def clone(self, measure, mode, seconds, flight=1, command=()):
        arguments = [f"{self.build}/bench/clone", mode, seconds, flight, *command]
        self.commands.append(shlex.join(map(str, arguments)))
        os.environ.update(self.environment(NODES[:1]))
        return measure(arguments)

    def pipeline(self, words, nodes=1):
        self.commands.append(words)
        return {"seconds": seconds_of(words, self.environment(NODES[:nodes]))}


def shell(words):
    return shlex.join(map(str, words))


def one_run(lab, measure, seconds):
    head = f"head -c {OUTPUT_MIB << 20} /dev/zero"
    jobs = f"seq {MAP_JOBS}"
    logins = ",".join(f"4/{shell(lab.sshd.command(host))}" for host in NODES)
    ssh = shutil.which("ssh")
    sample = {
        "spawn": lab.clone(measure, "spawn", seconds),
        "clone": lab.clone(measure, "clone", seconds),
        "spawn, 8 in flight": lab.clone(measure, "spawn", seconds, 8),
        "clone, 8 in flight": lab.clone(measure, "clone", seconds, 8),
        "virgo run": lab.clone(measure, "run", seconds, 1, [os.path.abspath(f"{lab.build}/virgo"), "--cpu-port",
                                                          lab.cpu_port, "run", "--no-input", "--", "/bin/true"]),
        "ssh": lab.clone(measure, "run", max(seconds, 1), 1, [ssh, *lab.sshd.command()[1:], "/bin/true"]),
        "echo": lab.clone(measure, "echo", seconds),
        "ping": lab.clone(measure, "ping", seconds),
        "cat into cat": lab.pipeline(f"{head} | cat | cat > /dev/null"),
        "virgo run into cat": lab.pipeline(shell(lab.virgo("run", "--no-input", "--")) + f" {head} | cat > /dev/null"),
        "virgo map": lab.pipeline(f"{jobs} | " + shell(lab.virgo("map", "-j", 12, "--", "true")) + " > /dev/null", 3),
    }
    if shutil.which("parallel"):
        sample["parallel over ssh"] = lab.pipeline(
            f"{jobs} | HOME={lab.folder} parallel --will-cite -j 4 --sshlogin {shlex.quote(logins)} true > /dev/null",
            3)
    return sample


def run_all(measure, build, runs, seconds):
    lab = Lab(build)
    samples = []
    try:
        lab.start()
        for number in range(runs):
            say(f"jobs, run {number + 1} of {runs}")
            samples.append(one_run(lab, measure, seconds))
    finally:
        lab.stop()
    names = list(samples[0])
    return {name: [sample[name] for sample in samples] for name in names}, list(dict.fromkeys(lab.commands))


def bars_of(results):
    def each(name, field):
        return column(results[name], field)

    bars = [
        Bar("virgo_clone of /bin/true, one at a time / posix_spawn and wait here, p50", 1.5, False,
            each("clone", "p50_ns"), each("spawn", "p50_ns")),
        Bar("ssh to loopback / virgo run, /bin/true, p50", 30, True, each("ssh", "p50_ns"), each("virgo run", "p50_ns"),
            "both with the start of the client program"),
        Bar("ssh to loopback / virgo_clone, /bin/true, p50", 30, True, each("ssh", "p50_ns"), each("clone", "p50_ns")),
        Bar("jobs a second, 8 in flight, virgo_clone / posix_spawn here", 0.8, True,
            each("clone, 8 in flight", "rate"), each("spawn, 8 in flight", "rate")),
        Bar("kind 0, echo of 64 bytes / the daemon's PING, p50", 2, False, each("echo", "p50_ns"),
            each("ping", "p50_ns")),
        Bar(f"{OUTPUT_MIB} MiB of output, virgo run into cat / cat into cat, rate", 0.7, True,
            each("cat into cat", "seconds"), each("virgo run into cat", "seconds")),
    ]
    if "parallel over ssh" in results:
        bars.append(Bar(f"virgo map of {MAP_JOBS} jobs on three nodes / GNU parallel over ssh, rate", 1, True,
                        each("parallel over ssh", "seconds"), each("virgo map", "seconds")))
    return bars


def tables(results):
    rows, slow = [], []
    for name, samples in results.items():
        if "seconds" in samples[0]:
            slow.append([name, scaled(column(samples, "seconds"), 1, 2)])
        else:
            rows.append([name, scaled(column(samples, "rate"), 1, 0), scaled(column(samples, "p50_ns"), 1000),
                         scaled(column(samples, "p99_ns"), 1000)])
    return table(["what", "a second", "p50 µs", "p99 µs"], rows) + [""] + table(["what", "seconds"], slow)


def plots(results):
    return {}
