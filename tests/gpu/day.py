"""An ordinary day: the figures against what others say of the same GPU, and every order of an operator.

Runs over the real stage or the simulated one, as drive.py does. Prints a table of checks last, writes day.json.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time

from drive import described, options, resident
from outside import Scrape, alive, fetch, stat, wait_for
from stage import RealStage, SimulatedStage

MIB = 1 << 20
SMS = 132  # of an H200; an engine of the plan uses 16
SERVES = "mps_group_state"


class Day:
    """What was checked, and how it went."""

    def __init__(self, stage, out):
        self.stage, self.out, self.checks = stage, out, []
        self.socket = os.path.join(os.path.dirname(stage.configuration), "control.sock")

    def check(self, what, fine, seen=""):
        self.checks.append({"check": what, "ok": bool(fine), "seen": str(seen)[:300]})
        print(f"{time.strftime('%H:%M:%S')} {'ok  ' if fine else 'FAIL'} {what}: {str(seen)[:200]}", flush=True)
        return bool(fine)

    def terminal(self, *words, seconds=90):
        """A command of the terminal: (exit status, what it printed, how long it took)."""
        begin = time.monotonic()
        command = [self.stage.watchdog, words[0], "--control-socket", self.socket, *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        return done.returncode, done.stdout + done.stderr, time.monotonic() - begin

    def pids(self, role="engine"):
        """The leaders of the group's processes of that role, by engine."""
        members = [process for process in self.stage.members() if process.role == role]
        return {process.name or role: process for process in members if process.pid == process.session or role != "engine"}

    # ------------------------------------------------------------ figures

    def figures(self):
        """One engine works, then all: what the watchdog shows against what is known otherwise."""
        stage, group = self.stage, self.stage.group
        scrape = stage.scrape()
        self.check("clients", scrape.total("mps_clients") >= len(stage.engines), scrape.total("mps_clients"))
        attached = scrape.by("mps_engine_attached", "engine")
        self.check("attached", all(attached.get(engine.name) == 1 for engine in stage.engines), attached)
        for engine in stage.engines:
            self.engine_figures(engine)
        if not stage.simulated:
            self.activity()
        self.check("foreign processes", scrape.total("mps_foreign_processes") == 0 and
                   scrape.matching("mps_foreign_processes"), scrape.matching("mps_foreign_processes"))
        down = [labels for labels, up in scrape.matching("mpswarden_source_up") if up != 1]
        self.check("every source is up", not down, down)
        self.agree(group)

    def engine_figures(self, engine):
        name, stage = engine.name, self.stage
        scrape, own = stage.scrape(), Scrape(fetch(engine.url + "/metrics")[1])
        held = scrape.total("mps_engine_device_memory_bytes", engine=name) / MIB
        smi = self.memory_by_smi(name)
        if smi is not None:
            self.check(f"{name}: device memory, MiB", abs(held - smi) <= 2, f"{held:.0f}, nvidia-smi {smi:.0f}")
        shown = scrape.total("mps_engine_tokens_total", engine=name, kind="generation")
        made = own.total("vllm:generation_tokens_total") + own.total("sglang:generation_tokens_total")
        self.check(f"{name}: tokens", 0 < shown <= made, f"{shown:.0f}, the engine says {made:.0f}")
        host = scrape.total("mps_engine_resident_memory_bytes", engine=name) / MIB
        tree = self.tree(name)
        known = sum(filter(None, (resident(pid) for pid in tree)))
        self.check(f"{name}: host memory, MiB", known and abs(host - known) / known < 0.1, f"{host:.0f}, /proc {known:.0f}")
        cpu = scrape.total("mps_engine_cpu_seconds_total", engine=name)
        ticks = sum(found.ticks for found in map(stat, tree) if found) / os.sysconf("SC_CLK_TCK")
        self.check(f"{name}: CPU seconds", 0 <= cpu <= ticks + 1, f"{cpu:.2f}, /proc {ticks:.2f}")

    def tree(self, name):
        """The pids of an engine: its session."""
        leader = self.pids().get(name)
        members = [process for process in self.stage.members() if process.role == "engine"]
        return [process.pid for process in members if leader and process.session == leader.pid]

    def memory_by_smi(self, name):
        """MiB that nvidia-smi shows for an engine's processes; None where it shows none."""
        if self.stage.simulated:
            return None
        query = ["nvidia-smi", "-i", "0", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.splitlines()
        found = dict(re.findall(r"(\d+), *(\d+)", "\n".join(lines)))
        own = [float(found[str(pid)]) for pid in self.tree(name) if str(pid) in found]
        return sum(own) if own else None

    def activity(self):
        """SM activity with one, two and three engines of 16 SMs each, back to back: n x 16/132 of the SMs."""
        engines = self.stage.engines
        for count in (0, 1, 2, 3):
            for place, engine in enumerate(engines):
                self.stage.load(engine, place < count)
            wanted = count * 16 / SMS
            seen = []

            def steady():
                scrape = self.stage.scrape()
                seen.append(scrape.total("mps_gpu_sm_active_ratio") if scrape else -1)
                return len(seen) >= 4 and all(abs(value - wanted) < 0.02 for value in seen[-3:])

            reached = wait_for(steady, 15, 1.05)
            self.check(f"SM active with {count} engines", reached, f"{seen[-1]:.3f}, wanted {wanted:.3f}")
            others = {name: self.stage.scrape().matching(f"mps_gpu_{name}_ratio") for name in
                      ("sm_occupancy", "dram_active", "tensor_active", "busy")}
            shown = {name: round(found[0][1], 3) if found else None for name, found in others.items()}
            self.check(f"occupancy, DRAM, tensor, busy with {count} engines are shown", None not in shown.values(), shown)

    def agree(self, group):
        """The terminal, the API and the metrics say the same."""
        code, text, took = self.terminal("status", "--json")
        said = json.loads(text) if code == 0 else {}
        api = json.loads(fetch(f"http://{self.stage.listen}/api/v1/status")[1])
        scrape = self.stage.scrape()
        one, other = (next(iter(found.get("groups", [])), {}) for found in (said, api))
        same = [one.get(key) == other.get(key) for key in ("name", "state", "generation", "server", "clients")]
        same.append(scrape.total("mps_group_generation", group=group) == one.get("generation"))
        same.append(scrape.total(SERVES, group=group, state=str(one.get("state"))) == 1)
        self.check("terminal, API and metrics agree", all(same), f"{same}, in {took * 1000:.0f} ms")
        code, text, _ = self.terminal("status")
        self.check("status for people", code == 0 and group in text, text.splitlines()[:1])
        print(text)

    def scrapes(self, count=2000):
        """How long scrapes take, and how much memory the watchdog has."""
        took = []
        import http.client
        host, port = self.stage.listen.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        for _ in range(count):
            begin = time.perf_counter()
            connection.request("GET", "/metrics")
            size = len(connection.getresponse().read())
            took.append(time.perf_counter() - begin)
        series = sum(1 for line in self.stage.scrape().text.splitlines() if line and not line.startswith("#"))
        cut = statistics.quantiles(took, n=100)
        memory = resident(self.stage.process.pid)
        self.check("scrapes", cut[98] < 0.005, f"{series} series, {size} bytes, p50 {cut[49] * 1e3:.2f} ms, p99 "
                   f"{cut[98] * 1e3:.2f} ms by Python's client, resident {memory:.1f} MiB")

    # ------------------------------------------------------------ orders

    def ordered(self, words, renewed, kept=(), **more):
        """An order with --wait: these engines are new afterwards, those are the same and went on."""
        before = self.pids()
        code, text, took = self.terminal(*words, "--wait", **more)
        after = self.pids()
        new = [name for name in renewed if name in after and after[name] != before.get(name)]
        same = [name for name in kept if after.get(name) == before.get(name) and alive(before[name])]
        fine = code == 0 and len(new) == len(renewed) and len(same) == len(kept)
        serves = self.stage.ready()
        self.check(" ".join(words), fine and serves, f"status {code}, {took:.2f} s, new {new}, kept {same}, "
                   f"ready {serves} {'' if fine else text}")

    def orders(self):
        stage, group = self.stage, self.stage.group
        names = [engine.name for engine in stage.engines]
        for engine in stage.engines:
            stage.load(engine, True)
        code, text, _ = self.terminal("restart", group, "--dry-run")
        self.check("restart --dry-run changes nothing", code == 0 and text, text)
        self.ordered(["restart", group], names)
        self.ordered(["restart", group, "--tier", "daemon"], names)
        for name in names:
            others = [other for other in names if other != name]
            self.ordered(["evict", f"{group}/{name}"], [name], others)
        self.stop_and_start(group, names)
        self.hold(group)
        self.reload(group, names)
        code, text, _ = self.terminal("restart", "nobody")
        self.check("an order for a group that is not there", code != 0 and group in text, text)
        code, text, _ = self.terminal("incidents")
        self.check("incidents for people", code == 0 and "gpu_fault" in text, text.splitlines()[:3])
        print(text)

    def stop_and_start(self, group, names):
        first, *others = names
        before = self.pids()
        code, text, took = self.terminal("stop", f"{group}/{first}", "--wait")
        gone = not alive(before[first])
        kept = all(alive(before[name]) for name in others)
        self.check("stop of one engine", code == 0 and gone and kept, f"status {code}, {took:.2f} s {text}")
        stuck = self.stage.progressing([engine for engine in self.stage.engines if engine.name in others])
        self.check("the others go on", not stuck, f"stuck: {stuck}")
        self.ordered(["start", f"{group}/{first}"], [first], others)
        code, text, took = self.terminal("stop", group, "--wait")
        left = self.stage.members()
        self.check("stop of the group", code == 0 and not left, f"status {code}, {took:.2f} s, left {left} {text}")
        self.ordered(["start", group], names)

    def hold(self, group):
        code, text, _ = self.terminal("hold", group, "--for", "10m", "--reason", "a look at the GPU")
        self.check("hold", code == 0, text)
        before, engine = self.stage.scrape(), self.stage.engines[0]
        self.stage.inject("trap" if not self.stage.simulated else "illegal-address", engine)
        suppressed = lambda: self.stage.scrape().total("mps_actions_suppressed_total", reason="hold") > 0
        seen = wait_for(suppressed, 20)
        after = self.stage.scrape()
        same = after.total("mps_group_generation") == before.total("mps_group_generation")
        self.check("a fault in a hold is told and not acted on", seen and same, after.by(
            "mps_actions_suppressed_total", "action", reason="hold"))
        begin = time.monotonic()
        code, text, _ = self.terminal("resume", group)
        serves = wait_for(lambda: self.stage.ready() and self.stage.scrape().total("mps_group_generation") >
                          before.total("mps_group_generation"), 60, 0.05)
        self.check("after it the group is restarted", code == 0 and serves, f"{time.monotonic() - begin:.2f} s {text}")

    def reload(self, group, names):
        first, *others = names
        with open(self.stage.configuration) as file:
            text = file.read()
        marked = re.sub(rf'(\[\[group\.engine\]\]\nname = "{first}"\n)', r'\1environment = { CHANGED = "1" }' + "\n", text)
        with open(self.stage.configuration, "w") as file:
            file.write(marked)
        before = self.pids()
        code, said, _ = self.terminal("reload")
        rolled = wait_for(lambda: self.pids().get(first) not in (None, before[first]) and self.stage.ready(), 60, 0.05)
        kept = all(self.pids().get(name) == before[name] for name in others)
        self.check("reload rolls the changed engine alone", code == 0 and rolled and kept, said)
        with open(self.stage.configuration, "w") as file:
            file.write(marked + "\nnonsense = 1\n")
        code, said, _ = self.terminal("reload")
        failed = self.stage.scrape().total("mpswarden_config_last_reload_successful") == 0
        self.check("a broken file is refused and the group serves", code != 0 and failed and self.stage.ready(), said)
        with open(self.stage.configuration, "w") as file:
            file.write(marked)
        self.check("a mended file is taken up", self.terminal("reload")[0] == 0)
        with open(self.stage.configuration, "w") as file:
            file.write(text)


def main():
    chosen = options()
    watchdog = os.path.abspath(chosen.watchdog)
    stage = SimulatedStage(watchdog, chosen.out) if chosen.simulated else RealStage(watchdog, chosen.out, chosen.engine)
    day = Day(stage, chosen.out)
    stage.control_socket = day.socket
    problem = None
    try:
        stage.configure()
        stage.start()
        if not stage.wait_ready(90):
            raise RuntimeError(f"the group does not serve: {stage.status()[:1000]}")
        stage.progressing(stage.engines)
        for engine in stage.engines:
            stage.load(engine, True)
        wait_for(lambda: all(stage.scrape().total("mps_engine_tokens_total", engine=engine.name) > 0
                             for engine in stage.engines), 20, 0.1)
        day.figures()
        day.scrapes()
        day.orders()
        code, took = stage.stop(60)
        day.check("SIGTERM: stopped in order", code == 0 and not stage.members(), f"status {code}, {took:.2f} s")
    except Exception as error:  # what was found so far is kept
        problem = f"{type(error).__name__}: {error}"
        day.check("the plan ran to its end", False, problem)
    finally:
        stage.keep_metrics()
        stage.kill_all()
        stage.keep_logs()
        with open(os.path.join(chosen.out, "day.json"), "w") as file:
            json.dump({"about": described(watchdog), "checks": day.checks}, file, indent=1)
    failed = [check for check in day.checks if not check["ok"]]
    print(f"\n{len(day.checks)} checks, {len(failed)} failed")
    for check in failed:
        print(f"FAIL {check['check']}: {check['seen']}")
    return 1 if failed or problem else 0


if __name__ == "__main__":
    sys.exit(main())
