//! Runs the commands that are called for events, on a thread of their own: bounded in time, in number at once and in
//! number that wait. Which command is called for what is decided elsewhere; the core waits for none of it.

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::environment;
use super::shared::OwnerMark;
use crate::host::bounded::{self, AFTER_THE_END};
use crate::model::{EngineName, Exit, GroupName, Hook, HookResult};

/// Upper bound for one run; then its process group is killed.
const BOUND: Duration = Duration::from_secs(10);
/// Upper bound for hooks that run when the watchdog ends.
const LAST_BOUND: Duration = Duration::from_secs(2);
/// Calls that wait; over it the oldest is dropped.
const MOST_WAITING: usize = 64;

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
    let environment = environment::of_hook(std::env::vars_os().collect(), call, &line.owner);
    match bounded::run(&call.command, environment, &call.message, line.bound()).await {
        Err(error) => (HookResult::Failed, error.to_string()),
        Ok(ran) => {
            let (out, err) = (ran.stdout.trim_end(), ran.stderr.trim_end());
            tracing::debug!(hook = call.hook.as_str(), stdout = %out, stderr = %err, "a hook's output");
            match ran.exit {
                Some(Exit::Status(0)) => (HookResult::Ok, String::new()),
                Some(_) => (HookResult::Failed, ran.why()),
                None => (HookResult::Timeout, ran.why()),
            }
        }
    }
}

#[cfg(test)]
#[path = "hooks_tests.rs"]
mod tests;
