"""A soak: demos with their faults under a real Prometheus whose rules are ten times as quick, and a verdict: no alert that
the stories don't bring, and none missing. `README.md` says more.

    python3 tests/soak/soak.py --program target/debug/mpswarden [--short] [--alertmanager] [--keep DIRECTORY]
"""

import argparse
import collections
import json
import pathlib
import socket
import sys
import tempfile
import time

import bench
import page
import story
from tenth import tenth_of_rules

# Between two looks at what fires, and at what is to be done.
PAUSE = 1
# Words that an alert must not have: times told as ages, addresses.
FORBIDDEN = (" ago", "127.0.0.1", "every engine", "Every engine")


class Soak:
    """Chapters that run, and what was seen of them."""

    def __init__(self, program, directory, chapters, shipped, with_alertmanager):
        self.program, self.directory, self.chapters = program, directory, chapters
        self.alertmanager = bench.Alertmanager(directory, shipped) if with_alertmanager else None
        address = self.alertmanager.address if self.alertmanager else None
        self.prometheus = bench.Prometheus(directory, address, shipped)
        self.refused = []
        self.running = {}
        self.texts = {}
        self.looks = []
        self.began = time.time()
        self.delays = {}

    def run(self):
        """Plays every chapter to its end."""
        waiting = sorted(self.chapters, key=lambda chapter: chapter.begins)
        todo = {chapter.name: sorted(chapter.orders, key=lambda order: order.at) for chapter in self.chapters}
        while waiting or self.running:
            while waiting and self.now() >= waiting[0].begins:
                self.start(waiting.pop(0))
            for name, (chapter, demo) in list(self.running.items()):
                since = time.time() - demo.began
                while todo[name] and since >= todo[name][0].at:
                    words = todo[name].pop(0).words
                    refusal = demo.order(words)
                    self.refused += [f"REFUSED  {name}: {' '.join(words)}: {refusal}"] if refusal else []
                if since >= chapter.length:
                    self.prometheus.leave(name)
                    demo.end()
                    del self.running[name]
            self.read_texts()
            self.look_at_pages()
            time.sleep(PAUSE)
        self.ended = time.time()

    def now(self):
        return time.time() - self.began

    def start(self, chapter):
        demo = bench.Demo(self.program, self.directory / chapter.name, chapter)
        self.delays[chapter.name] = demo.began - self.began - chapter.begins
        self.prometheus.watch(chapter.name, demo.address)
        self.running[chapter.name] = (chapter, demo)
        print(f"{self.now():6.0f} s  {chapter.name}: {len(chapter.faults)} faults", flush=True)

    def read_texts(self):
        """What a person reads of each alert: Prometheus keeps it only while it fires."""
        for alert in self.prometheus.alerts():
            key = tuple(sorted(alert["labels"].items()))
            self.texts.setdefault(key, alert["annotations"])

    def look_at_pages(self):
        """What a person reads on each demo's page."""
        for name, (_, demo) in self.running.items():
            self.looks.append((self.now(), name, page.look(demo.address)))

    def end(self):
        for _, demo in self.running.values():
            demo.end()
        self.prometheus.end()
        if self.alertmanager:
            self.alertmanager.end()

    def verdict(self, expected):
        """What is false and what is missing, in words."""
        fired = list(self.prometheus.spans('ALERTS{alertstate="firing"}', self.began, self.ended))
        found = [*false_alerts(fired, self.shifted(expected)), *missing_alerts(fired, self.shifted(expected))]
        found += [*self.refused, *wrong_words(self.texts), *blind_sources(self.sources_down(), self.shifted(expected))]
        found += [*page.unsaid(self.looks, self.shifted(expected)), *page.cries(self.looks, self.chapters)]
        if self.alertmanager:
            found += wrong_pages(self.alertmanager.pages(), expected)
        return fired, found

    def sources_down(self):
        return self.prometheus.spans("mpswarden_source_up == 0", self.began, self.ended)

    def shifted(self, expected):
        """A demo that was up late on a loaded machine has its faults as much later."""
        return [shift(one, self.delays.get(dict(one.labels).get("instance"), 0)) for one in expected]


def shift(one, by):
    moved = lambda span: span and (span[0] + by, span[1] + by)  # noqa: E731
    return story.Expected(one.alert, one.labels, moved(one.may), moved(one.must))


def described(labels):
    rest = {k: v for k, v in labels.items() if k not in ("__name__", "alertname", "alertstate", "job", "node", "severity")}
    return f"{labels.get('alertname', '')} {rest}"


def false_alerts(fired, expected):
    """Spans of alerts that no expectation allows."""
    for labels, spans in fired:
        allowed = [one.may for one in expected if one.is_of(labels)]
        for begins, ends in spans:
            covered = all(any(span[0] <= at <= span[1] for span in allowed) for at in range(begins, ends + 1))
            if not covered:
                yield f"FALSE    {described(labels)} fired from {begins} to {ends} s; allowed: {rounded(allowed)}"


def missing_alerts(fired, expected):
    """Expectations that nothing fired for, all the time that it must."""
    for one in expected:
        if not one.must:
            continue
        spans = [span for labels, spans in fired if one.is_of(labels) for span in spans]
        seconds = {at for begins, ends in spans for at in range(begins, ends + 1)}
        silent = [at for at in range(round(one.must[0]), round(one.must[1])) if at not in seconds]
        # One evaluation that a loaded machine left out is no gap.
        if len(silent) > 2:
            yield f"MISSING  {one.alert} {dict(one.labels)} from {one.must[0]:.0f} to {one.must[1]:.0f} s; fired: {spans}"


# Alerts that a source may be blind for: by its name.
SIGHT = {
    "nvml": ("MpswardenBlind",),
    "engine": ("MpsEngineUnreadable", "MpsEngineHang"),
    "probe": ("MpsEngineHang", "MpswardenSourceDown"),
}


def blind_sources(down, expected):
    """Sources that are called blind though the story took nobody's sight."""
    for labels, spans in down:
        source = labels["source"]
        alerts = SIGHT.get(source, ())
        of_it = [one for one in expected if one.alert in alerts and dict(one.labels)["instance"] == labels["instance"]]
        # A wedged daemon is silent, as the alert that its fault comes to says.
        wedged = ("fault", "control_wedged")
        if source == "mps":
            of_it = [one for one in expected if wedged in one.labels and dict(one.labels)["instance"] == labels["instance"]]
        # An alert comes later than the blindness that it is about, and a reading may fail once.
        allowed = [(one.may[0] - 160, one.may[1]) for one in of_it]
        for begins, ends in spans:
            if ends - begins > 3 and not any(span[0] <= begins and ends <= span[1] for span in allowed):
                yield f"BLIND    {described(labels)} from {begins} to {ends} s"


def wrong_words(texts):
    """Texts that name an address, an age instead of a time, or more engines than were hit."""
    node = socket.gethostname()
    for labels, annotations in texts.items():
        text = f"{annotations['summary']} {annotations['description']}"
        name = dict(labels)["alertname"]
        for word in FORBIDDEN:
            if word in text:
                yield f"WORDS    {name} says {word!r}: {text}"
        if name not in ("MpsFaultsAcrossFleet", "MpswardenAbsent") and node not in annotations["summary"]:
            yield f"WORDS    {name} does not name the node {node}: {annotations['summary']}"


def wrong_pages(pages, expected):
    """Pages that nobody expects, and a cause that pages in two groups of Alertmanager."""
    groups = collections.defaultdict(set)
    for group, alerts in pages:
        for labels in alerts:
            if not any(one.is_of(labels) for one in expected):
                yield f"PAGE     {described(labels)}"
            cause = labels["alertname"], labels.get("instance"), labels.get("gpu") or labels.get("group")
            groups[cause].add(tuple(sorted(group.items())))
    for cause, of in groups.items():
        if len(of) > 1:
            yield f"PAGE     {cause} came in {len(of)} groups of Alertmanager"


def rounded(spans):
    return [(round(begins), round(ends)) for begins, ends in spans]


def rules(shipped=bench.ROOT / "alerts"):
    return "\n".join(tenth_of_rules(file.read_text()) for file in sorted(shipped.glob("*.rules.yaml")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=bench.ROOT / "target" / "debug" / "mpswarden", type=pathlib.Path)
    parser.add_argument("--short", action="store_true", help="two minutes instead of twenty")
    parser.add_argument("--alertmanager", action="store_true", help="with a real Alertmanager, whose pages are looked at too")
    parser.add_argument("--alerts", default=bench.ROOT / "alerts", type=pathlib.Path, help="other rules than those shipped")
    parser.add_argument("--keep", type=pathlib.Path, help="where outputs are kept")
    arguments = parser.parse_args()
    chapters = story.SHORT if arguments.short else story.LONG
    lasts = collections.defaultdict(float, story.holds(rules(arguments.alerts)))
    expected = [one for chapter in chapters for one in story.expected(chapter, lasts)]
    expected += story.across_the_fleet(chapters)
    print(f"expected: {sum(one.must is not None for one in expected)} alerts, and {len(expected)} that may come", flush=True)
    with tempfile.TemporaryDirectory(prefix="mw-soak-", dir="/tmp") as directory:
        directory = arguments.keep or pathlib.Path(directory)
        directory.mkdir(exist_ok=True)
        soak = Soak(arguments.program.resolve(), directory, chapters, arguments.alerts, arguments.alertmanager)
        try:
            soak.run()
            fired, wrong = soak.verdict(expected)
        finally:
            soak.end()
    for labels, spans in sorted(fired, key=lambda one: one[1][0]):
        print(f"fired    {described(labels)} {spans}")
    print("\n".join(wrong))
    kinds = collections.Counter(line.split()[0] for line in wrong)
    print(json.dumps({"fired": len(fired), "false": kinds["FALSE"], "missing": kinds["MISSING"], "blind": kinds["BLIND"],
                      "words": kinds["WORDS"], "pages": kinds["PAGE"]}))  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
