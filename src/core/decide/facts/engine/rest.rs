//! Whether an engine is to have no process.

use crate::decide::facts::engine::Engine;
use crate::decide::facts::rest::stage_of;
use crate::decide::facts::stage::Stage;
use crate::decide::turn::Turn;
use crate::model::RecoveryResult;

impl Engine {
    /// The stage it is to come to and to stay in; `None`: it is to run.
    pub(crate) fn at_rest(&self) -> Option<Stage> {
        stage_of(self.rest).or(self.leaving.then_some(Stage::Stopped))
    }

    /// Whether it is to have no process.
    pub(crate) fn is_to_rest(&self) -> bool {
        self.at_rest().is_some()
    }

    /// In words, that its turn in a changed configuration has not come.
    pub(crate) fn waits_to_roll(&self) -> Option<String> {
        let waits = self.instance.outdated && self.alive() && !matches!(self.stage, Stage::Ending(_));
        waits.then(|| "runs as it was configured before; it rolls once the one before it serves".to_owned())
    }

    /// Ends the attempt to bring it back, if one has no result yet.
    pub(crate) fn end_attempt(&mut self, result: RecoveryResult, turn: &mut Turn<'_>) {
        if let Some(attempt) = self.attempt.take() {
            attempt.end(result, turn);
        }
    }
}
