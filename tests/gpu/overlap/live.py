"""The watchdog itself over a real GPU: two engines of server.py with the kernel probe, loaded as in one cell of a study,
and what /metrics says of their overlap, gain and slow-down beside what the study measured. Prints a table last, writes
live.json and live-metrics.txt.

usage: live.py --watchdog PATH --out DIR [--study DIR/study] [--seconds 75] [--deadline 240]
"""

import argparse
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from outside import Scrape, fetch, members, wait_for
from study import PORTS, clear, gain, rates, write_configuration

METRICS = "http://127.0.0.1:10678/metrics"


def ask(port, prompt, output, stop):
    """One request after the other, as the study sends them."""
    while not stop.is_set():
        body = {"model": "m", "prompt": [random.randrange(1000, 100000) for _ in range(prompt)], "max_tokens": output,
                "ignore_eos": True, "temperature": 0}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            connection.getresponse().read()
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()


def scrape():
    return Scrape(fetch(METRICS)[1])


def sample(page, name, **labels):
    """The one sample with these labels; None: there is none."""
    return next((value for _, value in page.matching(name, **labels)), None)


def serving():
    page = scrape()
    return all(page.total("mps_engine_state", engine=name, state="serving") == 1 for name in PORTS)


def cell_of(folder, prompt, output, concurrency):
    """That cell of the study; None where there is none."""
    path = os.path.join(folder or "", "study.json")
    if not folder or not os.path.exists(path):
        return None
    with open(path) as file:
        cells = json.load(file)["cells"]
    wanted = (prompt, output, concurrency)
    return next((cell for cell in cells if (cell["prompt"], cell["output"], cell["concurrency"]) == wanted), None)


def configure(root, chosen):
    """The study's configuration, with probes, short periods and the study's baselines."""
    path = write_configuration(root, chosen)
    with open(path) as file:
        text = file.read()
    overlap = '[group.overlap]\nwindow = "50ms"\nperiod = "2s"\n'
    baselines = os.path.join(chosen.study or "", "baselines.json")
    if os.path.exists(baselines):
        overlap += f"baselines = {json.dumps(os.path.abspath(baselines))}\n"
    with open(path, "w") as file:
        file.write(text.replace("\n[[group.engine]]", f"\n{overlap}\n[[group.engine]]", 1))
    return path


def load(chosen, seconds):
    """Both engines busy for that long; the page before the end."""
    stop = threading.Event()
    threads = [threading.Thread(target=ask, args=(port, chosen.prompt, chosen.output, stop), daemon=True)
               for port in PORTS.values() for _ in range(chosen.concurrency[0])]
    [thread.start() for thread in threads]
    time.sleep(seconds)
    page = scrape()
    stop.set()
    [thread.join(60) for thread in threads]
    return page


def judge(page, cell):
    """What the page says, each line with its verdict."""
    sampled = page.total("mps_probe_sampled_seconds_total")
    by = [page.total("mps_kernel_concurrency_seconds_total", clients=str(count)) for count in range(3)]
    found = {"sampled": sampled, "shares": [time / sampled for time in by] if sampled else None,
             "busy": {name: page.total("mps_engine_kernel_busy_seconds_total", engine=name) / (sampled or 1) for name in PORTS},
             "gain": sample(page, "mps_throughput_gain"),
             "slowdown": {name: sample(page, "mps_engine_slowdown_factor", engine=name) for name in PORTS}}
    lines = [(f"probe of {name} works", page.total("mps_engine_probe_state", engine=name, state="working") == 1) for name in PORTS]
    lines.append((f"sampled {sampled:.2f} s, with 0/1/2 clients {found['shares']}", sampled > 0.5))
    lines.append(("the shares add up", bool(sampled) and abs(sum(by) - sampled) < 1e-6))
    lines.append((f"kernels of each {found['busy']}: as the shares say",
                  bool(sampled) and abs(sum(found["busy"].values()) - (by[1] + 2 * by[2]) / sampled) < 1e-3))
    if cell:
        expected = gain(rates(cell, "mps"), rates(cell, "alone"))
        found["study"] = expected
        near = found["gain"] is not None and abs(found["gain"] / expected - 1) < 0.15
        lines.append((f"gain {found['gain']} (the study: {expected:.2f}), slow-downs {found['slowdown']}", near))
    return found, lines


def main():
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("--watchdog", required=True, type=os.path.abspath)
    reading.add_argument("--out", required=True, type=os.path.abspath)
    reading.add_argument("--study")
    reading.add_argument("--seconds", type=float, default=75)
    reading.add_argument("--deadline", type=float, default=240)
    chosen = reading.parse_args()
    chosen.study = chosen.study or f"{chosen.out}/study"
    # As tests/gpu/overlap/study.py starts them.
    chosen.graphs, chosen.rows, chosen.prompts, chosen.outputs, chosen.concurrency = False, 16, [16, 16384], [1, 64], [8]
    chosen.prompt, chosen.output, chosen.probe_engines = 16, 64, True
    root, fine, watchdog = tempfile.mkdtemp(prefix="mwl", dir="/tmp"), False, None
    try:
        path = configure(root, chosen)
        shutil.copy(path, f"{chosen.out}/live.toml")
        with open(f"{chosen.out}/live.log", "wb") as log:
            command = [chosen.watchdog, "--control-socket", f"{root}/c", "run", "--config", path]
            watchdog = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if not wait_for(serving, min(120, chosen.deadline / 2), 0.5):
            raise SystemExit("FAIL the engines do not serve: see live.log")
        page = load(chosen, chosen.seconds)
        with open(f"{chosen.out}/live-metrics.txt", "w") as file:
            file.write(page.text)
        status = subprocess.run([chosen.watchdog, "--control-socket", f"{root}/c", "status"], capture_output=True, text=True, timeout=20)
        print(status.stdout)
        found, lines = judge(page, cell_of(chosen.study, chosen.prompt, chosen.output, 8))
        watchdog.terminate()
        lines.append(("it ends in order, and all with it", watchdog.wait(60) == 0 and not members(f"{root}/p")))
        with open(f"{chosen.out}/live.json", "w") as file:
            json.dump(found, file, indent=1)
        for words, well in lines:
            print(f"{'ok  ' if well else 'FAIL'} {words}")
        fine = all(well for _, well in lines)
    finally:
        if watchdog and watchdog.poll() is None:
            watchdog.kill()
        clear(root, f"{chosen.out}/live-log")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
