//! Four engines write their logs as fast as they can beside a fifth that dies: how long orders and its repair take, how
//! long the logs get, and what a turn of the core's thread costs meanwhile. Real processes; ends with status 1 where a
//! promise is not kept.
//!
//! `cargo bench --bench flood [-- --seconds SECONDS | -- --short]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

#[path = "stand/arguments.rs"]
mod arguments;
#[path = "stand/watchdog.rs"]
mod watchdog;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mpswarden::sim::{Injection, Stage, StageOptions};
use watchdog::{Watchdog, await_that};

const WRITERS: usize = 4;
/// Pause between two looks at the core's thread.
const LOOK: Duration = Duration::from_micros(500);
/// Upper bound for an answer to an order.
const MOST_ORDER: Duration = Duration::from_secs(1);
/// Upper bound for repairing a sibling's death.
const MOST_REPAIR: Duration = Duration::from_secs(2);
/// Bytes of a log while its writer goes on, and so long after it stopped.
const MOST_LOG: u64 = 512 << 20;
const REST_LOG: u64 = 32 << 20;
const MOST_REST: Duration = Duration::from_secs(1);
/// CPU time and bytes of a turn of the core's thread.
const MOST_TURN: Duration = Duration::from_millis(5);
const MOST_READ: u64 = 1 << 20;

fn main() -> ExitCode {
    if !arguments::wants_a_run() {
        return ExitCode::SUCCESS;
    }
    let seconds = arguments::number("--seconds", 15, 2);
    let directory = tempfile::Builder::new().prefix("mps-").tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_mpswarden").into();
    let startup = Duration::from_millis(300);
    let stage = StageOptions { engines: WRITERS + 1, startup, memory: 4 << 30, ..StageOptions::new(program) };
    let stage = Stage::set(directory.path(), &stage).unwrap();
    let go = directory.path().join("go");
    let watchdog = Watchdog::start(&stage, |usual| writing(&usual, &go, seconds), "");
    watchdog.await_serving();
    arguments::verdict(flood(&watchdog, &stage, &go, Duration::from_secs(seconds)))
}

/// The first engines have a child each that writes to their output without end, from `go` on.
fn writing(configuration: &str, go: &Path, seconds: u64) -> String {
    let mut left = WRITERS;
    let writer =
        format!("(while [ ! -e {} ]; do sleep 0.05; done; exec timeout {seconds} yes) & exec \"$@\"", go.display());
    let prefix = format!("command = [\"sh\", \"-c\", {}, \"sh\", ", toml::Value::from(writer));
    let lines = configuration.lines().map(|line| match line.strip_prefix("command = [") {
        Some(rest) if left > 0 => {
            left -= 1;
            format!("{prefix}{rest}\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn flood(watchdog: &Watchdog, stage: &Stage, go: &Path, lasts: Duration) -> bool {
    let turns = Turns::of(watchdog.pid());
    let names: Vec<String> = stage.engine_names().map(str::to_owned).collect();
    let logs: Vec<PathBuf> =
        names[..WRITERS].iter().map(|name| stage.directory().join(format!("log/{name}.log"))).collect();
    fs::write(go, "").unwrap();
    let began = Instant::now();
    let (mut order, mut longest, mut answered) = (Duration::ZERO, 0, true);
    let mut look = || {
        let (took, worked) = watchdog.order(&["hold", "small-llms", "--for", "1s", "--reason", "x", "--dry-run"]);
        order = order.max(took);
        answered &= worked;
        longest = longest.max(logs.iter().map(|log| on_disk(log)).max().unwrap());
    };
    while began.elapsed() < lasts / 3 {
        look();
    }
    let (repair, victim) = (Instant::now(), names.last().map(String::as_str));
    stage.inject(Injection::SigkillIdle, victim).unwrap();
    await_that("the death is seen", || watchdog.sum("mps_restarts_total") > 0.0);
    await_that("the group serves again", || watchdog.serves());
    let repair = repair.elapsed();
    while began.elapsed() < lasts {
        look();
    }
    let rested = Instant::now();
    await_that("the logs are short again", || logs.iter().all(|log| on_disk(log) < REST_LOG));
    let rested = rested.elapsed();
    let (turn, read) = turns.worst();
    println!("{WRITERS} engines write without end for {} s; a fifth one's GPU process is killed", lasts.as_secs());
    println!("  slowest order          {:>8.3} s (target under {})", order.as_secs_f64(), MOST_ORDER.as_secs());
    println!("  repaired after         {:>8.3} s (target under {})", repair.as_secs_f64(), MOST_REPAIR.as_secs());
    println!("  longest log            {:>8} MiB (target under {})", longest >> 20, MOST_LOG >> 20);
    println!("  short again after      {:>8.3} s (target under {})", rested.as_secs_f64(), MOST_REST.as_secs());
    println!("  core's turn, CPU       {:>8.3} ms (target under {})", 1e3 * turn.as_secs_f64(), MOST_TURN.as_millis());
    println!("  core's turn, read      {:>8} KiB (target under {})", read >> 10, MOST_READ >> 10);
    let in_time = order < MOST_ORDER && repair < MOST_REPAIR && rested < MOST_REST && turn < MOST_TURN;
    answered && in_time && longest < MOST_LOG && read < MOST_READ
}

fn on_disk(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |metadata| metadata.blocks() * 512)
}

/// Watches a process's first thread, on which the core turns: what it did between two waits. Where it waited
/// between two looks, all that it did between them counts for one turn: never too little.
struct Turns {
    over: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

/// Work of a thread since its start: waits, nanoseconds of CPU, bytes read.
#[derive(Clone, Copy)]
struct Done {
    waits: u64,
    cpu: u64,
    read: u64,
}

impl Turns {
    fn of(pid: u32) -> Turns {
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        let thread = thread::spawn(move || {
            let (mut last, mut turn, mut worst) = (done(pid), (0, 0), (0, 0));
            while !ended.load(Ordering::Relaxed) {
                let now = done(pid);
                let since = (now.cpu - last.cpu, now.read - last.read);
                let whole = (turn.0 + since.0, turn.1 + since.1);
                worst = (worst.0.max(whole.0), worst.1.max(whole.1));
                turn = if now.waits == last.waits { whole } else { since };
                last = now;
                thread::sleep(LOOK);
            }
            worst
        });
        Turns { over, thread }
    }

    fn worst(self) -> (Duration, u64) {
        self.over.store(true, Ordering::Relaxed);
        let (cpu, read) = self.thread.join().unwrap();
        (Duration::from_nanos(cpu), read)
    }
}

fn done(pid: u32) -> Done {
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/task/{pid}/{file}")).unwrap();
    let number = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().parse().unwrap()
    };
    let cpu = of("schedstat").split_whitespace().next().unwrap().parse().unwrap();
    Done { waits: number(&of("status"), "voluntary_ctxt_switches:"), cpu, read: number(&of("io"), "rchar:") }
}
