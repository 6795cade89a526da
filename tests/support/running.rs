//! Programs that a test starts: on ports that they choose, and ended with the test whatever comes of it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::http;
use crate::support::needs;
use crate::support::processes;

/// Upper bound for whatever is waited for, on a loaded machine too.
const PATIENCE: Duration = Duration::from_secs(120);
/// Upper bound for a program to end in order.
const GRACE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until there is something; panics with what was waited for if there is nothing in time.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, look).unwrap_or_else(|| panic!("waited in vain for: {what}"))
}

fn within<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
}

/// A short directory that every process of one test names.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap()
}

/// A program that runs. Dropping it ends it in order, or else kills it and what it left.
pub struct Running {
    child: Child,
    directory: TempDir,
    output: std::path::PathBuf,
}

impl Running {
    /// Starts it with its own directory as TMPDIR; `output` is a file in there.
    pub fn start(directory: TempDir, command: &mut Command) -> Running {
        let output = directory.path().join("output");
        let file = File::create(&output).unwrap();
        command.env("TMPDIR", directory.path());
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.spawn().unwrap(), directory, output }
    }

    /// Waits until it has written an address behind `words` and answers 200 there at `path`; panics with its
    /// output if it ends before.
    pub fn await_answer(&mut self, words: &str, path: &str) -> SocketAddr {
        eventually(path, || {
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended:\n{}", self.told());
            let told = self.told();
            let address = told.split_once(words)?.1.split_whitespace().next()?.trim_end_matches('/').parse().ok()?;
            http::body(address, path).map(|_| address)
        })
    }

    /// What it has written so far.
    pub fn told(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    /// Directory of the program.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let ended = within(GRACE, || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        processes::naming(self.path()).iter().for_each(|process| process.signal(Signal::SIGKILL));
    }
}

/// The real binary's demo, once it serves metrics at the address.
pub fn demo(arguments: &[&str]) -> (Running, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpswarden"));
    command.args(["demo", "--web.listen-address", "127.0.0.1:0"]).args(arguments);
    let mut running = Running::start(directory(), &mut command);
    let address = running.await_answer("page    http://", "/metrics");
    (running, address)
}

/// A Prometheus with this configuration; `None` where it is not installed.
pub fn prometheus(configuration: &str) -> Option<(Running, SocketAddr)> {
    let program = needs::program("prometheus", "prometheus")?;
    let directory = directory();
    let file = directory.path().join("prometheus.yml");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
    command.arg("--web.listen-address=127.0.0.1:0");
    let mut running = Running::start(directory, &mut command);
    let address = running.await_answer("\"Listening on\" address=", "/-/ready");
    Some((running, address))
}
