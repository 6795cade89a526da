//! Runs the commands that are called for events, on a thread of their own: bounded in time, in number at once and in
//! number that wait. Which command is called for what is decided elsewhere; the core waits for none of it.

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::environment;
use super::shared::OwnerMark;
use crate::host::child::{self, Child, Launch, Output, Pipes};
use crate::model::{EngineName, Exit, GroupName, Hook, HookResult};

/// Upper bound for one run; then its process group is killed.
const BOUND: Duration = Duration::from_secs(10);
/// Upper bound for hooks that run when the watchdog ends.
const LAST_BOUND: Duration = Duration::from_secs(2);
/// Calls that wait; over it the oldest is dropped.
const MOST_WAITING: usize = 64;
/// Bytes that are kept of each output of a run.
const MOST_OUTPUT: usize = 4 << 10;
/// Upper bound for reading what was written just before the end, and for reaping a killed process.
const AFTER_THE_END: Duration = Duration::from_millis(100);
/// The shell becomes the program: one on a file system that hangs then hangs in a process that can be given up, and
/// holds up no other start.
const BECOME: &str = "exec \"$0\" \"$@\"";

/// One run that is wanted.
#[derive(Clone, Debug)]
pub struct Call {
    /// The hook that is to be run.
    pub hook: Hook,
    /// Program and arguments.
    pub command: Vec<String>,
    /// One JSON object for the command's stdin.
    pub message: String,
    /// Group that the command's environment names.
    pub group: Option<GroupName>,
    /// Engine that the command's environment names.
    pub engine: Option<EngineName>,
}

/// Called with each run's end: which, how, and why it failed.
pub(super) type Report = Box<dyn Fn(Hook, HookResult, String) + Send + Sync>;

/// The thread that runs them.
pub struct Hooks {
    line: Arc<Line>,
    /// Disconnected when the thread has ended.
    over: Mutex<Receiver<()>>,
}

/// Calls on their way to the thread.
struct Line {
    waiting: Mutex<VecDeque<Call>>,
    news: Notify,
    closing: watch::Sender<bool>,
    owner: OwnerMark,
    report: Report,
}

impl Hooks {
    /// Starts the thread; runs nothing yet.
    pub fn start(owner: OwnerMark, report: Report) -> io::Result<Hooks> {
        // Where no thread can be had it is leaked: dropped on another runtime's thread it would panic.
        let runtime = ManuallyDrop::new(Builder::new_current_thread().enable_all().build()?);
        let (waiting, news, closing) = (Mutex::default(), Notify::new(), watch::Sender::new(false));
        let line = Arc::new(Line { waiting, news, closing, owner, report });
        let (running, over) = sync_channel(0);
        let served = line.clone();
        thread::Builder::new().name("hooks".into()).spawn(move || {
            serve(&ManuallyDrop::into_inner(runtime), &served);
            drop(running);
        })?;
        Ok(Hooks { line, over: Mutex::new(over) })
    }

    /// Wants a run. Never waits.
    pub fn call(&self, call: Call) {
        let dropped = {
            let mut waiting = self.line.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push_back(call);
            if waiting.len() > MOST_WAITING { waiting.pop_front() } else { None }
        };
        if let Some(call) = dropped {
            (self.line.report)(call.hook, HookResult::Dropped, format!("over {MOST_WAITING} were waiting"));
        }
        self.line.news.notify_one();
    }

    /// Lets those that run and wait end, within 2 s; kills what is left.
    pub fn finish(&self) {
        self.line.closing.send_replace(true);
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = over.recv_timeout(LAST_BOUND + 5 * AFTER_THE_END);
    }
}

/// Runs the calls, as many at once as there are workers.
fn serve(runtime: &Runtime, line: &Line) {
    runtime.block_on(async { tokio::join!(work(line), work(line), work(line), work(line)) });
}

async fn work(line: &Line) {
    while let Some(call) = line.next().await {
        let (result, why) = run(&call, line).await;
        (line.report)(call.hook, result, why);
    }
}

impl Line {
    /// The oldest that waits; `None`: there is none, and none will come.
    async fn next(&self) -> Option<Call> {
        let mut closing = self.closing.subscribe();
        loop {
            if let Some(call) = self.take() {
                return Some(call);
            }
            if *closing.borrow() {
                return None;
            }
            tokio::select! {
                () = self.news.notified() => {}
                _ = closing.changed() => {}
            }
        }
    }

    fn take(&self) -> Option<Call> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let call = waiting.pop_front();
        if !waiting.is_empty() {
            // Two calls in a row may have left one notice only.
            self.news.notify_one();
        }
        call
    }

    /// Passes when a run has had its time.
    async fn bound(&self) {
        let mut closing = self.closing.subscribe();
        let last = async {
            // The sender lives as long as this.
            let _ = closing.wait_for(|closing| *closing).await;
            sleep(LAST_BOUND).await;
        };
        tokio::select! {
            () = sleep(BOUND) => {}
            () = last => {}
        }
    }
}

async fn run(call: &Call, line: &Line) -> (HookResult, String) {
    let mut child = match child::start(&launch_of(call, &line.owner)) {
        Ok(child) => child,
        Err(error) => return (HookResult::Failed, error.to_string()),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ended = tokio::select! {
        exit = finish(&mut child, &call.message, &mut out, &mut err) => exit,
        () = line.bound() => None,
    };
    if ended.is_none() {
        // It leads a process group, and is not reaped yet.
        let _ = killpg(Pid::from_raw(child.id().pid.cast_signed()), Signal::SIGKILL);
        let _ = timeout(AFTER_THE_END, child.wait()).await;
    }
    let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    tracing::debug!(hook = call.hook.as_str(), stdout = %out.trim_end(), stderr = %err.trim_end(), "a hook's output");
    judge(ended, &err)
}

fn launch_of(call: &Call, owner: &OwnerMark) -> Launch {
    let command = ["-c", BECOME].into_iter().chain(call.command.iter().map(String::as_str));
    Launch {
        program: "/bin/sh".into(),
        arguments: command.map(Into::into).collect(),
        environment: environment::of_hook(std::env::vars_os().collect(), call, owner),
        output: Output::Captured,
        ..Launch::default()
    }
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

fn judge(ended: Option<Exit>, stderr: &str) -> (HookResult, String) {
    let said: String = stderr.lines().next().unwrap_or_default().chars().take(200).collect();
    let said = if said.is_empty() { said } else { format!(": {said}") };
    match ended {
        Some(Exit::Status(0)) => (HookResult::Ok, String::new()),
        Some(exit) => (HookResult::Failed, format!("it ended with {exit}{said}")),
        None => (HookResult::Timeout, format!("it did not end in time and was killed{said}")),
    }
}

#[cfg(test)]
#[path = "hooks_tests.rs"]
mod tests;
