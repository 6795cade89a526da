"""Rules of Prometheus, ten times as quick: every `for`, every range, every offset, and every span that is compared with
the age of a timestamp, divided by ten. All else stays as it is, letter for letter.

    python3 tests/soak/tenth.py alerts/*.rules.yaml -o DIRECTORY
"""

import argparse
import pathlib
import re

TENTH = 10
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DURATION = r"(?:\d+(?:ms|[smhdw]))+"
# Smaller numbers beside an age are counts and states, not spans of seconds.
SHORTEST_SPAN = 60


def millis(text):
    """A duration of Prometheus, `1h30m`, in milliseconds."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdw])", text))


def tenth(text):
    """A tenth of a duration, in Prometheus' spelling."""
    left = millis(text) // TENTH
    if left * TENTH != millis(text):
        raise ValueError(f"{text} has no tenth in whole milliseconds")
    return f"{left // 1000}s" if left % 1000 == 0 else f"{left}ms"


def tenth_of_expression(expr):
    """An expression with each of its spans divided."""
    outside_of_strings = re.split(r'("(?:[^"\\]|\\.)*")', expr)
    is_about_age = "time()" in expr
    for place in range(0, len(outside_of_strings), 2):
        outside_of_strings[place] = _tenth_of_code(outside_of_strings[place], is_about_age)
    return "".join(outside_of_strings)


def _tenth_of_code(code, is_about_age):
    code = re.sub(rf"(?<=[\[:]){DURATION}(?=[:\]])", lambda found: tenth(found.group()), code)
    code = re.sub(rf"(?<=offset ){DURATION}", lambda found: tenth(found.group()), code)
    return re.sub(r"(?<![\w.])\d+(?![\w.])", _tenth_of_seconds, code) if is_about_age else code


def _tenth_of_seconds(found):
    seconds = int(found.group())
    if seconds < SHORTEST_SPAN:
        return found.group()
    if seconds % TENTH:
        raise ValueError(f"{seconds} s have no tenth in whole seconds")
    return str(seconds // TENTH)


def tenth_of_rules(text):
    """A file of rules with each of its spans divided. Comments stay."""
    lines, block = [], None
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip())
        if block is not None and line.strip() and indent <= block:
            block = None
        if re.match(r"\s*#", line):
            lines.append(line)
        elif block is not None:
            lines.append(("expr", line))
        elif found := re.match(rf"(\s*for: )({DURATION})(\s*)$", line):
            lines.append(f"{found[1]}{tenth(found[2])}{found[3]}")
        elif found := re.match(r"(\s*(?:- )?expr: )(.*\n?)$", line):
            if found[2].strip() in ("|", ">", "|-", ">-"):
                block = len(found[1]) - len(found[1].lstrip())
                lines.append(line)
            else:
                lines.append(found[1] + tenth_of_expression(found[2]))
        else:
            lines.append(line)
    return "".join(_joined(lines))


def _joined(lines):
    """Lines of one expression are divided together: its first line may say what its last is about."""
    expression = []
    for line in lines + [""]:
        if isinstance(line, tuple):
            expression.append(line[1])
            continue
        if expression:
            yield tenth_of_expression("".join(expression))
            expression = []
        yield line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("-o", "--output", required=True, type=pathlib.Path, help="the directory of the divided ones")
    arguments = parser.parse_args()
    for file in arguments.files:
        (arguments.output / file.name).write_text(tenth_of_rules(file.read_text()))


if __name__ == "__main__":
    main()
