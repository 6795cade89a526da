//! A running `mpswarden run`: its log, its HTTP, its end. Dropping it kills it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::http;
use crate::support::metrics::Metrics;
use crate::support::scene::{PATIENCE, eventually, program};
use crate::support::schema;

const GROUP: &str = "small-llms";

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line(Value);

impl Line {
    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// The event's word; of a line that is none, nothing.
    pub fn event(&self) -> &str {
        self.text("event")
    }

    /// The engine it is about.
    pub fn engine(&self) -> &str {
        self.text("engine")
    }

    /// When it was written.
    pub fn at(&self) -> jiff::Timestamp {
        self.text("timestamp").parse().unwrap_or_default()
    }

    /// Sentence of the line.
    pub fn message(&self) -> &str {
        self.text("message")
    }

    /// Whether it is this event and its sentence has this part.
    pub fn is(&self, event: &str, part: &str) -> bool {
        self.event() == event && self.message().contains(part)
    }
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Line>>,
    news: Condvar,
}

/// The main process of an engine and its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnginePids {
    pub name: String,
    pub main: i64,
    pub clients: Vec<i64>,
}

impl EnginePids {
    /// All of them.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        self.clients.iter().copied().chain([self.main]).filter_map(|pid| i32::try_from(pid).ok())
    }
}

/// A watchdog.
pub struct Watchdog {
    child: Child,
    log: Arc<Log>,
}

impl Watchdog {
    /// Starts one over a configuration.
    pub fn start(configuration: &Path) -> Watchdog {
        Watchdog::start_as(Command::new(program()), configuration)
    }

    /// The same with a socket passed as systemd does (sd_listen_fds(3)).
    pub fn start_with_socket(configuration: &Path, socket: &TcpListener) -> Watchdog {
        let mut command = Command::new("sh");
        let script =
            format!("LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec {} \"$@\"", program().display());
        command.args(["-c", &script, "sh"]);
        let passed = socket.as_raw_fd();
        // SAFETY: system calls alone between fork and exec; the socket lives on.
        unsafe {
            command.pre_exec(move || match nix::libc::dup2(passed, 3) {
                3 if nix::libc::fcntl(3, nix::libc::F_SETFD, 0) == 0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
        Watchdog::start_as(command, configuration)
    }

    fn start_as(mut command: Command, configuration: &Path) -> Watchdog {
        command.arg("run").arg("--config").arg(configuration);
        Watchdog::start_with(command, configuration.parent().unwrap())
    }

    /// Starts one that looks after the control daemon in `pipe`, without a configuration, where the stage in `place` is.
    pub fn attach(place: &Path, pipe: &Path) -> Watchdog {
        Watchdog::attach_with(place, pipe, &[])
    }

    /// The same with further options.
    pub fn attach_with(place: &Path, pipe: &Path, options: &[&str]) -> Watchdog {
        let mut command = Command::new(program());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(place.to_owned()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(paths).unwrap()).env("LD_LIBRARY_PATH", place);
        command.env("STATE_DIRECTORY", place.join("state"));
        command.arg("run").arg("--attach").arg(pipe).args(["--web.listen-address", "127.0.0.1:0"]).args(options);
        Watchdog::start_with(command, place)
    }

    fn start_with(mut command: Command, place: &Path) -> Watchdog {
        command.args(["--log.format", "json", "--log.level", "debug"]);
        command.arg("--control-socket").arg(place.join("control.sock"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        let (output, to) = (child.stderr.take().unwrap(), log.clone());
        thread::spawn(move || to.read(output));
        Watchdog { child, log }
    }

    /// Pid of the watchdog.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The log so far.
    pub fn lines(&self) -> Vec<Line> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Where the log stands now: what comes later is after it.
    pub fn mark(&self) -> usize {
        self.log.lines.lock().unwrap().len()
    }

    /// Waits for a line; it may have come long ago.
    pub fn await_line(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
        self.await_line_after(0, what, wanted)
    }

    /// Waits for a line after a mark.
    pub fn await_line_after(&self, mark: usize, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = lines[mark..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let log = told(&lines);
                drop(lines);
                panic!("waited in vain for {what}; the log:\n{log}");
            }
            lines = self.log.news.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for an event whose sentence has this part.
    pub fn await_event(&self, event: &str, part: &str) -> Line {
        self.await_line(&format!("{event} with `{part}`"), |line| line.is(event, part))
    }

    /// Waits for such an event of one engine.
    pub fn await_engine(&self, event: &str, engine: &str) -> Line {
        self.await_line(&format!("{event} of {engine}"), |line| line.event() == event && line.engine() == engine)
    }

    /// How many such events there were.
    pub fn count(&self, event: &str, part: &str) -> usize {
        self.lines().iter().filter(|line| line.is(event, part)).count()
    }

    /// Where HTTP is served, from the log.
    pub fn address(&self) -> SocketAddr {
        let serves = "serving HTTP on http://";
        let line = self.await_line("the HTTP address", |line| line.message().starts_with(serves));
        line.message()[serves.len()..].parse().unwrap()
    }

    /// The status of a GET.
    pub fn get(&self, path: &str) -> u16 {
        http::get(self.address(), path).map_or(0, |(status, _)| status)
    }

    /// Whether the group serves with all its engines, by `/-/ready`.
    pub fn ready(&self) -> u16 {
        self.get(&format!("/-/ready?group={GROUP}"))
    }

    /// One scrape.
    pub fn metrics(&self) -> Metrics {
        let (status, text) = http::get(self.address(), "/metrics").unwrap();
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }

    /// `/api/v1/status`, the only group's part.
    pub fn status(&self) -> Value {
        let (_, text) = http::get(self.address(), "/api/v1/status").unwrap();
        let mut status: Value = serde_json::from_str(&text).unwrap();
        schema::assert_is("status", &status);
        status["groups"][0].take()
    }

    /// The group's generation.
    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().unwrap()
    }

    /// The engines' processes, as the watchdog sees them.
    pub fn engines(&self) -> Vec<EnginePids> {
        let status = self.status();
        let engines = status["engines"].as_array().unwrap().iter();
        let pids = |value: &Value| value.as_array().unwrap().iter().filter_map(Value::as_i64).collect();
        let pids = |engine: &Value| EnginePids {
            name: engine["name"].as_str().unwrap().to_owned(),
            main: engine["main"]["pid"].as_i64().unwrap_or(0),
            clients: pids(&engine["clients"]),
        };
        engines.map(pids).collect()
    }

    /// Waits until the group serves with all its engines.
    pub fn await_serving(&self) {
        let log = || told(&self.log.lines.lock().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while self.ready() != 200 {
            assert!(Instant::now() < deadline, "the group does not serve; the log:\n{}", log());
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Waits until `/metrics` shows it.
    pub fn await_metrics(&self, what: &str, shown: impl Fn(&Metrics) -> bool) -> Metrics {
        eventually(what, || Some(self.metrics()).filter(&shown))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let log = &self.log;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end; the log:\n{}", told(&log.lines.lock().unwrap()));
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// All that it said, a line each.
    pub fn told(&self) -> String {
        told(&self.log.lines.lock().unwrap())
    }

    /// SIGTERM to it; back when it has been heard.
    pub fn ask_to_stop(&self) {
        let mark = self.mark();
        self.signal(Signal::SIGTERM);
        self.await_line_after(mark, "the signal", |line| line.message().starts_with("a signal asks to stop"));
    }

    /// SIGTERM, and the proof that it ends with 0.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "{status}; the log:\n{}", self.told());
    }

    /// SIGKILL, as a crash.
    pub fn crash(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }
}

impl Log {
    fn read(&self, output: ChildStderr) {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let parsed = serde_json::from_str(&line);
            let value = parsed.unwrap_or_else(|_| serde_json::json!({ "message": line }));
            self.lines.lock().unwrap().push(Line(value));
            self.news.notify_all();
        }
    }
}

/// The log for a person; commands in steady state say nothing.
fn told(lines: &[Line]) -> String {
    let lines = lines.iter().filter(|line| line.event() != "command");
    lines.map(|line| format!("{} {}\n", line.text("timestamp"), line.message())).collect()
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
