"""What a person reads on the page while a story is played, and whether it is what the story brings: what is broken, since
when, why, what is being done, what to do."""

import html
import re
import urllib.request

# What the page must say while an alert must fire: words of a line of what is wrong, and words of what to do about it.
# By hand; alerts that look back at what is over, or ahead, are left out.
SAYS = {
    "MpsGpuResetNeeded": (r"GPU 0 needs a re(set|boot)", r"nvidia-smi --gpu-reset -i 0|reboot the node"),
    "MpsGpuLost": (r"GPU 0 is lost, and small-llms is down", r"reboot the node"),
    "MpsGpuDriverWants": (r"driver wants something for GPU 0", r"nvidia-smi -q -i 0"),
    "MpsForeignProcess": (r"\(foreign_process\)", r"ask its owner"),
    "MpsGroupDown": (r"small-llms restarts all its engines.*none of its 3 engines serves", r"^nothing: next try at \d+:\d+:\d+ UTC, in "),
    "MpsServerCannotStart": (r"small-llms (is held|restarts all its engines)", r"mend what keeps MPS servers from starting|next try at|mpswarden is "),
    "MpsServerFault": (r"small-llms is down and left alone.*\(server_died\)", r"mpswarden resume small-llms"),
    "MpsGroupOnHold": (r"small-llms is on hold", r"mpswarden resume small-llms"),
    "MpsIsolationActive": (r"small-llms's repeated faults is being searched for", r"^nothing: "),
    "MpsEngineGuilty": (r"small-llms/{engine} .*proven guilty", r"mpswarden release small-llms/{engine}"),
    "MpsEngineQuarantined": (r"small-llms/{engine} is quarantined", r"mpswarden release small-llms/{engine}"),
    "MpsEngineHang": (r"small-llms/{engine} hangs.*\(hang\)", r"mpswarden evict small-llms/{engine}"),
    "MpsEngineMemoryLeak": (r"small-llms/{engine} .*\(memory_leak\)", r"restarts it before"),
    "MpswardenBlind": (r"mpswarden is blind: {source} ", r"look whether the engines answer"),
}  # fmt: skip
# Looks that a loaded machine may leave out, or that come in the middle of a change.
MAY_MISS = 4


def concerns(page):
    """Every line of what is wrong, worst first, each with its line of what to do."""
    head = page.split('<section class="head', 1)[1].split("</section>", 1)[0]
    found = re.findall(r'(?:<h2 id="headline">|<li class="\w+"><p>)(.*?)</(?:h2|p)>\s*<p class="todo">(.*?)</p>', head, re.DOTALL)
    return [(words(what), words(to_do).removeprefix("What to do: ")) for what, to_do in found]


def words(markup):
    """What a reader sees of it."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


def look(address):
    """What the page says now; nothing where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{address}/?live", timeout=5) as answer:
            return concerns(answer.read().decode())
    except OSError:
        return []


def says(seen, one):
    """Whether what was seen says what an alert is about, since when, and what to do."""
    labels = dict(one.labels)
    what, to_do = (pattern.format_map(labels) if "{" in pattern else pattern for pattern in SAYS[one.alert])
    return any(re.search(what, said) and ", since " in said and re.search(to_do, done) for said, done in seen)


def unsaid(looks, expected):
    """Alerts that must fire while the page does not say what they are about. `looks`: second, chapter, what was seen."""
    for one in expected:
        if not one.must or one.alert not in SAYS:
            continue
        of_it = [(at, seen) for at, name, seen in looks if name == dict(one.labels)["instance"] and one.must[0] <= at < one.must[1]]
        silent = [(round(at), seen) for at, seen in of_it if not says(seen, one)]
        if len(silent) > MAY_MISS:
            yield f"PAGE     does not say {one.alert} {dict(one.labels)} at {[at for at, _ in silent]} s: {silent[-1][1]}"


def cries(looks, chapters):
    """What the page says is wrong after the start and before the first fault."""
    for at, name, seen in looks:
        chapter = next(chapter for chapter in chapters if chapter.name == name)
        since = at - chapter.begins
        calm = 15 < since < min([fault.at for fault in chapter.faults] + [order.at for order in chapter.orders]) - 2
        if calm and seen and not seen[0][0].startswith(("All 3 engines serve", "small-llms is starting")):
            yield f"PAGE     of {name} says at {since:.0f} s, before its first fault: {seen[0]}"
