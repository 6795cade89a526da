//! When an engine lost its context, and error lines of it that no fact confirmed.

use std::collections::BTreeSet;

use crate::decide::facts::engine::Engine;
use crate::decide::facts::said::Doubted;
use crate::decide::facts::shortage::OUT_OF_MEMORY;
use crate::decide::facts::stage::Stage;
use crate::decide::turn::Turn;
use crate::model::{Doubt, Fault, Moment, What};

impl Engine {
    /// When its main process ended, or its client left the server, without an order of the watchdog.
    pub(crate) fn lost_its_context(&self) -> Option<Moment> {
        if matches!(self.stage, Stage::Ending(_) | Stage::Fallen) && self.died.as_ref().is_none_or(Engine::was_ordered)
        {
            return None;
        }
        let ended = self.instance.process.ended.map(|(at, _)| at);
        [ended, self.instance.gpu.left, self.instance.gpu.processes.gone()].into_iter().flatten().min()
    }

    fn was_ordered(died: &crate::decide::facts::died::Died) -> bool {
        died.fault != Fault::EngineDied
    }

    /// Counts error lines that no fact confirmed, and emits them now and then.
    pub(crate) fn doubts(&mut self, doubted: Doubted, turn: &mut Turn<'_>) {
        let (code, how, _) = doubted;
        if code == OUT_OF_MEMORY && how == Doubt::Refuted {
            self.instance.shortage.refuted();
        }
        if let Some(lines) = self.telling.doubt(doubted, turn.now) {
            turn.emit_of(&self.policy.name, What::Doubted { code, how, lines });
        }
    }

    /// Counts the error lines that no fact confirmed or refuted while the incarnation lasted.
    pub(crate) fn count_undecided_words(&mut self, now: Moment) {
        for doubted in self.instance.output.said.end() {
            self.telling.doubt(doubted, now);
        }
    }
}

pub(crate) fn clients_of(engine: &Engine, listed: &BTreeSet<u32>) -> Vec<u32> {
    engine.instance.processes().iter().map(|process| process.pid).filter(|pid| listed.contains(pid)).collect()
}
