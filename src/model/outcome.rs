//! How an order ended.

use serde::{Deserialize, Serialize};

use super::ProcessId;

/// Exactly one for each order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done, or there was nothing left to do.
    Done,
    /// A process was started, or the one to be watched was found.
    Started {
        /// Which.
        process: ProcessId,
    },
    /// KILL was sent to all of these.
    Killed {
        /// Who was alive and signalled.
        processes: Vec<ProcessId>,
    },
    /// `AwaitGone` ended, by proof or by its deadline.
    Gone {
        /// Who is still there; empty: all proven gone.
        remaining: Vec<Remaining>,
    },
    /// It could not be done.
    Failed {
        /// What and why, with the cure where one is known.
        why: String,
    },
    /// Its deadline passed.
    TimedOut,
}

/// A process that did not die.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// Which.
    pub process: ProcessId,
    /// Its state letter of /proc/PID/stat: `D` can't be killed.
    pub state: char,
}
