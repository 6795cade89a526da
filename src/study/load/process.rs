//! The load's own process, from outside: it is started, says when what counts begins and ends, and what came of it. It
//! ends with what holds it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::{LoadOrder, Loaded};

/// The program that runs, also where its file has been replaced since.
const SELF: &str = "/proc/self/exe";
/// The hidden command.
const COMMAND: &str = "study-load";
/// Upper bound for the last requests and the answer, after both times of the order.
const AFTER: Duration = Duration::from_secs(30);

/// A step of the load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::study) enum Step {
    /// The beginning of what counts.
    Counts,
    /// The end of what counts.
    Counted,
    /// The end of everything, with what came of it.
    Done(Loaded),
}

/// A load under way. Dropped, it ends.
#[derive(Debug)]
pub(in crate::study) struct LoadProcess {
    child: Child,
    /// Its end is the load's.
    _alive: ChildStdin,
    steps: UnboundedReceiver<Step>,
    deadline: Instant,
}

impl LoadProcess {
    /// Starts the load.
    pub(in crate::study) fn start(order: &LoadOrder) -> Result<LoadProcess, String> {
        let failed = |error: io::Error| format!("the load's process can't be started: {error}");
        let mut command = Command::new(SELF);
        command.arg0("mpswarden").arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (Some(mut alive), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the load's process has no pipes".to_owned());
        };
        let (sender, steps) = unbounded_channel();
        let mut line = serde_json::to_string(order).map_err(|error| error.to_string())?;
        line.push('\n');
        let written = alive.write_all(line.as_bytes());
        thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.filter_map(|line| serde_json::from_str(&line).ok()).all(|step: Step| sender.send(step).is_ok());
        });
        let bound = Duration::from_secs_f64(2.0 * order.longest.max(order.seconds)) + AFTER;
        let process = LoadProcess { child, _alive: alive, steps, deadline: Instant::now() + bound };
        written.map_err(failed)?;
        Ok(process)
    }

    /// Pid of the load's process.
    pub(in crate::study) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next step, within the order's times. It may be dropped: no step is lost.
    pub(in crate::study) async fn next(&mut self) -> Result<Step, String> {
        match timeout_at(self.deadline, self.steps.recv()).await {
            Ok(Some(step)) => Ok(step),
            Ok(None) => Err("the load's process ended without an answer".to_owned()),
            Err(_) => Err("the load's process gave no answer in its time".to_owned()),
        }
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        // It is our child and not waited for yet: its pid is its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
