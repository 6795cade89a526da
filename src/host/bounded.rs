//! Runs a command to its end within a bound, and keeps the beginning of what it says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::child::{self, Child, Launch, Output, Pipes, StartError};
use crate::model::Exit;

/// Bytes that are kept of each output.
const MOST_OUTPUT: usize = 4 << 10;
/// Upper bound for reading what was written just before the end, and for reaping a killed process.
pub const AFTER_THE_END: Duration = Duration::from_millis(100);
/// Characters that are shown of what a command said.
const SHOWN: usize = 200;
/// The shell becomes the program: one on a file system that hangs then hangs in a process that can be given up, and
/// holds up no other start.
const BECOME: &str = "exec \"$0\" \"$@\"";

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// End of the process; `None`: it did not come within the bound, and its process group was killed.
    pub exit: Option<Exit>,
    /// Beginning of its stdout.
    pub stdout: String,
    /// Beginning of its stderr.
    pub stderr: String,
}

impl Ran {
    /// Whether it ended with status 0.
    pub fn succeeded(&self) -> bool {
        self.exit == Some(Exit::Status(0))
    }

    /// How it failed, with the first line of what it said.
    pub fn why(&self) -> String {
        let said: String = self.stderr.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
        let said = if said.is_empty() { said } else { format!(": {said}") };
        match self.exit {
            Some(exit) => format!("it ended with {exit}{said}"),
            None => format!("it did not end in time and was killed{said}"),
        }
    }
}

/// Runs a program with arguments in this environment, with `message` on its stdin. It is killed, with its process group,
/// when the bound passes first.
pub async fn run(
    command: &[String],
    environment: BTreeMap<OsString, OsString>,
    message: &str,
    bound: impl Future<Output = ()>,
) -> Result<Ran, StartError> {
    let arguments = ["-c", BECOME].into_iter().chain(command.iter().map(String::as_str));
    let mut child = child::start(&Launch {
        program: "/bin/sh".into(),
        arguments: arguments.map(Into::into).collect(),
        environment,
        output: Output::Captured,
        ..Launch::default()
    })?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = tokio::select! {
        exit = finish(&mut child, message, &mut out, &mut err) => exit,
        () = bound => None,
    };
    if exit.is_none() {
        // It leads a process group, and is not reaped yet.
        let _ = killpg(Pid::from_raw(child.id().pid.cast_signed()), Signal::SIGKILL);
        let _ = timeout(AFTER_THE_END, child.wait()).await;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { exit, stdout: text(&out), stderr: text(&err) })
}

/// Its end, with the beginning of what it said. One that reads nothing and one that never stops writing both
/// come to theirs.
async fn finish(child: &mut Child, message: &str, out: &mut Vec<u8>, err: &mut Vec<u8>) -> Option<Exit> {
    let Pipes { stdin, stdout, stderr } = child.pipes.take()?;
    let spoken = async { tokio::join!(write(stdin, message), read(stdout, out), read(stderr, err)) };
    tokio::pin!(spoken);
    let exit = tokio::select! {
        exit = child.wait() => exit,
        _ = &mut spoken => return Some(child.wait().await),
    };
    // What it started may hold its outputs open indefinitely.
    let _ = timeout(AFTER_THE_END, spoken).await;
    Some(exit)
}

/// Nobody has to read it.
async fn write(stdin: OwnedFd, message: &str) {
    if let Ok(mut stdin) = pipe::Sender::from_owned_fd(stdin) {
        let _ = stdin.write_all(message.as_bytes()).await;
    }
}

/// Everything, of which the beginning is kept.
async fn read(output: OwnedFd, kept: &mut Vec<u8>) {
    let Ok(mut output) = pipe::Receiver::from_owned_fd(output) else { return };
    let mut chunk = [0; MOST_OUTPUT];
    while let Ok(length @ 1..) = output.read(&mut chunk).await {
        let room = MOST_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..length.min(room)]);
    }
}
