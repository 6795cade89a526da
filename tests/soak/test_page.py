"""Tests of how the page is read, and of what it must say."""

import unittest

import bench
import page
import story

PAGE = (
    '<section class="head edge-bad"><h2 id="headline"><strong>small-llms/qwen-a is quarantined and not started any more'
    '</strong><span class="since">, since 09:29:24 UTC (29 s)</span><span class="why">: it&#39;s over</span></h2>'
    '<p class="todo"><b>What to do: </b>mend it: <code>mpswarden release small-llms/qwen-a</code></p>'
    '<ul class="others"><li class="wait"><p><strong>other</strong></p><p class="todo">What to do: nothing</p></li></ul>'
    "</section><section>"
)


def expected(engine, must=(100, 120)):
    labels = (("engine", engine), ("group", "small-llms"), ("instance", "quarantine"))
    return story.Expected("MpsEngineQuarantined", labels, (90, 130), must)


def looks(seen):
    return [(at, "quarantine", seen) for at in range(90, 130)]


class ThePage(unittest.TestCase):
    def test_every_line_is_read_with_what_to_do(self):
        self.assertEqual(
            page.concerns(PAGE),
            [
                (
                    "small-llms/qwen-a is quarantined and not started any more, since 09:29:24 UTC (29 s): it's over",
                    "mend it: mpswarden release small-llms/qwen-a",
                ),
                ("other", "nothing"),
            ],
        )

    def test_what_an_alert_is_about_is_found_and_missed(self):
        seen = page.concerns(PAGE)
        self.assertEqual(list(page.unsaid(looks(seen), [expected("qwen-a")])), [])
        self.assertEqual(list(page.unsaid(looks(seen), [expected("qwen-b", None)])), [])
        self.assertEqual(len(list(page.unsaid(looks(seen), [expected("qwen-b")]))), 1)
        self.assertEqual(len(list(page.unsaid(looks([]), [expected("qwen-a")]))), 1)

    def test_a_page_that_cries_before_the_first_fault_is_found(self):
        chapter = story.Chapter("quarantine", 90, 100, story.faults("zombie:qwen-a@30"))
        self.assertEqual(len(list(page.cries(looks(page.concerns(PAGE)), [chapter]))), 12)
        well = [("All 3 engines serve, since 09:29:24 UTC (29 s)", "nothing")]
        self.assertEqual(list(page.cries(looks(well), [chapter])), [])

    def test_every_alert_that_the_page_must_say_is_one(self):
        rules = "".join(file.read_text() for file in (bench.ROOT / "alerts").glob("*.rules.yaml"))
        self.assertEqual([name for name in page.SAYS if f"- alert: {name}\n" not in rules], [])


if __name__ == "__main__":
    unittest.main()
