//! How an order ended.

use serde::{Deserialize, Serialize};

use super::{Blindness, HeldReason, ProcessId, SourceState};

/// Exactly one for each order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done, or there was nothing left to do.
    Done,
    /// A process was started, or the one to be watched was found.
    Started {
        /// Identity of the process.
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
    /// It could not be done; of a reading: the other side did not answer.
    Failed {
        /// What and why, with the cure where one is known.
        why: String,
    },
    /// It can't be begun while something outside stays as it is. Nothing was tried.
    Waits {
        /// Reason for the wait.
        reason: HeldReason,
        /// Sentence for people, with the cure.
        why: String,
    },
    /// The action's deadline passed.
    TimedOut,
    /// The answer to a look says nothing that is known here.
    NotUnderstood {
        /// Description of what came.
        why: String,
    },
    /// The watchdog itself could not ask: nothing follows from it about the other side.
    NotAsked {
        /// Why not, with the cure where one is known.
        why: String,
    },
}

/// The outcome of a look that shows nothing.
impl From<Blindness> for Outcome {
    fn from(Blindness { state, why }: Blindness) -> Self {
        match state {
            SourceState::NotUnderstood => Outcome::NotUnderstood { why },
            SourceState::NotAsked => Outcome::NotAsked { why },
            SourceState::Silent | SourceState::Answers => Outcome::Failed { why },
        }
    }
}

impl Outcome {
    /// The reason why a look shows nothing; `None`: it shows something.
    pub fn blindness(&self) -> Option<Blindness> {
        match self {
            Outcome::Failed { why } => Some(Blindness::silent(why.clone())),
            Outcome::TimedOut => Some(Blindness::silent("no answer in its time")),
            Outcome::NotUnderstood { why } => Some(Blindness::not_understood(why.clone())),
            Outcome::NotAsked { why } => Some(Blindness::not_asked(why.clone())),
            Outcome::Done | Outcome::Started { .. } | Outcome::Killed { .. } => None,
            Outcome::Gone { .. } | Outcome::Waits { .. } => None,
        }
    }
}

/// A process that did not die.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// Identity of the process.
    pub process: ProcessId,
    /// Its state letter of /proc/PID/stat: `D` can't be killed.
    pub state: char,
}
