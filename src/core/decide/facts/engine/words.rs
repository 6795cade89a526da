//! What engines print is a word: it makes the watchdog ask, and it is worth something once a fact agrees.
//!
//! A fatal error is confirmed by the server's own line, its FAULT state or its end, or by the end of the engine's own
//! client soon after it. It is refuted by facts younger than the line: the same client still listed, and at work. The
//! server's ACTIVE alone refutes nothing, since it is ACTIVE again within 165 ms of a fault.

use crate::decide::evidence::said::Doubted;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::shortage::OUT_OF_MEMORY;
use crate::decide::facts::stage::Stage;
use crate::decide::turn::Turn;
use crate::model::{Doubt, Fault, Moment, What};
use std::collections::BTreeSet;

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

    /// Counts error lines that no fact confirmed, and tells of them now and then.
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
