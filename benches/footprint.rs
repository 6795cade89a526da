//! The real binary over the simulated GPU, with one group of four engines: what it costs when nothing
//! happens, and what it adds to a recovery beside the driver's and the engines' time. Measures; ends with
//! status 1 where a promise is not kept.
//!
//! `cargo bench --bench footprint [-- --idle SECONDS --faults N | -- --short]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

#[path = "stand/arguments.rs"]
mod arguments;
#[path = "stand/watchdog.rs"]
mod watchdog;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mpswarden::host::mps_log;
use mpswarden::model::{RecoveryStep, ServerLine};
use mpswarden::sim::{Injection, Stage, StageOptions};
use watchdog::Watchdog;

const ENGINES: usize = 4;
/// No engine moves to a second server, whatever repeats: what is measured is the restart of one.
const POLICY: &str = "
[group.recovery]
budget = 1000
start = \"parallel\"
stable_after = \"1s\"
[group.isolation]
mode = \"off\"
";
/// Most resident memory, MiB.
const MOST_MEMORY: f64 = 20.0;
/// Most CPU time in percent of a core.
const MOST_CPU: f64 = 0.2;
/// Most control commands in a minute: one each 10 s.
const MOST_COMMANDS: f64 = 6.0;
/// Longest time of a recovery that is our own, milliseconds.
const MOST_OWN: f64 = 30.0;

fn main() -> ExitCode {
    if !arguments::wants_a_run() {
        return ExitCode::SUCCESS;
    }
    let directory = tempfile::Builder::new().prefix("mps-").tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_mpswarden").into();
    let startup = Duration::from_millis(300);
    let stage = StageOptions { engines: ENGINES, startup, ..StageOptions::new(program) };
    let stage = Stage::set(directory.path(), &stage).unwrap();
    let watchdog = Watchdog::start(&stage, |usual| usual, POLICY);
    watchdog.await_serving();
    let kept = [
        idle(&watchdog, arguments::number("--idle", 60, 5)),
        recoveries(&watchdog, &stage, arguments::number("--faults", 10, 2)),
    ];
    arguments::verdict(kept.into_iter().all(|kept| kept))
}

/// What the watchdog uses while the group serves and nothing happens.
fn idle(watchdog: &Watchdog, seconds: u64) -> bool {
    let window = Duration::from_secs(seconds);
    // The last looks of the start are over by then.
    thread::sleep(Duration::from_secs(3));
    let (before, began) = (watchdog.usage(), Instant::now());
    let commands = watchdog.sum("mps_control_commands_total");
    thread::sleep(window);
    let (after, took) = (watchdog.usage(), began.elapsed().as_secs_f64());
    // This benchmark's own two scrapes are in it.
    let commands = (watchdog.sum("mps_control_commands_total") - commands) * 60.0 / took;
    let cpu = 100.0 * (after.cpu - before.cpu) / took;
    println!("idle for {took:.0} s, one group of {ENGINES} engines");
    println!(
        "  resident memory        {:>8.1} MiB (target under {MOST_MEMORY}), peak {:.1}",
        after.resident, after.peak
    );
    println!("  CPU                    {cpu:>8.3} % of a core (target under {MOST_CPU})");
    println!("  context switches       {:>8.1} /s", (after.switches - before.switches) / took);
    println!("  control commands       {commands:>8.1} /min (target at most {MOST_COMMANDS})");
    println!("  threads                {:>8.0}", after.threads);
    after.resident < MOST_MEMORY && cpu < MOST_CPU && commands <= MOST_COMMANDS + 0.5
}

/// What the watchdog adds to a restart of the whole group after an illegal address, and how many of these
/// faults a look at the server's state each second sees.
fn recoveries(watchdog: &Watchdog, stage: &Stage, faults: u64) -> bool {
    let poller = Poller::start(stage);
    let (mut own, mut steps) = (Vec::new(), BTreeMap::<&str, Vec<f64>>::new());
    for round in 0..faults {
        // Faults come at any time between two looks.
        thread::sleep(Duration::from_secs(1).mul_f64((round as f64 * 0.618_034).fract()));
        let (before, read) = (watchdog.steps(), log(stage).len());
        // An engine that dies of it before it answers was hit all the same.
        let _ = stage.inject(Injection::IllegalAddress, None);
        watchdog.await_recoveries(round + 1);
        let after = watchdog.steps();
        let took = |step: &str| 1e3 * (after[step] - before[step]);
        let driver = driver_took(&log(stage)[read..]);
        for step in RecoveryStep::ALL {
            steps.entry(step.as_str()).or_default().push(took(step.as_str()));
        }
        let until_engines: f64 = after.keys().filter(|step| **step != "ready").map(|step| took(step)).sum();
        let after_active = until_engines - driver;
        steps.entry("(driver)").or_default().push(driver);
        steps.entry("(after the driver)").or_default().push(after_active);
        own.push(took("decide") + took("kill") + after_active.max(0.0));
    }
    println!("{faults} recoveries from an illegal address, milliseconds");
    let order = ["decide", "kill", "gone", "memory", "backoff", "active", "start", "(driver)", "(after the driver)"];
    for step in order {
        print(step, steps.entry(step).or_default());
    }
    print("OWN SHARE", &mut own);
    println!("  a get_server_status each second saw FAULT in {} of {faults}", poller.seen());
    own.iter().all(|own| *own < MOST_OWN)
}

fn print(name: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    if values.is_empty() {
        return;
    }
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    println!("  {name:<20} p50 {:>7.2}  p90 {:>7.2}  max {:>7.2}", at(0.5), at(0.9), at(1.0));
}

fn log(stage: &Stage) -> String {
    fs::read_to_string(stage.directory().join("log/daemon.log")).unwrap()
}

/// Milliseconds from the fatal line to ACTIVE by the simulated server's own stamps: it logs the clients that left in
/// the moment in which it is ACTIVE again.
fn driver_took(log: &str) -> f64 {
    let mut lines = log.lines().filter_map(mps_log::parse);
    let fatal = lines.find(|(_, line)| matches!(line, ServerLine::Fatal { .. })).expect("a fatal line").0;
    let active = lines.find(|(_, line)| matches!(line, ServerLine::Disconnected { .. })).expect("an end").0;
    (active.unix_millis - fatal.unix_millis) as f64
}

/// A shell script's way: `get_server_status` by the command line each second.
struct Poller {
    stop: Arc<AtomicBool>,
    faults: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Poller {
    fn start(stage: &Stage) -> Poller {
        let (stop, faults) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (control, pipe) = (stage.control_binary().to_owned(), stage.pipe_directory());
        let (ended, counted) = (stop.clone(), faults.clone());
        let ask = move |command: &str| {
            let mut asker = Command::new(&control);
            asker.env("CUDA_MPS_PIPE_DIRECTORY", &pipe).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = asker.stderr(Stdio::null()).spawn().unwrap();
            let _ = writeln!(child.stdin.take().unwrap(), "{command}");
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap_or_default()
        };
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let servers = ask("get_server_list");
                let state = ask(&format!("get_server_status {}", servers.trim()));
                counted.fetch_add(usize::from(state.contains("FAULT")), Ordering::Relaxed);
                thread::sleep(Duration::from_secs(1));
            }
        });
        Poller { stop, faults, thread }
    }

    /// Ends; in how many looks there was a FAULT.
    fn seen(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.faults.load(Ordering::Relaxed)
    }
}
