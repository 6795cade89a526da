//! A restart whose engines are being started.

use crate::decide::facts::attempt::Attempt;
use crate::decide::turn::Turn;
use crate::model::{EngineName, Moment, Reason, RecoveryStep, Tier, What};

/// A restart whose engines are being started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settling {
    pub tier: Tier,
    pub reason: Option<Reason>,
    /// When the restart was decided.
    pub since: Moment,
    /// The attempt that it is; `None` for a first start, or where it has its result already.
    pub attempt: Option<Attempt>,
    pub step: RecoveryStep,
    pub step_since: Moment,
    /// The engine that starts last.
    pub last: Option<EngineName>,
}

impl Settling {
    /// Emits how long it was in the step that it leaves.
    pub(crate) fn tell_step(&self, turn: &mut Turn<'_>) {
        if self.reason.is_some() {
            turn.emit(What::StepEnded { step: self.step, took: turn.now.since(self.step_since) });
        }
    }
}
