# SPDX-License-Identifier: GPL-3.0-or-later
"""UDP and XDP over a veth pair: what XDP answers, what the daemon's own socket does, and the limit of each."""
import json
import shlex

from .system import BenchError, BpfDirectory, LOADER_CPU, Process, SERVER_CPU, VethPair, connects, run, say

KEYS = 1 << 20
HOT_KEYS = 1 << 10  # with bucket and item about 200 bytes each: fits a second-level cache of 512 KiB
PORT = 30000
ECHO_PORT = 30001
WINDOW = 256        # unanswered requests: as many as a veth queue holds, so that none is dropped
SOCKET_WINDOW = 128
STATISTICS = "/proc/sys/kernel/bpf_stats_enabled"
BUDGET = 1000000    # answers a millisecond: XDP's guard of the processor shall not be what is measured


class Scene:
    """The pair, the daemon on one side of it, and what is attached to the daemon's interface at the moment."""

    def __init__(self, build):
        self.build = build
        self.pair = VethPair()
        self.bpf = BpfDirectory()
        self.pins = f"{self.bpf.path}/virgo"
        self.daemon = self.twin = self.holder = None
        self.loaded = self.attached = False

    # ---- setting up

    def make(self):
        self.pair.make()
        self.bpf.make()
        self.agent("load", "--pin-root", self.pins)
        self.loaded = True
        self.daemon = self.in_server("virgod", [
            f"{self.build}/virgod", "--listen", f"{self.pair.SERVER}:{PORT}", "--insecure", "--workers", 1,
            "--bpf", "require", "--pin-root", self.pins, "--xdp-budget", BUDGET, "--arena-size", "1g",
            "--log-level", "warning"])
        self.daemon.start()
        self.daemon.wait_until(lambda: self.listens(PORT), f"port {PORT}")
        self.twin = self.in_server("recvmmsg echo", [f"{self.build}/bench/udp_echo", self.pair.SERVER, ECHO_PORT])
        self.twin.start()
        run(self.pair.enter_network("client") + [
            f"{self.build}/bench/load", "--address", self.pair.SERVER, "--port", PORT, "--keys", KEYS, "--fill",
            "--pipeline", 64, "--cpu", LOADER_CPU])
        return self

    def in_server(self, name, arguments):
        return Process(name, self.pair.enter_network("server") + arguments)

    def listens(self, port):
        wanted = f":{port:04X} 00000000:0000 0A"
        return wanted in run(self.pair.enter("server") + ["cat", "/proc/net/tcp"])

    def agent(self, *arguments):
        run(self.pair.enter_network("server") + [f"{self.build}/virgo-agent", *arguments])

    def remove(self):
        """Each step is taken even when one before it fails."""
        for step in (self.detach, self.daemon and self.daemon.stop, self.twin and self.twin.stop, self.unload,
                     self.pair.remove, self.bpf.remove):
            try:
                if step:
                    step()
            except BenchError as error:
                say(f"cleaning up: {error}")

    def unload(self):
        if self.loaded:
            self.agent("unload", "--pin-root", self.pins)

    # ---- what answers at the daemon's interface

    def detach(self):
        if self.attached:
            self.attached = False
            self.agent("detach", "--pin-root", self.pins, self.pair.links["server"])
        if self.holder:
            self.holder.stop()
            self.holder = None

    def attach_virgo(self):
        self.detach()
        self.agent("attach", "--pin-root", self.pins, "--mode", "native", self.pair.links["server"])
        self.attached = True

    def attach(self, program, port=PORT):
        """A program of the benchmark's own: echo or pass."""
        self.detach()
        self.holder = self.in_server(f"{program} program", [f"{self.build}/bench/hold", self.pair.links["server"],
                                                            program, port]).start()
        self.holder.wait_until(lambda: "ready" in self.holder.output(), "attaching")

    # ---- measuring

    def flood(self, measure, *extra, port=PORT, keys=KEYS, window=WINDOW, own_core=True, servers=(), echo=False,
              milliseconds=2000):
        """Requests from one processor, answered on the other (or, without own_core, everything on one)."""
        thread = self.pair.threaded("server", own_core)
        accounted = [pid for process in servers for pid in (process.pid,)] + ([thread] if thread else [])
        sample = measure(self.pair.enter("client") + [
            f"{self.build}/bench/flood", "--interface", self.pair.links["client"], "--from", self.pair.CLIENT,
            "--to", self.pair.SERVER, "--mac-from", self.pair.mac["client"], "--mac-to", self.pair.mac["server"],
            "--port", port, "--keys", keys, "--window", window, "--duration", milliseconds, "--cpu", LOADER_CPU,
            *(["--echo"] if echo else []), *[a for pid in accounted for a in ("--server", pid)], *extra])
        if not sample["right"] or sample["wrong"] or sample["not_ok"]:
            raise BenchError(f"flood of port {port}: {sample['answered']} answers, {sample['right']} right, "
                             f"{sample['not_ok']} of another status, {sample['wrong']} wrong")
        return sample

    def latency(self, measure, port=PORT, echo=False, milliseconds=1000):
        """Round trips one at a time. The client's interface must run NAPI, or XDP's answers are not delivered."""
        self.pair.threaded("server", False)
        client = Process("pass program", self.pair.enter_network("client") + [
            f"{self.build}/bench/hold", self.pair.links["client"], "pass"], cpu=LOADER_CPU).start()
        try:
            client.wait_until(lambda: "ready" in client.output(), "attaching")
            sample = measure(["taskset", "-c", LOADER_CPU] + self.pair.enter("client") + [
                f"{self.build}/bench/latency", self.pair.CLIENT, self.pair.SERVER, port, KEYS, milliseconds,
                *(["echo"] if echo else [])])
        finally:
            client.stop()
        if not sample["right"] or sample["wrong"]:
            raise BenchError(f"round trips to port {port}: {sample}")
        return sample

    def program(self):
        """Statistics of the XDP program at the server's interface: how often it ran, and for how long."""
        links = json.loads(run(["ip", "-n", self.pair.names["server"], "-json", "link", "show",
                                self.pair.links["server"]]))
        return json.loads(run(["bpftool", "--json", "prog", "show", "id", links[0]["xdp"]["prog"]["id"]]))

    def program_ns(self, measure, **options):
        """What the program itself takes, as the kernel counts it (which costs some nanoseconds a run by itself)."""
        with open(STATISTICS, "r+") as switch:
            before = switch.read().strip()
            switch.seek(0)
            switch.write("1")
        try:
            begin = self.program()
            self.flood(measure, milliseconds=500, **options)
            end = self.program()
        finally:
            with open(STATISTICS, "w") as switch:
                switch.write(before)
        runs = end.get("run_cnt", 0) - begin.get("run_cnt", 0)
        if not runs:
            raise BenchError("the XDP program did not run")
        return {"ns": (end["run_time_ns"] - begin.get("run_time_ns", 0)) / runs, "runs": runs}

    def hits(self):
        """How many requests XDP has answered from the arena."""
        status = json.loads(run(self.pair.enter_network("server") + [
            f"{self.build}/virgo-agent", "status", "--json", "--pin-root", self.pins]))
        return next(counter["packets"] for counter in status["counters"] if counter["reason"] == "hit")

    def flood_xdp(self, measure, **options):
        """A flood that XDP must answer: what it passes to the daemon would be measured as XDP's otherwise."""
        before = self.hits()
        sample = self.flood(measure, **options)
        sample["xdp_share"] = (self.hits() - before) / sample["answered_in_all"]
        if sample["xdp_share"] < 0.95:
            raise BenchError(f"XDP answered only {sample['xdp_share']:.0%} of the requests")
        return sample


def one_run(scene, measure, milliseconds, add):
    short = max(300, milliseconds // 2)
    scene.attach("echo")
    add("echo", scene.flood(measure, echo=True, milliseconds=milliseconds))
    add("echo one core", scene.flood(measure, echo=True, own_core=False, milliseconds=milliseconds))
    add("echo program", scene.program_ns(measure, echo=True))
    add("echo latency", scene.latency(measure, echo=True, milliseconds=short))
    scene.attach_virgo()
    add("xdp uniform", scene.flood_xdp(measure, milliseconds=milliseconds))
    add("xdp hot", scene.flood_xdp(measure, keys=HOT_KEYS, milliseconds=milliseconds))
    add("xdp uniform one core", scene.flood_xdp(measure, own_core=False, milliseconds=milliseconds))
    add("xdp hot one core", scene.flood_xdp(measure, keys=HOT_KEYS, own_core=False, milliseconds=milliseconds))
    add("xdp uniform program", scene.program_ns(measure))
    add("xdp hot program", scene.program_ns(measure, keys=HOT_KEYS))
    add("xdp latency", scene.latency(measure, milliseconds=short))
    scene.attach("pass")
    sockets = {"window": SOCKET_WINDOW, "milliseconds": milliseconds}
    add("daemon udp", scene.flood(measure, "--threaded", servers=[scene.daemon], **sockets))
    add("daemon udp latency", scene.latency(measure, milliseconds=short))
    add("recvmmsg", scene.flood(measure, "--threaded", servers=[scene.twin], port=ECHO_PORT, echo=True, **sockets))
    add("recvmmsg latency", scene.latency(measure, port=ECHO_PORT, echo=True, milliseconds=short))


def run_all(measure, build, runs, seconds):
    """Samples by name, one a run, and the commands."""
    results = {}
    scene = Scene(build)
    try:
        scene.make()
        for number in range(runs):
            say(f"UDP and XDP, run {number + 1} of {runs}")
            one_run(scene, measure, int(seconds * 1000),
                    lambda name, sample: results.setdefault(name, []).append(sample))
            scene.daemon.check()
            scene.twin.check()
        commands = [shlex.join(process.arguments) + f"   # processor {SERVER_CPU}"
                    for process in (scene.daemon, scene.twin)]
        commands.append(f"{build}/bench/flood --window {WINDOW} (sockets: {SOCKET_WINDOW}) --keys {KEYS}|{HOT_KEYS} "
                        f"--duration {int(seconds * 1000)} --cpu {LOADER_CPU}")
    finally:
        scene.remove()
    return results, commands
