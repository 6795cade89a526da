//! Engines that are to have no process, or a new one: taken out by the engine tier's safe way, with no failure
//! counted. Nothing here decides that an engine failed.

use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::attempt::{Attempt, BudgetCount};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::goal::Goal;
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::rest::note_of;
use crate::decide::facts::stage::Stage;
use crate::decide::goal::{self, Next};
use crate::decide::may::May;
use crate::decide::turn::Turn;
use crate::model::{EngineName, Reason, RecoveryResult, Tier, What};

impl Domain {
    /// The place of the engine of that name.
    pub(crate) fn index_of(&self, name: &EngineName) -> Option<usize> {
        self.scene.engines.iter().position(|engine| engine.name() == name)
    }

    /// An engine is to have no process from now on. While its whole group starts or stops, that alone sees to it.
    pub(crate) fn give_rest(&mut self, index: usize, rest: Rest, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        engine.wanted.rest = Some(rest);
        engine.instance.note = note_of(engine.wanted.rest);
        engine.died = None;
        engine.end_attempt(RecoveryResult::Superseded, turn);
        turn.save();
    }

    /// What is next for an engine of this domain.
    pub(crate) fn next(&self, engine: &Engine) -> Next {
        goal::next(engine, self.scene.id.slot)
    }

    /// Whether an engine's processes are the watchdog's to end.
    pub(crate) fn may_end(&self, index: usize) -> May {
        self.scene.may_end(Tier::Engine, Some(self.scene.engines[index].name()))
    }

    /// Brings an engine that is to have no process nearer to that.
    pub(crate) fn lead_to_rest(&mut self, index: usize, turn: &mut Turn<'_>) {
        match self.next(&self.scene.engines[index]) {
            // What others run goes on without the watchdog, or is gone.
            Next::TakeOut
                if self.scene.engines[index].is_removed() && self.scene.engines[index].policy.custody.is_others() =>
            {
                self.rests(index, turn);
            }
            Next::TakeOut if self.may_end(index).is_ok() => self.take_out(index, turn),
            Next::Settle => self.rests(index, turn),
            Next::TakeOut | Next::Nothing | Next::Start | Next::Renew | Next::Move | Next::Forget => {}
        }
    }

    /// An engine that is to have no process is proven to have none.
    pub(crate) fn rests(&mut self, index: usize, turn: &mut Turn<'_>) {
        let window = self.scene.policy.recovery.budget_window;
        let engine = &mut self.scene.engines[index];
        let Some(stage) = engine.at_rest() else { return };
        engine.stage = stage;
        engine.instance.note = note_of(engine.wanted.rest).or(engine.instance.note.take());
        if engine.stage == Stage::Quarantined {
            let failures = engine.failures.within(window, turn.now);
            turn.emit_of(&engine.policy.name, What::EngineQuarantined { failures });
        }
    }

    /// Begins to take an engine out because a person wants it so: no failure is counted.
    pub(crate) fn take_out(&mut self, index: usize, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        engine.owe_its_start();
        engine.died = None;
        engine.end_attempt(RecoveryResult::Superseded, turn);
        let stage = self.planned_end(index, turn);
        self.scene.engines[index].stage = stage;
    }

    /// Takes an engine out and starts it again; reported as a restart that counts against no budget.
    pub(crate) fn evict(&mut self, index: usize, turn: &mut Turn<'_>) {
        self.take_out(index, turn);
        let recovery = &self.scene.policy.recovery;
        let engine = &mut self.scene.engines[index];
        engine.instance.outdated = false;
        let attempt = engine.failures.within(recovery.budget_window, turn.now);
        let count = BudgetCount { attempt, budget_left: recovery.engine_budget.saturating_sub(attempt) };
        let attempt = Attempt::of_engine(&engine.policy.name, Reason::Operator, turn.now, count, turn);
        engine.attempt = Some(attempt);
    }

    /// Takes out the next engine that runs as an older configuration says, once the one before serves. Not while the
    /// group is being restarted: that makes them all new.
    pub(crate) fn roll_on(&mut self, turn: &mut Turn<'_>) {
        if !matches!(self.phase, Phase::Running(None)) || self.rolls_now() {
            return;
        }
        let renews =
            |index: &usize| self.next(&self.scene.engines[*index]) == Next::Renew && self.may_end(*index).is_ok();
        let next = (0..self.scene.engines.len()).find(renews);
        self.rolling = next.map(|index| self.scene.engines[index].name().clone());
        if let Some(index) = next {
            self.evict(index, turn);
        }
    }

    fn rolls_now(&self) -> bool {
        let Some(engine) = self.rolling.as_ref().and_then(|name| self.index_of(name)) else { return false };
        let engine = &self.scene.engines[engine];
        // One that fails as it is now holds the others back: a bad setting must not go round. One that a person wants
        // to be down does not.
        let unwanted = match engine.wanted.goal() {
            Goal::Run(_) | Goal::Rest(Rest::CrashLoop) => false,
            Goal::Rest(Rest::Stopped | Rest::Quarantined | Rest::Apart | Rest::Guilty | Rest::Done) | Goal::Leave => {
                true
            }
        };
        engine.stage != Stage::Serving && !unwanted
    }

    /// Forgets engines that the configuration has no more, once they are proven gone.
    pub(crate) fn forget_the_removed(&mut self, turn: &mut Turn<'_>) {
        let slot = self.scene.id.slot;
        let gone = |engine: &Engine| goal::next(engine, slot) == Next::Forget;
        if self.scene.engines.iter().any(gone) {
            self.scene.engines.retain(|engine| !gone(engine));
            turn.save();
        }
    }
}
