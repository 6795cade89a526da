"""Who did it: faults with a known culprit on a real GPU, and what the watchdog says of each. Innocents must not be convicted.

From the repository root: OUT=/tmp/out bash tests/gpu/run.sh --who
"""

import argparse
import json
import os
import signal
import sys

from outside import fetch, wait_for
from stage import RealStage

LONG_KERNEL = "2000000"  # us: a kill with it in flight faults all others


def incidents(stage):
    """Incidents of gpu_fault that are over, oldest first."""
    status, text = fetch(f"http://{stage.listen}/api/v1/incidents")
    known = json.loads(text)["incidents"] if status == 200 else []
    return [one for one in reversed(known) if one["fault"] == "gpu_fault" and one["ended_at"]]


def kill_main(stage, engine):
    """SIGKILL of an engine's main process."""
    engines = json.loads(fetch(f"http://{stage.listen}/api/v1/status")[1])["groups"][0]["engines"]
    main = next(one["main"]["pid"] for one in engines if one["name"] == engine.name)
    os.kill(main, signal.SIGKILL)
    return True


def give_long_kernels(stage, name):
    """The engine of that name runs kernels of two seconds."""
    with open(stage.configuration) as file:
        lines = file.read().splitlines()
    mine = f'"--name", "{name}"'
    lines = [line.replace('"1000"', f'"{LONG_KERNEL}"') if mine in line else line for line in lines]
    with open(stage.configuration, "w") as file:
        file.write("\n".join(lines) + "\n")


def try_one(stage, number, case, act, culprit):
    """One fault and the verdict on it."""
    before = len(incidents(stage))
    taken = act(stage, culprit)
    over = wait_for(lambda: len(incidents(stage)) > before, 60, 0.05)
    incident = incidents(stage)[-1] if over else {}
    stage.wait_ready(60)
    strengths = {held["engine"]: held["strength"] for held in incident.get("suspects", [])}
    convicted = [engine for engine, strength in strengths.items() if strength == "convicted"]
    row = {"case": case, "culprit": culprit.name, "taken": taken, "convicted": convicted, "strengths": strengths}
    row |= {"verdict": incident.get("verdict"), "wrong": any(engine != culprit.name for engine in convicted)}
    row["evidence"] = [[round(line["at_timestamp_seconds"] - incident["evidence_at_timestamp_seconds"], 4), line.get("engine"), line["word"], line["text"]]
                       for line in incident.get("evidence", [])]
    print(f"{number:2} {case:16} {culprit.name}  {row['verdict']}", flush=True)
    return row


def carry_out(stage, runs):
    """All of it, on engines that were started anew for the kills."""
    rows = []
    rounds = [("trap", "1000", lambda s, e: s.inject("trap", e)),
              ("illegal address", "1000", lambda s, e: s.inject("illegal-address", e)),
              ("killed busy", LONG_KERNEL, kill_main)]
    for case, kernel, act in rounds:
        stage.configure()
        if kernel == LONG_KERNEL:
            give_long_kernels(stage, "b")
        stage.start()
        if not stage.wait_ready(120):
            raise SystemExit(f"the group does not serve: {stage.status()}")
        for number in range(runs):
            culprit = stage.engines[1 if kernel == LONG_KERNEL else number % len(stage.engines)]
            stage.progressing(stage.engines)
            rows.append(try_one(stage, number + 1, case, act, culprit))
        stage.stop()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchdog", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--runs", type=int, default=6)
    chosen = parser.parse_args()
    stage = RealStage(os.path.abspath(chosen.watchdog), chosen.out, chosen.engine)
    rows = []
    try:
        rows = carry_out(stage, chosen.runs)
    finally:
        stage.kill_all()
        stage.keep_logs()
        with open(os.path.join(chosen.out, "who.json"), "w") as file:
            json.dump(rows, file, indent=1)
    for case in dict.fromkeys(row["case"] for row in rows):
        of = [row for row in rows if row["case"] == case]
        right = sum(row["convicted"] == [row["culprit"]] for row in of)
        print(f"{case}: {len(of)} faults, culprit convicted {right}, an innocent {sum(row['wrong'] for row in of)}")
    return 1 if not rows or any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
