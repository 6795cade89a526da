//! One play of a recorded story: a stage, a control daemon, and clients that tell what befalls them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mpswarden::sim::{Stage, StageOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Upper bound for everything in a story.
const LIMIT: Duration = Duration::from_secs(30);

pub struct Play {
    pub stage: Stage,
    pub control: Child,
    log: PathBuf,
    _directory: TempDir,
}

/// What a command said.
#[derive(Debug, PartialEq)]
pub struct Said {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

pub struct Client {
    pub pid: u32,
    heard: Receiver<(Duration, String)>,
    ended: Receiver<(Duration, ExitStatus)>,
}

pub fn options(engines: usize) -> StageOptions {
    let mut options = StageOptions::new(env!("CARGO_BIN_EXE_mpswarden").into());
    options.engines = engines;
    options.startup = Duration::from_millis(50);
    options
}

impl Play {
    /// A stage without engines, and a control daemon that listens.
    pub fn begin() -> Play {
        Play::with_engines(0)
    }

    pub fn with_engines(engines: usize) -> Play {
        Play::on(&options(engines))
    }

    pub fn on(options: &StageOptions) -> Play {
        let directory = tempfile::Builder::new().prefix("sim").tempdir().unwrap();
        let stage = Stage::set(directory.path(), options).unwrap();
        let log = directory.path().join("daemon.log");
        let control = start_control(&stage, &log);
        let play = Play { stage, control, log, _directory: directory };
        play.await_control();
        play
    }

    /// Waits until so many clients have left the server.
    pub fn await_left(&self, clients: usize) {
        until("the clients have left", || self.log().matches("disconnected").count() == clients);
    }

    /// Starts the daemon again, after its end.
    pub fn start_control_again(&mut self) {
        self.control = start_control(&self.stage, &self.log);
        self.await_control();
    }

    fn await_control(&self) {
        let pid = self.control.id().to_string();
        let file = self.stage.pipe_directory().join("nvidia-cuda-mps-control.pid");
        until("the control daemon listens", || fs::read_to_string(&file).is_ok_and(|text| text == pid));
    }

    /// A play whose server is ACTIVE.
    pub fn with_server() -> Play {
        let play = Play::begin();
        play.start_server();
        play
    }

    pub fn start_server(&self) {
        let said = self.command(&format!("start_server -uid {}", nix::unistd::getuid()));
        assert_eq!(said, Said { status: 0, stdout: String::new(), stderr: String::new() });
        until("the server has started", || self.log().contains("Server has started"));
    }

    /// The server, by the GPU: asking the daemon would be seen in its log.
    pub fn server(&self) -> u32 {
        self.stage.ask_gpu("servers").unwrap().parse().unwrap()
    }

    /// Gives a command, and does not wait for its answer.
    pub fn begin_command(&self, command: &str) -> Child {
        let mut cli = self.environment(Command::new(self.stage.control_binary()));
        let mut cli = cli.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        writeln!(cli.stdin.take().unwrap(), "{command}").unwrap();
        cli
    }

    pub fn command(&self, command: &str) -> Said {
        let output = self.begin_command(command).wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { status: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts a client with a verb and its options, as `fault --at 0.5`.
    pub fn client(&self, story: &str) -> Client {
        self.start_client(story, self.environment(Command::new(self.stage.program())))
    }

    /// A client that looks for its daemon elsewhere.
    pub fn client_of(&self, story: &str, pipe_directory: &Path) -> Client {
        let mut client = self.environment(Command::new(self.stage.program()));
        client.env("CUDA_MPS_PIPE_DIRECTORY", pipe_directory);
        self.start_client(story, client)
    }

    /// A client with one more variable in its environment.
    pub fn client_with(&self, story: &str, variable: &str, value: &str) -> Client {
        let mut client = self.environment(Command::new(self.stage.program()));
        client.env(variable, value);
        self.start_client(story, client)
    }

    fn start_client(&self, story: &str, mut client: Command) -> Client {
        client.args(["sim", "client"]).args(story.split_whitespace()).arg("--gpu").arg(self.stage.gpu_socket());
        Client::of(client.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// A client with its context made.
    pub fn ready_client(&self, story: &str) -> Client {
        let client = self.client(story);
        client.hears("context ready");
        client
    }

    pub fn environment(&self, mut command: Command) -> Command {
        command.env("CUDA_MPS_PIPE_DIRECTORY", self.stage.pipe_directory());
        command.env("CUDA_VISIBLE_DEVICES", self.stage.gpu_uuids().join(",")).env("TZ", "UTC");
        command
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ends the play in order, as the recordings do.
    pub fn quit(&mut self) -> String {
        assert_eq!(self.command("quit -t 2").status, 0);
        assert!(self.control.wait().unwrap().success());
        self.log()
    }

    /// Whether exiting processes are held for their teardown; not where ptrace is not permitted.
    pub fn holds(&self) -> bool {
        self.stage.ask_gpu("holds").unwrap() == "true"
    }

    pub fn memory_used(&self) -> u64 {
        self.stage.ask_gpu("memory").unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A control daemon beside the play's own.
pub struct OtherDaemon(Child, PathBuf);

impl OtherDaemon {
    pub fn directory(&self) -> &Path {
        &self.1
    }
}

impl Drop for OtherDaemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Play {
    /// Starts a second control daemon on the same GPU.
    pub fn another_daemon(&self, directory: &Path) -> OtherDaemon {
        let mut command = self.environment(Command::new(self.stage.control_binary()));
        command.arg("-f").env("CUDA_MPS_PIPE_DIRECTORY", directory).stdout(Stdio::null());
        let other = OtherDaemon(command.spawn().unwrap(), directory.to_owned());
        until("the other daemon listens", || directory.join("nvidia-cuda-mps-control.pid").exists());
        other
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        let _ = self.control.kill();
        let _ = self.control.wait();
    }
}

fn start_control(stage: &Stage, log: &PathBuf) -> Child {
    let out = File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(stage.control_binary());
    command.arg("-f").env("CUDA_MPS_PIPE_DIRECTORY", stage.pipe_directory()).env("TZ", "UTC");
    command.env("CUDA_VISIBLE_DEVICES", stage.gpu_uuids().join(","));
    command.stdin(Stdio::null()).stdout(out).spawn().unwrap()
}

impl Client {
    fn of(mut child: Child) -> Client {
        let pid = child.id();
        let (to, heard) = channel();
        let (end, ended) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let (when, line) = line.split_once(' ').unwrap();
                let _ = to.send((Duration::from_secs_f64(when.parse().unwrap()), line.to_owned()));
            }
        });
        thread::spawn(move || {
            let status = child.wait().unwrap();
            let _ = end.send((now(), status));
        });
        Client { pid, heard, ended }
    }

    /// Waits for a line that begins so; the line, and when the client said it.
    pub fn hears(&self, beginning: &str) -> (Duration, String) {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((when, line)) if line.starts_with(beginning) => return (when, line),
                Ok(_) => {}
                Err(error) => panic!("client {} said no `{beginning}`: {error}", self.pid),
            }
        }
    }

    /// Waits for a CUDA error; when it came.
    pub fn fails_with(&self, code: u32, name: &str) -> Duration {
        let (when, line) = self.hears("ERROR");
        assert!(line.contains(&format!("code={code} name={name} text=")), "{line}");
        when
    }

    /// Waits until its parent has reaped it; when, and how it ended.
    pub fn reaped(&self) -> (Duration, ExitStatus) {
        self.ended.recv_timeout(LIMIT).unwrap()
    }

    pub fn lives(&self) -> bool {
        matches!(self.ended.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout))
    }

    pub fn kill(&self, signal: Signal) -> Duration {
        let before = now();
        kill(Pid::from_raw(self.pid.cast_signed()), signal).unwrap();
        before
    }
}

/// Time since the epoch, as clients tell it too.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}
