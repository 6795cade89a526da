"""Turns results.json into tables: a short one for the terminal, markdown for docs/h200.md. Measures nothing.

usage: python3 tests/gpu/report.py results.json > tables.md
"""

import json
import sys

STEPS = ("decide", "kill", "gone", "memory", "active", "backoff", "start", "ready")
SUMS = {
    "decide and kill": ("decide", "kill"),
    "evidence to all gone": ("decide", "kill", "gone"),
    "start and ready": ("start", "ready"),
}
CASES = (
    "illegal address", "trap", "server killed", "control killed", "lingering clients", "control wedged", "large memory",
    "engines of another user", "idle engine killed", "foreign process",
)
# What the driver alone needs, in ms, measured by hand with three clients on an H200 (driver 580.159.04).
FLOOR = {
    "clients": {
        "evidence to all gone": "159 to 167",
        "active": "19 to 24",
        "start and ready": "400 to 416 (contexts, all at once)",
    },
    "daemon": {
        "evidence to all gone": "151 to 167",
        "active": "875 to 891 (quit 337 to 346, daemon up 38 to 40, server 501 to 506)",
        "start and ready": "400 to 416 (contexts, all at once)",
    },
}
LARGE_GONE = "291 (kill to reaped, 3 x 40 GB)"


def quantile(values, share):
    """The value at that share of the sorted ones, by nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, round(share * (len(ranked) - 1))))]


def runs_of(results, case):
    """The runs of one case, those that never served again among them."""
    return [run for run in results["runs"] if run["case"] == case]


def tier_of(runs):
    """The tier that most of these runs took: engine, clients or daemon."""
    tiers = [tier for run in runs for tier in run.get("recovery", {})]
    return max(tiers, key=tiers.count) if tiers else "none"


def measures(runs):
    """Name and values in seconds of everything measured, in the order of an incident."""
    done = [run for run in runs if "total" in run]
    rows = {"total": [run["total"] for run in done]}
    rows["injection to not serving"] = [run["not_serving"] for run in done if "not_serving" in run]
    rows["detection"] = [sum(run["detection"].values()) for run in done if run.get("detection")]
    stepped = [run["steps"] for run in done if run.get("steps")]
    for step in STEPS:
        if any(step in steps for steps in stepped):
            rows[step] = [steps.get(step, 0.0) for steps in stepped]
    for name, parts in SUMS.items():
        rows[name] = [sum(steps.get(step, 0.0) for step in parts) for steps in stepped]
    rows["decision to serving"] = [sum(run["recovery"].values()) for run in done if run.get("recovery")]
    return {name: values for name, values in rows.items() if values}


def failed(results):
    """Every failure, in words."""
    found = [f"{run['case']} {run['run']}: {what}" for run in results["runs"] for what in run["failures"]]
    for part in ("idle", "stop", "stop_large", "stop_other_user"):
        found += [f"{part}: {what}" for what in (results.get(part) or {}).get("failures", [])]
    found += [f"ended early: {results['ended_early']}"] if "ended_early" in results else []
    left_out = results.get("left_out", [])
    return found + ([f"left out, for want of time or hope: {', '.join(left_out)}"] if left_out else [])


def milliseconds(seconds):
    return f"{seconds * 1000:.1f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"


def short(results):
    """A table for the terminal: p50 (min to max) in ms of each case's measures."""
    lines = ["", f"{'case':<22}{'runs':>5}{'failed':>7}   p50 (min..max) in ms"]
    for case in CASES:
        runs = runs_of(results, case)
        if not runs:
            lines.append(f"{case:<22}{0:>5}")
            continue
        bad = sum(1 for run in runs if run["failures"])
        parts = []
        for name, values in measures(runs).items():
            if name in ("total", "detection") or name in STEPS:
                low, middle, high = (milliseconds(quantile(values, share)) for share in (0, 0.5, 1))
                parts.append(f"{name} {middle} ({low}..{high})")
        lines.append(f"{case:<22}{len(runs):>5}{bad:>7}   {', '.join(parts)}")
    for part in ("idle", "stop", "stop_large", "stop_other_user"):
        if results.get(part):
            lines.append(f"{part}: {json.dumps(results[part])}")
    failures = failed(results)
    lines.append(f"{len(failures)} failures" + "".join(f"\n  {what}" for what in failures[:30]))
    lines += [f"note: {note[:300]}" for note in results["notes"][-5:]]
    return "\n".join(lines)


def floor_of(case, tier, name):
    if name == "decide and kill":
        return "the watchdog's own: under 30"
    if case == "large memory" and name == "gone":
        return LARGE_GONE
    if case == "large memory" or case == "control wedged":
        return ""
    return FLOOR.get(tier, {}).get(name, "")


def table(case, runs):
    """One case as markdown: a row for each measure."""
    tier = tier_of(runs)
    bad = sum(1 for run in runs if run["failures"])
    lines = [f"### {case[0].upper()}{case[1:]} ({len(runs)} runs, {bad} failed, tier {tier})", ""]
    lines += ["| ms | min | p50 | p90 | max | floor |", "|---|---:|---:|---:|---:|---|"]
    for name, values in measures(runs).items():
        cells = " | ".join(milliseconds(quantile(values, share)) for share in (0, 0.5, 0.9, 1))
        lines.append(f"| {name} | {cells} | {floor_of(case, tier, name)} |")
    return "\n".join(lines) + "\n"


def idle_table(idle, last):
    commands = sum(idle["commands"].values())
    return (
        f"### Nothing happening, {idle['seconds']:.0f} s\n\n| | | target |\n|---|---:|---|\n"
        f"| CPU, share of a core | {idle['cpu_ratio']:.2%} | under 0.2 % |\n"
        f"| resident memory | {idle['resident_mib']:.1f} MiB | |\n"
        f"| of that, what nvmlInit alone makes resident in a fresh Python | {idle['nvml_mib']:.1f} MiB | |\n"
        f"| the rest | {idle['resident_mib'] - idle['nvml_mib']:.1f} MiB | under 20 MiB |\n"
        f"| after all recoveries | {last or float('nan'):.1f} MiB | |\n"
        f"| control commands | {commands:.0f} | at most one every 10 s |\n"
    )


def markdown(results):
    """All tables, and every failure in words."""
    about = results.get("about", {})
    parts = [", ".join(f"{key}: {value}" for key, value in about.items() if value) + "\n"]
    for case in CASES:
        runs = runs_of(results, case)
        if case == "foreign process" and runs:
            bad = sum(1 for run in runs if run["failures"])
            parts.append(f"### Foreign process's fault beside the group\n\n{len(runs)} runs, {bad} changed anything.\n")
        elif runs:
            parts.append(table(case, runs))
    if results.get("idle"):
        parts.append(idle_table(results["idle"], results.get("resident_mib_last")))
    if results.get("stop"):
        stop = results["stop"]
        parts.append(f"### SIGTERM\n\nExit status {stop['exit']} after {stop['seconds']:.2f} s.\n")
    failures = failed(results)
    parts.append("### Failures\n\n" + ("".join(f"- {what}\n" for what in failures) or "None.\n"))
    return "\n".join(parts)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print(markdown(json.load(file)))
