//! A fault of a server over several GPUs that hit some of its clients. Their engines are ended and started again; the
//! others serve on, since their contexts live, and new engines wait until the server is ACTIVE again: it refuses every
//! newcomer until the last dead client has left (docs/h200.md).
//!
//! Each such fault counts against the budget of whole restarts, and its back-off holds for the engines that it hit: their
//! own budgets are for failures of their own.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::detect::Finding;
use crate::decide::domain::state::Domain;
use crate::decide::facts::died::Died;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::guard;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::spread::Reach;
use crate::decide::facts::stage::Stage;
use crate::decide::may::{self, May, Refusal};
use crate::decide::policy::{MpsUse, Spread};
use crate::decide::turn::Turn;
use crate::model::{Fault, Moment, ServerState, SuppressedAction, Tier, What};

/// Greatest age of an answer of the server when it comes: one that says ACTIVE may be from before the fault for so long.
const OLDEST_ANSWER: Duration = Duration::from_secs(3);

impl Scene {
    /// Whether a fault of its server may hit a part of its engines, and those alone are ended.
    pub(crate) fn may_be_hit_in_part(&self) -> bool {
        self.policy.gpus.are_several() && self.policy.spread == Spread::Wait
    }

    /// When the server's fault began, as far as is known; `None`: it has none.
    fn fault_at(&self) -> Option<Moment> {
        let told = self.faults.get(&(None, Fault::GpuFault)).copied();
        let fatal = self.server.fatal.map(|fatal| fatal.at);
        fatal.or_else(|| self.server.says_fault().map(|at| told.map_or(at, |told| told.min(at))))
    }

    /// The clients that lost their contexts to the server's fault; `None`: there is none, or that is not known.
    fn lost_clients(&self, now: Moment) -> Option<BTreeSet<u32>> {
        self.around.spread.lost(&self.server.torn, self.fault_at()?, now)
    }

    /// How far the server's fault reached.
    pub(crate) fn reach(&self, now: Moment) -> Reach {
        if !self.may_be_hit_in_part() || self.fault_at().is_none() {
            return Reach::Whole;
        }
        let Some(lost) = self.lost_clients(now) else { return Reach::NotKnown };
        let mut up = self.engines.iter().filter(|engine| engine.stage.is_up() && is_client(engine)).peekable();
        let all = up.peek().is_some() && up.all(|engine| has_lost(engine, &lost));
        if all { Reach::Whole } else { Reach::Part }
    }

    /// Whether the server may still name clients that its fault hit.
    pub(crate) fn awaits_names(&self, now: Moment) -> bool {
        self.may_be_hit_in_part() && self.server.torn.due().is_some_and(|due| now < due)
    }

    /// Whether an engine was hit by the server's fault. One that started meanwhile was refused for it.
    pub(crate) fn was_hit(&self, engine: &Engine, now: Moment) -> bool {
        let refused = engine.stage == Stage::Starting && engine.instance.process.ended.is_some();
        let lost = self.lost_clients(now);
        is_client(engine) && engine.alive() && lost.is_some_and(|lost| refused || has_lost(engine, &lost))
    }

    /// Whether a server that is ACTIVE again proves that its fault is over for all that it hit: nothing of them lives, or
    /// it is too late for an answer from before. `hit`: when the fault came.
    pub(crate) fn is_over_for(&self, engine: &Engine, hit: Moment, now: Moment) -> bool {
        match self.lost_clients(now) {
            _ if !self.may_be_hit_in_part() || self.fault_at().is_none() => !engine.alive(),
            Some(lost) => !(engine.alive() && has_lost(engine, &lost)),
            None => now.since(hit) > OLDEST_ANSWER,
        }
    }
}

fn is_client(engine: &Engine) -> bool {
    engine.instance.mps == MpsUse::Client
}

fn has_lost(engine: &Engine, lost: &BTreeSet<u32>) -> bool {
    let lives = engine.instance.processes().iter().any(|process| lost.contains(&process.pid));
    lives || !engine.instance.gpu.held.is_disjoint(lost)
}

impl Domain {
    /// Takes out the engines that a fault hit, where it hit a part of them.
    pub(crate) fn mend_the_hit(&mut self, found: &[Finding], turn: &mut Turn<'_>) {
        let whole = found.iter().find(|finding| finding.engine.is_none() && finding.fault == Fault::GpuFault);
        let (Some(finding), Some(at)) = (whole, self.scene.fault_at()) else { return };
        let reach = self.scene.reach(turn.now);
        if self.scene.may_be_hit_in_part() && reach == Reach::Whole && self.part.emitted != Some(at) {
            // It was not known when the fault began.
            self.part.emitted = Some(at);
            self.tell_suppressed(finding, turn);
        }
        if reach != Reach::Part {
            return;
        }
        if let Some(lost) = self.scene.lost_clients(turn.now) {
            self.scene.server.torn.are(&lost);
        }
        self.clear_the_untouched(at, turn.now);
        for index in 0..self.scene.engines.len() {
            let engine = &self.scene.engines[index];
            if !engine.stage.is_up() || !self.scene.was_hit(engine, turn.now) {
                continue;
            }
            let because = format!("its contexts died with the fault of {}", self.scene.server.words());
            let died = Died { at, fault: Fault::GpuFault, because };
            match self.may_restart_one_for(&died, index, turn) {
                Ok(()) => {
                    self.part.refused.remove(self.scene.engines[index].name());
                    self.engine_failed(index, died, turn);
                }
                Err(reason) => self.leave_the_hit(index, reason, died.because, turn),
            }
        }
    }

    /// An engine that the fault hit is not restarted: that is reported once for each fault.
    fn leave_the_hit(&mut self, index: usize, reason: Refusal, detail: String, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        if engine.instance.process.ended.is_some() {
            engine.stage = Stage::Failing;
        }
        if self.part.refused.insert(engine.name().clone()) {
            engine.instance.note = Some(detail.clone());
            let action = SuppressedAction::RestartEngine;
            turn.emit_of(engine.name(), What::Suppressed { action, reason, detail });
        }
    }

    /// Whether an engine is left as it is, since its group's fault hit it and the group's budget is spent.
    pub(crate) fn waits_for_its_group(&self, index: usize, turn: &Turn<'_>) -> bool {
        let engine = &self.scene.engines[index];
        self.scene.may_be_hit_in_part()
            && engine.stage.is_up()
            && self.part.refused.contains(engine.name())
            && self.scene.may_act_on(Fault::GpuFault, turn.hold).is_ok()
            && self.scene.was_hit(engine, turn.now)
    }

    /// The fault is over: what was reported of it is forgotten.
    pub(crate) fn forget_the_part(&mut self) {
        self.part.refused.clear();
        self.scene.around.spread.fault_is_over();
    }

    /// Whose contexts live did not do it.
    fn clear_the_untouched(&mut self, fault_at: Moment, now: Moment) {
        let Some(lost) = self.scene.lost_clients(now) else { return };
        let Some(case) = &mut self.suspects.case else { return };
        let was_there = |engine: &&Engine| engine.stage.is_up() && engine.instance.process.started <= fault_at;
        for engine in self.scene.engines.iter().filter(was_there).filter(|engine| !has_lost(engine, &lost)) {
            let known = case.evidence.engines.iter_mut().filter(|known| known.engine == *engine.name());
            known.for_each(|known| known.there = false);
        }
    }

    /// Whether an engine may be restarted for a fault of its group that hit it: within the group's budget.
    pub(crate) fn may_restart_one_for(&self, died: &Died, engine: usize, turn: &Turn<'_>) -> May {
        let name = self.scene.engines[engine].name();
        self.scene.may_restart(Tier::Engine, Some(name), died.fault, turn.hold)?;
        if died.fault != Fault::GpuFault || self.part.counted == Some(died.at) {
            return Ok(());
        }
        self.may_attempt(turn.now)
    }

    /// Counts a fault against the group's budget, once.
    pub(crate) fn count_part(&mut self, died: &Died, turn: &Turn<'_>) {
        if died.fault == Fault::GpuFault && self.part.counted.replace(died.at) != Some(died.at) {
            self.budget.attempts.count(self.scene.policy.recovery.budget_window, turn.now);
        }
    }

    /// The wait before an engine that its group's fault hit is started again.
    pub(crate) fn wait_after_the_part(&mut self, turn: &Turn<'_>) -> Duration {
        let (recovery, random) = (&self.scene.policy.recovery, self.budget.jitter.next());
        let attempts = self.budget.attempts.within(recovery.budget_window, turn.now);
        match attempts > recovery.budget {
            true => guard::longest(&recovery.backoff, random),
            false => guard::wait(&recovery.backoff, attempts, random),
        }
    }

    /// Whether all engines may be ended for the server's fault.
    pub(crate) fn may_end_all(&self, now: Moment) -> May {
        may::end_all(self.scene.reach(now))
    }

    /// Whether the server is in FAULT while engines serve on, so that its next state is wanted soon.
    pub(crate) fn serves_beside_a_fault(&self) -> bool {
        self.scene.may_be_hit_in_part()
            && (self.scene.server.fatal.is_some() || self.scene.server.state.last() == Some(&ServerState::Fault))
    }
}
