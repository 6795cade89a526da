//! What is broken, since when, why, what is being done about it, what to do: a script that reads only what a person would
//! see finds the same in the page and in `mpswarden status`, in every state. The table is written by hand.

use crate::page::shown::{page, status, text};
use crate::support::plights;

/// The answers to the five questions, as far as a state has one.
#[derive(Debug, PartialEq)]
struct Answers {
    broken: String,
    since: String,
    why: String,
    /// What is being done; where somebody must act, nothing.
    done: String,
    to_do: String,
}

/// Reads the answers out of the two lines.
fn answers(headline: &str, to_do: &str) -> Answers {
    let (broken, rest) = headline.split_once(", since ").unwrap_or_else(|| match headline.split_once(": ") {
        Some((broken, _)) => (broken, &headline[broken.len()..]),
        None => (headline, ""),
    });
    let (since, why) = match rest.strip_prefix(": ") {
        Some(why) => ("", why),
        None => rest.split_once("): ").unwrap_or((rest.trim_end_matches(')'), "")),
    };
    let since = since.split(" (").next().unwrap();
    // A link to a runbook is for later.
    let to_do = to_do.split("; see docs/").next().unwrap().split(" Runbook ").next().unwrap();
    let (to_do, done) = match to_do.split_once("nothing: ") {
        Some((_, done)) => ("nothing", done),
        None => (to_do, ""),
    };
    let own = |text: &str| text.to_owned();
    Answers { broken: own(broken), since: own(since), why: own(why), done: own(done), to_do: own(to_do) }
}

fn of_page(text: &str) -> Answers {
    let at = text.lines().position(|line| line.starts_with("What to do: ")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    answers(lines[at - 1], lines[at].strip_prefix("What to do: ").unwrap())
}

fn of_status(text: &str) -> Answers {
    let mut lines = text.lines();
    let (headline, to_do) = (lines.next().unwrap(), lines.next().unwrap());
    let headline = ["ok     ", "note   ", "wait   ", "BAD    "].iter().find_map(|label| headline.strip_prefix(label));
    answers(headline.unwrap(), to_do.strip_prefix("to do  ").unwrap())
}

const MINUTE: &str = "23:49:00 UTC";

/// The state, then what is broken, since when, why, what is being done, what to do.
const EXPECTED: [[&str; 6]; 26] = [
    ["well", "All 3 engines serve", "23:02:30 UTC", "", "", "nothing"],
    [
        "starting",
        "small-llms is starting, 1 of 3 engines serves",
        MINUTE,
        "",
        "mpswarden is waiting until the engines serve",
        "nothing",
    ],
    [
        "restarting",
        "small-llms restarts all its engines, none of its 3 engines serves",
        MINUTE,
        "a fatal GPU error hit all engines of a server (gpu_fault)",
        "mpswarden is waiting until the old engines' memory is back",
        "nothing",
    ],
    [
        "back-off",
        "small-llms restarts all its engines, none of its 3 engines serves",
        MINUTE,
        "a fatal GPU error hit all engines of a server (gpu_fault)",
        "next try at 23:54:00 UTC, in 4 min",
        "nothing",
    ],
    [
        "on-hold",
        "small-llms is on hold: nothing there is repaired by itself",
        MINUTE,
        "driver upgrade",
        "the hold ends at 00:50:00 UTC, in 1 h; or end it now: mpswarden resume small-llms",
        "nothing",
    ],
    [
        "left-alone",
        "small-llms is down and left alone",
        MINUTE,
        "the MPS server ended (server_died); an operator's hold keeps mpswarden out",
        "",
        "end the hold: mpswarden then restarts all engines of the group: mpswarden resume small-llms",
    ],
    [
        "observed",
        "small-llms is down and left alone",
        MINUTE,
        "a fatal GPU error hit all engines of a server (gpu_fault); observe mode keeps mpswarden out",
        "",
        "restart the group, which ends all its engines: mpswarden restart small-llms",
    ],
    ["stopped", "small-llms is stopped", MINUTE, "", "", "start it once it is wanted: mpswarden start small-llms"],
    [
        "budget-spent",
        "small-llms has no restart left in its budget",
        MINUTE,
        "it was restarted too often of late; after the next fault it waits long, or for a person",
        "",
        "find what the incidents have in common, and take the engine out that brings them: \
         mpswarden incidents --group small-llms",
    ],
    [
        "held-budget",
        "small-llms is held, none of its 3 engines serves",
        MINUTE,
        "5 restarts within 3600 s are the budget, and it is spent (budget_spent)",
        "",
        "find the cause in the incidents, then give the budget back: mpswarden resume small-llms",
    ],
    [
        "held-memory",
        "small-llms is held, none of its 3 engines serves",
        MINUTE,
        "12 GiB are still held by process 99 (memory_not_back)",
        "",
        "see who holds the memory, and end it: nvidia-smi",
    ],
    [
        "held-process",
        "small-llms is held, 2 of 3 engines serve",
        MINUTE,
        "a process of qwen-b does not die: 4711 is in the driver (state D) (process_stuck)",
        "",
        "only a reset of the GPU or a reboot ends that process, and both end healthy engines: choose the moment",
    ],
    [
        "held-server",
        "small-llms is held, none of its 3 engines serves",
        MINUTE,
        "MPS server 701 ended with status 1 before it was ever ready (server_cannot_start)",
        "",
        "mend what keeps MPS servers from starting (next try at 23:50:30 UTC, in 30 s): mpswarden resume small-llms",
    ],
    [
        "gpu-reset",
        "GPU 0 needs a reset, and small-llms, embedders are down until then",
        MINUTE,
        "the driver wants gpu_reset",
        "",
        "move traffic away and reset the GPU, which ends every process on it; its groups then start by themselves: \
         nvidia-smi --gpu-reset -i 0",
    ],
    [
        "gpu-lost",
        "GPU 0 is lost, and small-llms is down until then",
        MINUTE,
        "the GPU is off the bus (gpu_lost)",
        "",
        "move traffic away and reboot the node, which ends every engine on it",
    ],
    [
        "engine-back-off",
        "small-llms/qwen-b is down",
        MINUTE,
        "main process ended with signal 9; its process ended, or did not get ready (engine_died)",
        "next try at 23:50:45 UTC, in 45 s",
        "nothing",
    ],
    [
        "engine-quarantined",
        "small-llms/qwen-b is quarantined and not started any more",
        MINUTE,
        "main process ended with status 1; it failed too often (crash_loop)",
        "",
        "mend its cause, then let it start again: mpswarden release small-llms/qwen-b",
    ],
    [
        "engine-hangs",
        "small-llms/qwen-b hangs",
        MINUTE,
        "requests wait and nothing comes out (hang)",
        "",
        "restart it alone; its siblings serve on, and requests that wait for it are lost: \
         mpswarden evict small-llms/qwen-b",
    ],
    [
        "engine-stopped",
        "small-llms/qwen-b is stopped",
        MINUTE,
        "an operator stopped it",
        "",
        "start it once it is wanted: mpswarden start small-llms/qwen-b",
    ],
    [
        "engine-leaks",
        "small-llms/qwen-b serves with a fault",
        MINUTE,
        "its memory grows without load (memory_leak)",
        "",
        "look at its memory; mpswarden restarts it before it is at its limit, where it may",
    ],
    [
        "isolation",
        "The cause of small-llms's repeated faults is being searched for",
        MINUTE,
        "one of qwen-b, qwen-c may bring them; qwen-b on a second MPS server",
        "each further fault narrows it down, and the engines serve meanwhile",
        "nothing",
    ],
    [
        "guilty",
        "small-llms/qwen-b serves apart from the others",
        "23:02:30 UTC",
        "it was proven guilty of its group's repeated faults",
        "",
        "mend it, then let it go back to the others: mpswarden release small-llms/qwen-b",
    ],
    [
        "blind",
        "mpswarden is blind: nvml of GPU 0 does not answer",
        MINUTE,
        "the driver hangs",
        "",
        "look whether the engines answer; as far as is known they are healthy",
    ],
    [
        "foreign-process",
        "small-llms has a fault that harms no engine yet",
        MINUTE,
        "a process of no group computes on the GPU (foreign_process)",
        "",
        "ask its owner; it may be ended without harm to the groups",
    ],
    [
        "driver-wants",
        "The driver wants something for GPU 0",
        MINUTE,
        "recover_imex_domain",
        "",
        "restart nvidia-imex on the nodes of its domain; the GPU itself is well: nvidia-smi -q -i 0",
    ],
    [
        "beginning",
        "mpswarden is starting",
        "",
        "not every source has reported yet",
        "it acts once every source has reported once",
        "nothing",
    ],
];

fn expected(name: &str) -> Answers {
    let row = EXPECTED.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name} is not in the table"));
    let [_, broken, since, why, done, to_do] = row.map(str::to_owned);
    Answers { broken, since, why, done, to_do }
}

#[test]
fn the_page_answers_the_five_questions_in_every_state() {
    for plight in plights::all() {
        let text = text(&page(&plight));
        assert_eq!(of_page(&text), expected(plight.name), "{}: {text}", plight.name);
    }
}

#[test]
fn the_terminal_says_the_same_two_lines() {
    for plight in plights::all() {
        let text = status(&plight);
        assert_eq!(of_status(&text), expected(plight.name), "{}: {text}", plight.name);
    }
}
