"""What is expected of a story, before it is played."""

import re
import unittest

import bench
import soak
import story


def expected(faults, orders=(), length=300):
    chapter = story.Chapter("host", 100, length, story.faults(faults), orders)
    return story.expected(chapter, story.holds(soak.rules()))


def of(found, alert):
    return [one for one in found if one.alert == alert and one.must]


class Story(unittest.TestCase):
    def test_every_fault_of_a_demo_has_its_consequences(self):
        played = {fault.kind for chapter in story.LONG for fault in chapter.faults}
        self.assertEqual(set(story.CONSEQUENCES), played)
        faults = (bench.ROOT / "src" / "cli" / "demo_faults.rs").read_text()
        known = set(re.findall(r'fault\(\w+, "([\w-]+)"', faults))
        # Figures that can't be read are no fault, and MpsEngineUnreadable has a test of its own.
        self.assertEqual(known - played, {"metrics-hang", "metrics-flood"})

    def test_an_alert_must_fire_after_its_wait_and_may_from_its_condition_on(self):
        [reset] = of(expected("reset-needed@20 gpu-repaired@80"), "MpsGpuResetNeeded")
        self.assertEqual(reset.may, (118, 180 + story.LATE))
        self.assertEqual(reset.must, (120 + story.LATE, 178))
        self.assertEqual(dict(reset.labels), {"instance": "host", "gpu": "0"})

    def test_five_restarts_spend_the_budget_and_the_sixth_waits(self):
        kills = " ".join(f"server-kill@{at}" for at in (10, 20, 30, 40, 50, 60))
        found = expected(kills, (story.Order(250, ("stop", story.GROUP)),))
        self.assertEqual(len(of(found, "MpsRestartBudgetSpent")), 1)
        self.assertEqual(len(of(found, "MpsGroupDown")), 1)
        self.assertFalse(of(expected(kills.rsplit(" ", 1)[0]), "MpsGroupDown"))

    def test_an_engine_that_dies_five_times_is_quarantined_until_it_is_released(self):
        deaths = " ".join(f"sigkill-idle:qwen-a@{at}" for at in (10, 20, 30, 40, 50))
        [out] = of(expected(deaths, (story.release("qwen-a", 200),)), "MpsEngineQuarantined")
        self.assertEqual(out.must[1], 100 + 198)
        self.assertFalse(of(expected(deaths.replace("qwen-a@50", "qwen-b@50")), "MpsEngineQuarantined"))

    def test_what_fires_without_being_expected_is_false_and_what_does_not_is_missing(self):
        found = expected("server-kill@20")
        faulted = {"alertname": "MpsGroupFaulted", "instance": "host", "group": story.GROUP, "fault": "server_died"}
        self.assertEqual(list(soak.false_alerts([(faulted, [(122, 181)])], found)), [])
        self.assertEqual(len(list(soak.false_alerts([(faulted, [(110, 181)])], found))), 1)
        self.assertEqual(len(list(soak.false_alerts([({**faulted, "fault": "gpu_fault"}, [(122, 181)])], found))), 1)
        self.assertEqual(list(soak.missing_alerts([(faulted, [(122, 181)])], found)), [])
        self.assertEqual(len(list(soak.missing_alerts([(faulted, [(122, 150)])], found))), 1)
        self.assertEqual(len(list(soak.missing_alerts([], found))), 1)

    def test_a_text_that_tells_an_age_or_an_address_is_wrong(self):
        labels = (("alertname", "MpsGroupFaulted"),)
        self.assertTrue(list(soak.wrong_words({labels: {"summary": "on 127.0.0.1:1", "description": "6.1 s ago"}})))


if __name__ == "__main__":
    unittest.main()
