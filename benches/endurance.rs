//! A thousand mixed recoveries of the real binary over the simulation: what it holds afterwards must be what it held
//! when it was young. Real processes; ends with status 1 where it grew, or where the group did not come back.
//!
//! `cargo bench --bench endurance [-- --recoveries N | -- --short]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

#[path = "stand/arguments.rs"]
mod arguments;
#[path = "stand/watchdog.rs"]
mod watchdog;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mpswarden::sim::{Chance, Injection, Stage, StageOptions};
use watchdog::{Watchdog, await_that};

const ENGINES: usize = 3;
const SAMPLES: u64 = 10;
/// Everything that ends engines at once: a fault of the group, of its server or daemon, of one engine.
const FAULTS: [Injection; 10] = [
    Injection::IllegalAddress,
    Injection::Trap,
    Injection::Linger,
    Injection::SigkillBusy,
    Injection::SigkillIdle,
    Injection::DeviceOom,
    Injection::DeadCore,
    Injection::Zombie,
    Injection::ServerKill,
    Injection::ControlKill,
];
const RECOVERY: &str = "
[group.recovery]
budget = 1000
engine_budget = 1000
budget_window = \"10s\"
stable_after = \"1s\"
start = \"parallel\"
backoff = { first = \"0s\", next = \"1ms\", factor = 1.0, most = \"1ms\", jitter = 0.0 }
[group.isolation]
mode = \"off\"
";
/// What may come on top from a fifth of the way on: incidents that are kept differ in length, and the allocator keeps
/// what it once had.
const MORE_MEMORY: f64 = 1.0;
const MORE_DESCRIPTORS: usize = 4;
const MORE_THREADS: f64 = 2.0;
const MORE_FILES: usize = 2;

/// What the watchdog holds.
struct Held {
    memory: f64,
    descriptors: usize,
    threads: f64,
    files: usize,
}

fn main() -> ExitCode {
    if !arguments::wants_a_run() {
        return ExitCode::SUCCESS;
    }
    let wanted = arguments::number("--recoveries", 1000, 10);
    let directory = tempfile::Builder::new().prefix("mps-").tempdir().unwrap();
    let startup = Duration::from_millis(50);
    let options =
        StageOptions { engines: ENGINES, startup, ..StageOptions::new(env!("CARGO_BIN_EXE_mpswarden").into()) };
    let stage = Stage::set(directory.path(), &options).unwrap();
    let watchdog = Watchdog::start(&stage, |usual| usual, RECOVERY);
    watchdog.await_serving();
    arguments::verdict(endure(&watchdog, &stage, wanted))
}

fn endure(watchdog: &Watchdog, stage: &Stage, wanted: u64) -> bool {
    println!("recoveries  memory MiB  descriptors  threads  files  slowest s");
    let names: Vec<String> = stage.engine_names().map(str::to_owned).collect();
    let (mut chance, mut slowest, mut samples) = (Chance::new(1), Duration::ZERO, Vec::new());
    for round in 1..=wanted {
        let (fault, engine) = (FAULTS[chance.below(FAULTS.len())], &names[chance.below(names.len())]);
        slowest = slowest.max(recovery(watchdog, stage, fault, engine));
        if round % (wanted / SAMPLES).max(1) == 0 {
            let held = held(watchdog, stage);
            let Held { memory, descriptors, threads, files } = held;
            let slowest = std::mem::take(&mut slowest).as_secs_f64();
            println!("{round:>10}  {memory:>10.2}  {descriptors:>11}  {threads:>7.0}  {files:>5}  {slowest:>9.2}");
            samples.push(held);
        }
    }
    let (young, old) = (&samples[(samples.len() - 1) / 5], samples.last().unwrap());
    old.memory < young.memory + MORE_MEMORY
        && old.descriptors <= young.descriptors + MORE_DESCRIPTORS
        && old.threads <= young.threads + MORE_THREADS
        // Incidents gather until a hundred are kept.
        && (old.files <= young.files + MORE_FILES || wanted < 500)
}

/// Time from the fault until all serve again, with a restart in between.
fn recovery(watchdog: &Watchdog, stage: &Stage, fault: Injection, engine: &str) -> Duration {
    let (restarts, began) = (watchdog.sum("mps_restarts_total"), Instant::now());
    // An engine that dies of it before it answers was hit all the same.
    let _ = stage.inject(fault, Some(engine));
    await_that(fault.as_str(), || watchdog.sum("mps_restarts_total") > restarts);
    await_that("all serve again", || watchdog.serves());
    began.elapsed()
}

fn held(watchdog: &Watchdog, stage: &Stage) -> Held {
    let (proc, usage) = (format!("/proc/{}", watchdog.pid()), watchdog.usage());
    let files = ["state", "log", "pipe"].map(|folder| files_below(&stage.directory().join(folder)));
    Held {
        memory: usage.anonymous,
        descriptors: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
        threads: usage.threads,
        files: files.iter().sum(),
    }
}

fn files_below(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}
