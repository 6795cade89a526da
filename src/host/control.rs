//! The MPS control daemon's command line: one command at a time, each bounded, its process ended with
//! it. What an answer means is decided elsewhere.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::child::{Child, Launch, Output, Pipes, start};
use super::clock;
use crate::model::{CommandResult, Exit};

/// How long a command that reads may take.
pub const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// What is kept of a command's output.
const MOST_OUTPUT: u64 = 64 << 10;
/// Upper bound for reaping a killed command.
const REAP: Duration = Duration::from_secs(1);

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The daemon answered this. An error of the command itself is an answer too.
    Answered(String),
    /// It served others all the time.
    Refused,
    /// No daemon there, for this reason.
    Unreachable(String),
    /// No answer in time.
    Timeout,
    /// It was never asked: the program is not there or did not run, for this reason. It says nothing of the daemon.
    NotAsked(String),
}

impl CommandOutcome {
    /// The result without the text.
    pub fn result(&self) -> CommandResult {
        match self {
            CommandOutcome::Answered(_) => CommandResult::Answered,
            CommandOutcome::Refused => CommandResult::Refused,
            CommandOutcome::Unreachable(_) => CommandResult::Unreachable,
            CommandOutcome::Timeout => CommandResult::Timeout,
            CommandOutcome::NotAsked(_) => CommandResult::NotAsked,
        }
    }
}

/// Commands to one control daemon, in turn. Clones share the turn.
#[derive(Clone, Debug)]
pub struct ControlClient {
    binary: PathBuf,
    pipe_directory: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl ControlClient {
    /// A client of the daemon in `pipe_directory`, by the program `binary`, a path or a name on PATH.
    pub fn new(binary: &Path, pipe_directory: &Path) -> Self {
        let (binary, pipe_directory) = (binary.to_owned(), pipe_directory.to_owned());
        ControlClient { binary, pipe_directory, turn: Arc::default() }
    }

    /// Where the daemon's sockets are.
    pub fn pipe_directory(&self) -> &Path {
        &self.pipe_directory
    }

    /// The program that is run for each command.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Gives one command and waits for its answer. `limit` counts from its turn: commands before it are
    /// bounded by their own. A refusal is tried again until then.
    pub async fn command(&self, text: &str, limit: Duration) -> CommandOutcome {
        let _turn = self.turn.lock().await;
        let deadline = Instant::now() + limit;
        let mut wait = Duration::from_millis(5);
        loop {
            let outcome = self.once(text, deadline).await;
            if outcome != CommandOutcome::Refused || Instant::now() + wait >= deadline {
                return outcome;
            }
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(Duration::from_millis(200));
        }
    }

    async fn once(&self, text: &str, deadline: Instant) -> CommandOutcome {
        let mut running = match self.start() {
            Ok(running) => running,
            Err(why) => return CommandOutcome::NotAsked(why),
        };
        match timeout_at(deadline, running.finish(text)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => CommandOutcome::NotAsked(format!("`{}`: {error}", self.binary.display())),
            Err(_) => {
                running.kill();
                let _ = timeout(REAP, running.child.wait()).await;
                CommandOutcome::Timeout
            }
        }
    }

    fn start(&self) -> Result<Running, String> {
        let mut environment: std::collections::BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        environment.insert("CUDA_MPS_PIPE_DIRECTORY".into(), self.pipe_directory.clone().into());
        let launch =
            Launch { program: self.binary.clone(), environment, output: Output::Captured, ..Launch::default() };
        let mut child = start(&launch).map_err(|error| error.to_string())?;
        let pipes = child.pipes.take().ok_or("its output was not captured")?;
        Ok(Running { child, pipes: Some(pipes), ended: false })
    }
}

/// A command's process. It ends with its command, also when its caller no longer waits.
struct Running {
    child: Child,
    pipes: Option<Pipes>,
    ended: bool,
}

impl Running {
    async fn finish(&mut self, text: &str) -> io::Result<CommandOutcome> {
        let Some(pipes) = self.pipes.take() else { return Err(io::Error::other("it was asked twice")) };
        let mut stdin = pipe::Sender::from_owned_fd(pipes.stdin)?;
        // One that ends without reading has still something to say.
        let _ = stdin.write_all(format!("{text}\n").as_bytes()).await;
        drop(stdin);
        let (stdout, stderr) = tokio::try_join!(read(pipes.stdout), read(pipes.stderr))?;
        let exit = self.child.wait().await;
        self.ended = true;
        Ok(judge(exit, stdout, &stderr))
    }

    /// Ends it with all that it started: it leads a process group, and is not reaped yet.
    fn kill(&mut self) {
        if !self.ended {
            self.ended = true;
            let _ = killpg(Pid::from_raw(self.child.id().pid as i32), Signal::SIGKILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Everything until the other end closes, of which the beginning is kept.
async fn read(pipe: std::os::fd::OwnedFd) -> io::Result<String> {
    let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
    let mut text = Vec::new();
    (&mut pipe).take(MOST_OUTPUT).read_to_end(&mut text).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What the program says where it looked for a daemon, whether it found one or not.
const LOOKED: &str = "mps control";

/// Status 0 means only that the daemon was reached. Of an end without the program's own words about the daemon (a
/// library that is missing, a signal, no memory) it is not known whether it looked for one.
fn judge(exit: Exit, stdout: String, stderr: &str) -> CommandOutcome {
    let said = format!("{stdout}{stderr}");
    match exit {
        Exit::Status(0) => CommandOutcome::Answered(stdout),
        _ if said.contains("Cannot send command to MPS control daemon") => CommandOutcome::Refused,
        Exit::Status(_) if said.to_ascii_lowercase().contains(LOOKED) => {
            CommandOutcome::Unreachable(said.trim().to_owned())
        }
        _ if said.trim().is_empty() => CommandOutcome::NotAsked(format!("its program ended with {exit}")),
        Exit::Status(_) | Exit::Signal(_) | Exit::Unknown => {
            CommandOutcome::NotAsked(format!("its program ended with {exit}: {}", beginning(said.trim())))
        }
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(300).collect()
}

/// A random time between half of `wait` and all of it, so that callers who were refused together come back apart.
fn jittered(wait: Duration) -> Duration {
    let random = clock::now().as_nanos() % 1000;
    wait / 2 + wait.mul_f64(random as f64 / 2000.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::process::Command;

    use super::super::procfs::Procfs;
    use super::*;

    struct Fake {
        directory: tempfile::TempDir,
        client: ControlClient,
    }

    /// A control daemon's command line that is a shell script.
    fn fake(script: &str) -> Fake {
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("control");
        let text = format!("#!/bin/sh\ncd \"$CUDA_MPS_PIPE_DIRECTORY\"\nread command\n{script}\n");
        // Written by another process: one forked meanwhile by another test would hold a script open for
        // writing that we write ourselves, and it could not be executed.
        let write = "printf %s \"$1\" >\"$2\" && chmod +x \"$2\"";
        let written = Command::new("sh").args(["-c", write, "sh", &text]).arg(&binary).status().unwrap();
        assert!(written.success());
        let client = ControlClient::new(&binary, directory.path());
        Fake { directory, client }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_answer_to_the_command_comes_back() {
        let fake = fake("echo \"heard $command\"");
        let outcome = fake.client.command("get_server_list", LONG).await;
        assert_eq!(outcome, CommandOutcome::Answered("heard get_server_list\n".into()));
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_unreachable() {
        let fake = fake("echo 'Cannot find MPS control daemon process' >&2; exit 1");
        let outcome = fake.client.command("get_server_list", LONG).await;
        assert_eq!(outcome.result(), CommandResult::Unreachable);
        let missing = ControlClient::new(Path::new("no-such-program"), Path::new("/tmp"));
        let CommandOutcome::NotAsked(why) = missing.command("x", LONG).await else { panic!("it was asked") };
        assert!(why.contains("no-such-program"), "{why}");
    }

    #[tokio::test]
    async fn a_refusal_is_tried_again_until_the_daemon_has_time() {
        let fake = fake(
            "echo x >>tries; [ $(wc -l <tries) -ge 3 ] && echo done && exit 0
             echo 'Cannot send command to MPS control daemon process' >&2; exit 1",
        );
        assert_eq!(fake.client.command("x", LONG).await, CommandOutcome::Answered("done\n".into()));
    }

    #[test]
    fn the_two_errors_of_the_command_line_are_told_apart() {
        let judged = |stderr| judge(Exit::Status(1), String::new(), stderr).result();
        assert_eq!(judged("Cannot send command to MPS control daemon process\n"), CommandResult::Refused);
        assert_eq!(judged("Cannot find MPS control daemon process\n"), CommandResult::Unreachable);
    }

    #[test]
    fn an_end_without_a_word_about_the_daemon_says_nothing_of_it() {
        let judged = |exit, stderr| judge(exit, String::new(), stderr).result();
        let library = "nvidia-cuda-mps-control: error while loading shared libraries: libx.so.1: cannot open\n";
        assert_eq!(judged(Exit::Status(127), library), CommandResult::NotAsked);
        assert_eq!(judged(Exit::Status(1), ""), CommandResult::NotAsked);
        assert_eq!(judged(Exit::Signal(9), ""), CommandResult::NotAsked);
        assert_eq!(judged(Exit::Signal(9), "Cannot find MPS control daemon process\n"), CommandResult::NotAsked);
    }

    #[tokio::test]
    async fn a_program_that_may_not_be_run_asks_nobody() {
        let fake = fake("echo never");
        let binary = fake.directory.path().join("control");
        std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let CommandOutcome::NotAsked(why) = fake.client.command("x", LONG).await else { panic!("it was asked") };
        assert!(why.contains("chmod +x"), "{why}");
    }

    #[tokio::test]
    async fn a_wedged_command_is_killed_at_its_timeout_with_its_children() {
        let fake = fake("sleep 1000 & echo $! >child; echo $$ >pid; wait");
        let asked = fake.client.command("x", Duration::from_millis(300)).await;
        assert_eq!(asked, CommandOutcome::Timeout);
        for name in ["pid", "child"] {
            let Ok(pid) = std::fs::read_to_string(fake.directory.path().join(name)) else { continue };
            let deadline = clock::now().after(LONG);
            let lives = || Procfs::new(Path::new("/proc")).stat(pid.trim().parse().unwrap()).unwrap();
            while lives().is_some_and(|stat| stat.lives()) {
                assert!(clock::now() < deadline, "{name} ends");
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn commands_take_turns() {
        let fake = fake("mkdir busy || exit 9; rmdir busy; echo free");
        let ask = || fake.client.command("x", LONG);
        let answers = tokio::join!(ask(), ask(), ask(), ask());
        let free = CommandOutcome::Answered("free\n".into());
        assert_eq!(answers, (free.clone(), free.clone(), free.clone(), free));
    }

    #[tokio::test]
    async fn a_flood_of_output_is_cut() {
        let fake = fake("head -c 1000000 /dev/zero");
        let CommandOutcome::Answered(text) = fake.client.command("x", LONG).await else { panic!("no answer") };
        assert_eq!(text.len(), MOST_OUTPUT as usize);
    }
}
