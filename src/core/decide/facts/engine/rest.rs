//! Whether an engine is to have no process.

use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::goal::Listed;
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::stage::Stage;
use crate::decide::policy::RecoveryPolicy;
use crate::decide::turn::Turn;
use crate::model::{Moment, RecoveryResult};

impl Engine {
    /// The stage it is to come to and to stay in; `None`: it is to run.
    pub(crate) fn at_rest(&self) -> Option<Stage> {
        self.wanted.goal().rest_stage()
    }

    /// Whether it is to have no process.
    pub(crate) fn is_to_rest(&self) -> bool {
        self.at_rest().is_some()
    }

    /// Whether its work is done and nothing of it is left.
    pub(crate) fn is_done(&self) -> bool {
        self.wanted.rest == Some(Rest::Done) && self.stage == Stage::Stopped
    }

    /// Whether the configuration has it no more.
    pub(crate) fn is_removed(&self) -> bool {
        self.wanted.listed == Listed::Removed
    }

    /// When its back-off ends, if it is in one: it is to run, and waits for its time alone.
    pub(crate) fn backs_off_until(&self, now: Moment) -> Option<Moment> {
        let Stage::Down { due } = self.stage else { return None };
        (due > now && !self.is_to_rest()).then_some(due)
    }

    /// Sentence that its turn in a changed configuration has not come.
    pub(crate) fn waits_to_roll(&self) -> Option<String> {
        let waits = self.instance.outdated && self.alive() && !matches!(self.stage, Stage::Ending(_));
        waits.then(|| "runs as it was configured before; it rolls once the one before it serves".to_owned())
    }

    /// Gives it up if it failed as often as its budget allows: it is not started again before it is released. The
    /// failures, if so; that it was given up outlives their window.
    pub(crate) fn give_up(&mut self, recovery: &RecoveryPolicy, now: Moment) -> Option<u32> {
        let failures = self.failures.within(recovery.budget_window, now);
        let gives_up = failures >= recovery.engine_budget && self.wanted.rest.is_none();
        gives_up.then(|| {
            self.wanted.rest = Some(Rest::CrashLoop);
            failures
        })
    }

    /// Ends the attempt to bring it back, if one has no result yet.
    pub(crate) fn end_attempt(&mut self, result: RecoveryResult, turn: &mut Turn<'_>) {
        if let Some(attempt) = self.attempt.take() {
            attempt.end(result, turn);
        }
    }
}
