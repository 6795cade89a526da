"""How long starts take: one engine alone three times, both by the watchdog's default, both by turns of their memory."""

import statistics
import time

from group import GROUP, NAMES, born, say
from outside import alive

DEFAULT = "default"  # the order that the watchdog takes by itself: at once, since these engines fix their memory
MOST = 1.4  # both at once, of one alone
SINGLE, BOTH = 50.0, 75.0  # seconds of one start, and of a group's, about
WAIT = 150.0


class Starts:
    """Without load, so that only the starts count."""

    def __init__(self, group, options, left):
        self.group, self.options, self.left = group, options, left
        self.record = {"single": [], "left_out": [], "wrong": []}

    def run(self):
        for number in range(3):
            self.when_there_is_time(SINGLE, f"single start {number + 1}", self.single)
        self.when_there_is_time(BOTH, "both", lambda: self.both(DEFAULT))
        self.judge()
        self.when_there_is_time(BOTH + 20, "staggered", self.staggered)
        return self.record

    def when_there_is_time(self, needed, name, work):
        if self.left() < needed:
            self.record["left_out"].append(f"{name} (no time)")
        elif self.group.wait_ready(30) is None:
            self.record["left_out"].append(f"{name} (the group does not serve)")
        else:
            time.sleep(2)
            work()

    def single(self):
        seen = self.restart(("evict", f"{GROUP}/a"), ["a"])
        if seen:
            self.record["single"].append(seen["a"]["took_s"])
            say("single start of a:", seen)

    def both(self, order):
        seen = self.restart(("restart", GROUP), list(NAMES))
        if seen:
            self.record[order] = seen | {"took_s": self.whole(seen)}
            say(order, self.record[order])

    def staggered(self):
        """The other order counts from the next restart on."""
        before = self.group.start_order
        try:
            self.group.configure("staggered")
            status, text = self.group.order("reload")
            if status != 0:
                self.record["left_out"].append(f"staggered ({text[-200:]})")
                return
            self.both("staggered")
        finally:
            self.group.configure(before)
            self.group.order("reload")

    @staticmethod
    def whole(seen):
        """From the first process's start until both serve."""
        engines = [seen[name] for name in NAMES]
        return round(max(one["serving_s"] for one in engines) - min(one["started_s"] for one in engines), 2)

    def restart(self, words, names):
        """Gives the order and follows the engines: seconds from the order; None: they did not all serve."""
        old = {name: self.group.main(name) for name in names}
        began, log_at = time.monotonic(), self.group.log_size()
        status, text = self.group.order(*words)
        if status != 0:
            self.record["wrong"].append(f"{' '.join(words)}: {text[-200:]}")
            return None
        seen = {}
        while time.monotonic() - began < WAIT and len(seen) < len(names):
            family, page = self.group.family.look(), self.group.scrape()
            for name in names:
                new = self.group.main(name, family)
                fresh = new and new != old[name] and alive(new)
                if fresh and name not in seen and page.total("mps_engine_state", engine=name, state="serving") == 1:
                    serving = time.monotonic() - began
                    took = born(new)
                    seen[name] = {"started_s": round(serving - took, 2), "serving_s": round(serving, 2),
                                  "took_s": round(took, 2)}
            time.sleep(0.03)
        if len(seen) == len(names):
            return seen
        lines = "\n".join(self.group.said(log_at)[-12:])
        self.record["wrong"].append(f"{' '.join(words)}: only {sorted(seen)} served within {WAIT:.0f} s: {lines}")
        return None

    def judge(self):
        single, both = self.record["single"], self.record.get(DEFAULT)
        if len(single) < 3 or not both:
            return
        self.record["median_s"] = round(statistics.median(single), 2)
        self.record["ratio"] = round(both["took_s"] / self.record["median_s"], 3)
        if self.record["ratio"] > MOST:
            self.record["wrong"].append(f"both took {self.record['ratio']} times one alone, over {MOST}")


def table(record):
    lines = [f"single starts of a: {', '.join(f'{took:.1f} s' for took in record['single']) or 'none'}"
             + (f"; median {record['median_s']} s" if "median_s" in record else "")]
    for order in (DEFAULT, "staggered"):
        if order in record:
            one = record[order]
            each = "; ".join(f"{name} from {one[name]['started_s']} to {one[name]['serving_s']} s" for name in NAMES)
            judged = order == DEFAULT and "ratio" in record
            ratio = f", {record['ratio']} times the median (at most {MOST})" if judged else ""
            lines.append(f"both, {order} order: {one['took_s']} s{ratio}; after the order {each}")
    lines.append(f"left out: {', '.join(record['left_out']) or 'none'}")
    return lines
