//! The real binary on a simulated stage, and what can be seen of it from outside.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mpswarden::model::RecoveryStep;
use mpswarden::sim::Stage;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Pause between two looks of a benchmark.
const TICK: Duration = Duration::from_millis(20);
/// Upper bound for the group to serve.
const SERVES: Duration = Duration::from_secs(60);

/// `mpswarden run`, and what can be seen of it from outside.
pub struct Watchdog {
    child: Child,
    address: SocketAddr,
    socket: PathBuf,
    program: PathBuf,
    engines: usize,
}

/// Usage of one process since its start.
pub struct Usage {
    pub resident: f64,
    pub anonymous: f64,
    pub peak: f64,
    pub cpu: f64,
    pub switches: f64,
    pub threads: f64,
}

impl Watchdog {
    /// Starts it over the stage's configuration as `change` makes it, with `more` tables of the group.
    pub fn start(stage: &Stage, change: impl FnOnce(String) -> String, more: &str) -> Watchdog {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = stage.directory().join("bench.toml");
        fs::write(&file, change(stage.configuration(&address.to_string())) + more).unwrap();
        let socket = stage.directory().join("bench.sock");
        let mut command = Command::new(stage.program());
        command.arg("run").arg("--config").arg(&file).arg("--control-socket").arg(&socket).stdout(Stdio::null());
        command.stderr(fs::File::create(stage.directory().join("watchdog.log")).unwrap());
        let engines = stage.engine_names().count();
        Watchdog { child: command.spawn().unwrap(), address, socket, program: stage.program().to_owned(), engines }
    }

    /// Gives an order by the command line; how long it took, and whether it was answered.
    pub fn order(&self, words: &[&str]) -> (Duration, bool) {
        let began = Instant::now();
        let mut command = Command::new(&self.program);
        let ended = command.arg("--control-socket").arg(&self.socket).args(words).output().unwrap();
        (began.elapsed(), ended.status.success())
    }

    /// Pid of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All engines serve, and the group with them.
    pub fn serves(&self) -> bool {
        self.sum_of("mps_engine_state", &["state=\"serving\""]) == self.engines as f64
            && self.sum_of("mps_group_state", &["state=\"serving\""]) == 1.0
    }

    pub fn metrics(&self) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// All series of that name and with all of these in their labels, added up.
    pub fn sum_of(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics().unwrap_or_default();
        let of_name = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
        let ours = of_name.filter(|line| labels.iter().all(|label| line.contains(label)));
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub fn sum(&self, name: &str) -> f64 {
        self.sum_of(name, &[])
    }

    /// Seconds in each step so far.
    pub fn steps(&self) -> BTreeMap<&'static str, f64> {
        let of = |step: &RecoveryStep| {
            let label = format!("step=\"{step}\"");
            (step.as_str(), self.sum_of("mps_recovery_step_seconds_sum", &[&label]))
        };
        RecoveryStep::ALL.iter().map(of).collect()
    }

    pub fn await_serving(&self) {
        await_that("the group serves", || self.serves());
    }

    /// Waits until so many restarts of the group are over, and a moment later its budget is back.
    pub fn await_recoveries(&self, count: u64) {
        let serving = ["tier=\"clients\"", "result=\"serving\""];
        await_that("the recovery ends", || self.sum_of("mps_recoveries_total", &serving) >= count as f64);
        await_that("the budget is back", || self.sum("mps_restart_budget_remaining") >= 1000.0);
    }

    pub fn usage(&self) -> Usage {
        let of = |path: &str| fs::read_to_string(format!("/proc/{}/{path}", self.child.id())).unwrap();
        let status = of("status");
        let number = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.split_whitespace().nth(0).unwrap().parse().unwrap()
        };
        let stat = of("stat");
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
        let ticks: f64 = fields[12].parse::<f64>().unwrap() + fields[13].parse::<f64>().unwrap();
        Usage {
            resident: number("VmRSS:") / 1024.0,
            anonymous: number("RssAnon:") / 1024.0,
            peak: number("VmHWM:") / 1024.0,
            cpu: ticks / sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64,
            switches: self.switches(),
            threads: number("Threads:"),
        }
    }

    /// Context switches of all its threads.
    pub fn switches(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of_thread = |path: &Path| -> f64 {
            let status = fs::read_to_string(path.join("status")).unwrap_or_default();
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).sum()
        };
        tasks.map(|task| of_thread(&task.unwrap().path())).sum()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

pub fn await_that(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SERVES;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SERVES:?}: {what}");
        thread::sleep(TICK);
    }
}
