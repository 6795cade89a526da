"""What is divided, what is not, and that Prometheus takes what comes of the shipped rules.

python3 -m unittest discover -s tests/soak
"""

import pathlib
import re
import unittest

from tenth import tenth, tenth_of_expression, tenth_of_rules

ALERTS = pathlib.Path(__file__).resolve().parents[2] / "alerts"


class Tenth(unittest.TestCase):
    def test_a_duration_becomes_a_tenth_in_whole_seconds_or_milliseconds(self):
        for whole, part in [("10m", "60s"), ("15m", "90s"), ("1h", "360s"), ("1d", "8640s"), ("1h30m", "540s"), ("5s", "500ms")]:
            self.assertEqual(tenth(whole), part)

    def test_a_duration_without_a_tenth_is_refused(self):
        with self.assertRaises(ValueError):
            tenth("1ms")

    def test_ranges_subqueries_and_offsets_are_divided(self):
        for whole, part in [
            ("increase(a[15m]) > 5", "increase(a[90s]) > 5"),
            ("last_over_time((a unless b)[1h:1m]) == 1", "last_over_time((a unless b)[360s:6s]) == 1"),
            ("a unless a offset 1h", "a unless a offset 360s"),
        ]:
            self.assertEqual(tenth_of_expression(whole), part)

    def test_a_span_beside_an_age_is_divided_and_a_count_is_not(self):
        self.assertEqual(tenth_of_expression("a > time() - 600"), "a > time() - 60")
        self.assertEqual(tenth_of_expression("a < time() - 4 * 3600"), "a < time() - 4 * 360")
        self.assertEqual(tenth_of_expression("abs(time() - a) > 60"), "abs(time() - a) > 6")

    def test_a_number_that_is_no_span_stays(self):
        for same in ("a > 128 * 1024 * 1024", "a_seconds < 3600", "a / b >= 0.9"):
            self.assertEqual(tenth_of_expression(same), same)

    def test_words_stay_whatever_they_look_like(self):
        same = 'a{xid=~"46|480|[15m]"} > time() - 30'
        self.assertEqual(tenth_of_expression(same), same)

    def test_of_a_file_expressions_and_waits_are_divided_and_nothing_else(self):
        rules = (
            "groups:\n  - name: g\n    rules:\n      - alert: A\n"
            "        # After 15m, see [1h].\n        expr: a[1h]\n        for: 15m\n"
            "        annotations:\n          summary: For 15m, [1h] and 600 s.\n"
            "      - alert: B\n        expr: |\n          mps_x > 1\n          and b > time()\n          - 600\n        for: 1m\n"
        )
        divided = tenth_of_rules(rules)
        self.assertEqual(
            divided,
            rules.replace("expr: a[1h]", "expr: a[360s]")
            .replace("for: 15m\n", "for: 90s\n")
            .replace("- 600\n", "- 60\n")
            .replace("for: 1m", "for: 6s"),
        )

    def test_every_wait_and_range_of_the_shipped_rules_is_a_tenth(self):
        spans = r"\[(\d\w*)|offset (\d\w*)|\n\s+for: (\w+)\n"
        for file in sorted(ALERTS.glob("*.rules.yaml")):
            # Templates ask Prometheus too: what they read is for people, and no window of a rule.
            bare = re.compile(r"{{.*?}}|^\s*#.*$", re.MULTILINE)
            text, divided = (bare.sub("", one) for one in (file.read_text(), tenth_of_rules(file.read_text())))
            before, after = ([next(filter(None, found)) for found in re.findall(spans, one)] for one in (text, divided))
            self.assertEqual([tenth(span) for span in before], after, file.name)
            self.assertEqual(len(text.splitlines()), len(divided.splitlines()))


if __name__ == "__main__":
    unittest.main()
