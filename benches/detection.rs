//! Measures the time from the bytes of the fatal line in the daemon's log to the decision to end the group, the whole
//! way that the binary goes: inotify, parsing, the channel, the core with a Beside it what one would use instead.
//! Measures; ends with status 1 where p99 is a millisecond or more.
//!
//! `cargo bench --bench detection [-- --rounds N | -- --short]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

#[path = "stand/arguments.rs"]
mod arguments;
mod stand;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use mpswarden::host::clock;
use mpswarden::host::follow::{self, Length, Start};
use mpswarden::model::{Moment, Report};
use mpswarden::observe::daemon_log::DaemonLog;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

use stand::{Stand, domain, kills};

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/recordings/illegal_address_clients_exit/daemon.log");
const FATAL: &str = "Server is handling a fatal GPU error.";
const ENGINES: usize = 4;
/// Longest pause after the loop went to sleep: shorter ones would find it awake.
const PAUSE: Duration = Duration::from_millis(2);
const REQUIRED: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    if !arguments::wants_a_run() {
        return ExitCode::SUCCESS;
    }
    let rounds = arguments::number("--rounds", 5000, 250) as usize;
    println!("from the bytes of the fatal line to the decision, microseconds");
    let own = print("mpswarden", &mpswarden(rounds), None);
    print("tail -F | while read", &shell(rounds / 10), Some(own));
    print("a look each second", &polling(rounds / 125), Some(own));
    let worst = Duration::from_nanos(own.1);
    println!("p99 {worst:?}, required: under {REQUIRED:?}");
    arguments::verdict(worst < REQUIRED)
}

/// Prints a row; gives its p50 and p99 in nanoseconds.
fn print(name: &str, seen: &Histogram<u64>, own: Option<(u64, u64)>) -> (u64, u64) {
    let at = |quantile: f64| seen.value_at_quantile(quantile);
    let row: Vec<String> =
        [0.5, 0.9, 0.99, 0.999, 1.0].iter().map(|quantile| format!("{:>9.0}", at(*quantile) as f64 / 1e3)).collect();
    let ratios = own.map_or(String::new(), |(p50, p99)| {
        format!("  {:.1} x p50, {:.1} x p99", at(0.5) as f64 / p50 as f64, at(0.99) as f64 / p99 as f64)
    });
    println!("{name:<22} n {:>5}  p50/p90/p99/p99.9/max {}{ratios}", seen.len(), row.join(" "));
    (at(0.5), at(0.99))
}

/// The recorded lines of a fault, of group 0's server.
struct Fault {
    lines: Vec<String>,
}

impl Fault {
    /// The last lines of the recording up to its fatal one.
    fn recorded() -> Fault {
        let text = std::fs::read_to_string(RECORDING).unwrap();
        let all: Vec<&str> = text.lines().collect();
        let fatal = all.iter().position(|line| line.ends_with(FATAL)).unwrap();
        let server = format!("Server {:>5}]", Stand::serving(1, ENGINES, Moment::ZERO).server());
        let ours = |line: &&str| format!("{server}{}\n", line.split_once(']').unwrap().1);
        Fault { lines: all[fatal - 1..=fatal].iter().map(ours).collect() }
    }

    /// Appends them with the time as it is now; gives the moment just before the fatal line's write.
    fn append(&self, log: &mut File) -> Moment {
        let mut began = Moment::ZERO;
        for line in &self.lines {
            let line = format!("[{} {line}", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.3f"));
            began = clock::now();
            log.write_all(line.as_bytes()).unwrap();
        }
        began
    }
}

fn log_in(directory: &Path) -> (PathBuf, File) {
    let path = directory.join("daemon.log");
    let log = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    (path, log)
}

/// A daemon that writes a fault a pause after each time it is told to, and says when it did.
fn writer(mut log: File) -> (SyncSender<()>, Receiver<Moment>) {
    let (go, told) = sync_channel::<()>(1);
    let (tell, began) = sync_channel(1);
    thread::spawn(move || {
        let fault = Fault::recorded();
        while told.recv().is_ok() {
            thread::sleep(PAUSE);
            tell.send(fault.append(&mut log)).unwrap();
        }
    });
    (go, began)
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap()
}

fn mpswarden(rounds: usize) -> Histogram<u64> {
    let directory = tempfile::tempdir().unwrap();
    let (path, log) = log_in(directory.path());
    let (go, began) = writer(log);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let (sender, mut reports) = unbounded_channel();
        spawn_local(async move {
            let mut log = DaemonLog::of(domain(0));
            let on_line = |line: &str, read_at: Moment| {
                for observation in log.line(line, read_at) {
                    sender.send(Report::Observed(observation)).unwrap();
                }
            };
            let length = Length::Truncated(follow::DEFAULT_LIMIT);
            panic!("{}", follow::follow(&path, Start::End, length, || {}, on_line).await);
        });
        let takes = Stand::serving(1, ENGINES, Moment::ZERO).now().since(Moment::ZERO);
        let mut seen = histogram();
        for _ in 0..rounds {
            // It serves in its own time, which ends now.
            let start = Moment::from_nanos(clock::now().as_nanos().saturating_sub(takes.as_nanos() as u64));
            let mut stand = Stand::serving(1, ENGINES, start);
            go.send(()).unwrap();
            let decided = decision(&mut stand, &mut reports).await;
            seen.record(decided.since(began.recv().unwrap()).as_nanos() as u64).unwrap();
        }
        seen
    })
}

/// When the core orders the group's end.
async fn decision(stand: &mut Stand, reports: &mut UnboundedReceiver<Report>) -> Moment {
    loop {
        let report = reports.recv().await.unwrap();
        if kills(&stand.handle(report.into(), clock::now())) {
            return clock::now();
        }
    }
}

/// What an operator would write: a shell that reads what `tail -F` tells.
fn shell(rounds: usize) -> Histogram<u64> {
    let directory = tempfile::tempdir().unwrap();
    let (path, log) = log_in(directory.path());
    let script = "tail -n 0 -F \"$0\" 2>/dev/null | while read -r line; do \
                  case $line in *'handling a fatal GPU error'*) echo seen;; esac; done";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(&path).stdout(Stdio::piped()).process_group(0);
    let mut shell = Ended(shell.spawn().unwrap());
    let mut told = BufReader::new(shell.0.stdout.take().unwrap()).lines();
    let mut log_of_ours = log.try_clone().unwrap();
    let (go, began) = writer(log);
    let (tell, saw) = sync_channel(1);
    thread::spawn(move || {
        while let Some(Ok(_)) = told.next() {
            if tell.send(clock::now()).is_err() {
                return;
            }
        }
    });
    // The shell has begun to read once it reports a line.
    let fault = Fault::recorded();
    while saw.recv_timeout(Duration::from_millis(100)).is_err() {
        fault.append(&mut log_of_ours);
    }
    while saw.recv_timeout(Duration::from_millis(500)).is_ok() {}
    let mut seen = histogram();
    for _ in 0..rounds {
        go.send(()).unwrap();
        let at = saw.recv_timeout(Duration::from_secs(10)).unwrap();
        seen.record(at.since(began.recv().unwrap()).as_nanos() as u64).unwrap();
    }
    seen
}

/// What a scraped Xid gauge or a cron-like check gives: whatever shows a fault for good, seen at the
/// next look. Faults come at any time between two looks.
fn polling(rounds: usize) -> Histogram<u64> {
    const EVERY: Duration = Duration::from_secs(1);
    let directory = tempfile::tempdir().unwrap();
    let (path, mut log) = log_in(directory.path());
    let fault = Fault::recorded();
    let mut seen = histogram();
    for round in 0..rounds {
        // Spread evenly over the interval, in no order.
        let wait = EVERY.mul_f64((round as f64 * 0.618_034).fract());
        let size = std::fs::metadata(&path).unwrap().len();
        let poller = thread::spawn({
            let path = path.clone();
            move || loop {
                thread::sleep(EVERY);
                if std::fs::metadata(&path).unwrap().len() > size {
                    return clock::now();
                }
            }
        });
        thread::sleep(wait);
        let began = fault.append(&mut log);
        seen.record(poller.join().unwrap().since(began).as_nanos() as u64).unwrap();
    }
    seen
}

/// Ends the shell and, as one process group, its tail.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}
