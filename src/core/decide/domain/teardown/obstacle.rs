//! What stands in the way of an end.

use crate::decide::turn::{NO_OUTCOME, failure};
use crate::model::{HeldReason, Outcome, Remaining};

/// Why processes are not proven gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// These processes do not die.
    Lives(Vec<Remaining>),
    /// It was tried, and nothing proves that they are gone.
    Unproven { why: String },
    /// It can't be tried while something outside stays as it is.
    Waits { reason: HeldReason, why: String },
    /// mpswarden lacks what it needs to try: that says nothing of the processes.
    NotAsked { why: String },
}

impl Obstacle {
    /// What an outcome says that is not the success of its action.
    pub(crate) fn of(outcome: Outcome) -> Obstacle {
        match outcome {
            Outcome::Gone { remaining } => Obstacle::Lives(remaining),
            Outcome::Waits { reason, why } => Obstacle::Waits { reason, why },
            Outcome::NotAsked { why } => Obstacle::NotAsked { why },
            outcome @ (Outcome::Done
            | Outcome::Started { .. }
            | Outcome::Killed { .. }
            | Outcome::Failed { .. }
            | Outcome::TimedOut
            | Outcome::NotUnderstood { .. }) => {
                Obstacle::Unproven { why: failure(&outcome).unwrap_or_else(|| NO_OUTCOME.to_owned()) }
            }
        }
    }

    /// Why a group is held for it.
    pub(crate) fn held_reason(&self) -> HeldReason {
        match self {
            Obstacle::Lives(_) | Obstacle::Unproven { .. } => HeldReason::ProcessStuck,
            Obstacle::Waits { reason, .. } => *reason,
            Obstacle::NotAsked { .. } => HeldReason::OutOfResources,
        }
    }

    /// Sentence for people.
    pub(crate) fn why(&self) -> String {
        match self {
            Obstacle::Lives(remaining) => {
                let list: Vec<String> =
                    remaining.iter().map(|left| format!("{} (state {})", left.process, left.state)).collect();
                format!("process {} does not die; state D is a driver call that hangs", list.join(", "))
            }
            Obstacle::Unproven { why } | Obstacle::Waits { why, .. } | Obstacle::NotAsked { why } => why.clone(),
        }
    }
}
