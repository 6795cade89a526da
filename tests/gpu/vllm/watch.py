"""Looks at the watchdog and at the engines all along, and keeps whatever was not as it should be while all is calm."""

import http.client
import socket
import threading
import time

from group import GROUP, NAMES, Scrape, say
from loads import Caller
from outside import fetch

READY, METRICS, ENGINES = 0.1, 0.5, 1.0  # seconds from one look to the next
WELL = {200}


class Figures:
    """Of one phase: how often, how late, the most of something."""

    def __init__(self):
        self.lock, self.counts, self.most = threading.Lock(), {}, {}

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def high(self, what, value):
        with self.lock:
            self.most[what] = max(self.most.get(what, 0), value)

    def summary(self):
        with self.lock:
            return {"counts": dict(self.counts), "most": {key: round(value, 3) for key, value in self.most.items()}}


class Watch:
    """Readiness each 100 ms, the watchdog's metrics each 0.5 s, each engine's health and metrics each second, as a
    Prometheus beside the watchdog does it; idle connections to each engine all along."""

    def __init__(self, group):
        self.group, self.on = group, True
        self.phase, self.figures, self.events = "before", Figures(), []
        self.lock, self.states, self.pages = threading.Lock(), {}, 0
        self.first = self.counters(group.scrape())
        self.work = [threading.Thread(target=work, args=words, daemon=True) for work, *words in [
            (self.look_ready,), (self.look_metrics,), *[(self.look_engine, name) for name in NAMES],
            *[(self.scrape_engine, name) for name in NAMES], *[(self.keep_idle, name) for name in NAMES]]]
        for thread in self.work:
            thread.start()

    def enter(self, phase):
        """Begins a phase; what was counted in the one before."""
        done, self.figures, self.phase = self.figures, Figures(), phase
        return done.summary()

    def tell(self, key, state, well):
        """Keeps a change of what is watched, where it is not well or gets well again."""
        with self.lock:
            before = self.states.get(key)
            self.states[key] = state
        if state != before and not (well and before is None):
            event = {"at": round(time.monotonic(), 2), "phase": self.phase, "what": key, "is": state, "well": well}
            self.events.append(event)
            say("    CHANGED" if not well else "    again", key, state, f"({self.phase})")

    def every(self, seconds, look):
        while self.on:
            began = time.monotonic()
            try:
                look()
            except Exception as problem:  # a plan that fails to look must not seem calm
                self.tell("the plan's own look", repr(problem)[:200], False)
            time.sleep(max(0.0, began + seconds - time.monotonic()))

    # ---------------------------------------------------------------- the watchdog

    def look_ready(self):
        def look():
            began = time.monotonic()
            status, text = fetch(f"http://{self.group.listen}/-/ready?group={GROUP}")
            self.figures.count(f"ready {status}")
            self.figures.high("ready_s", time.monotonic() - began)
            self.tell("/-/ready", f"{status} {text.strip()[:150]}" if status != 200 else "200", status in WELL)
        self.every(READY, look)

    def look_metrics(self):
        self.every(METRICS, lambda: self.judge(self.group.scrape()))

    def judge(self, page):
        self.tell("/metrics", "answers" if page.samples else "does not answer", bool(page.samples))
        if not page.samples:
            return
        self.pages += 1
        for name in ("mps_faults_total", "mps_restarts_total", "mps_engine_exits_total"):
            for labels, value in page.matching(name):
                key = f"{name} {named(labels)}"
                if value != self.first.get(key, 0):
                    self.tell(key, value - self.first.get(key, 0), False)
        for labels, value in page.matching("mpswarden_source_up"):
            self.tell(f"mpswarden_source_up {named(labels)}", value, value == 1)
        for labels, value in page.matching("mps_fault_active"):
            self.tell(f"mps_fault_active {named(labels)}", value, value == 0)
        for name in NAMES:
            state = of_state(page, "mps_engine_state", engine=name)
            self.tell(f"state of {name}", state, state == "serving")
            for what in ("running", "waiting"):
                self.figures.high(f"{what} {name}", page.total(f"mps_engine_requests_{what}", engine=name))
        state = of_state(page, "mps_group_state")
        self.tell("state of the group", state, state == "serving")
        for labels, value in page.matching("mps_engine_unknown"):
            if value:
                self.figures.count(f"unknown {named(labels)}")

    @staticmethod
    def counters(page):
        names = ("mps_faults_total", "mps_restarts_total", "mps_engine_exits_total", "mps_evidence_refuted_total")
        return {f"{name} {named(labels)}": value for name in names for labels, value in page.matching(name)}

    def refuted(self):
        """What was taken for evidence at first and was none, since the watch began: by labels."""
        now, name = self.counters(self.group.scrape()), "mps_evidence_refuted_total"
        return {key.removeprefix(name).strip(): value - self.first.get(key, 0) for key, value in now.items()
                if key.startswith(name) and value != self.first.get(key, 0)}

    # ---------------------------------------------------------------- the engines

    def look_engine(self, name):
        self.ask_engine(name, "/health", "health")

    def scrape_engine(self, name):
        self.ask_engine(name, "/metrics", "metrics")

    def ask_engine(self, name, path, what):
        """Over a connection that is kept, as Prometheus and load balancers do it."""
        caller = Caller(self.group.ports[name], timeout=30)

        def look():
            began = time.monotonic()
            try:
                status, _ = caller.ask(path)
            except (OSError, http.client.HTTPException) as problem:
                status = type(problem).__name__
            if status not in WELL:
                self.figures.count(f"{what} {name} {status}")
            self.figures.high(f"{what} {name}", time.monotonic() - began)
        self.every(ENGINES, look)

    def keep_idle(self, name):
        """Ten connections on which nothing was ever said, ten on which a request was answered a while ago."""
        silent, spoken = [], [Caller(self.group.ports[name]) for _ in range(10)]

        def renew():
            silent.extend(quiet(self.group.ports[name]) for _ in range(10 - len(silent)))
            for caller in spoken:
                try:
                    caller.ask("/v1/models")
                except (OSError, http.client.HTTPException):
                    pass
        self.every(3.0, renew)
        for connection in silent:
            connection.close()

    def stop(self):
        """They end by themselves; one that waits for an engine is left behind."""
        self.on, until = False, time.monotonic() + 5
        for thread in self.work:
            thread.join(max(until - time.monotonic(), 0))


def quiet(port):
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def named(labels):
    """The labels that say something, but for the group's."""
    return " ".join(f"{key}={value}" for key, value in sorted(labels.items()) if value and key != "group")


def of_state(page, metric, **labels):
    return ",".join(sorted(has["state"] for has, value in page.matching(metric, **labels) if value == 1)) or "none"


def kinds(page: Scrape):
    """What each engine is taken for."""
    return {labels.get("engine", ""): labels.get("kind", "not told") for labels, _ in page.matching("mps_engine_info")}
