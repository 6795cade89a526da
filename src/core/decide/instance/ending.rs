//! Takes one engine out: its requests end first where they may, then `teardown` ends it. Here is what follows from
//! that: it is held for a process that does not die, starts again after its back-off, or rests.

use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::{self, Beside, EndingProgress, Obstacle};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::guard;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::turn::Turn;
use crate::model::{FailedAction, Fault, HeldReason, Outcome, RecoveryResult, What};

impl Domain {
    pub(crate) fn advance_ending(&mut self, index: usize, ending: &Ending, turn: &mut Turn<'_>) {
        if let Ending::Drain { .. } = ending {
            return self.advance_drain(index, turn);
        }
        self.with_ending(index, turn, teardown::advance_ending);
    }

    /// The action that the end of an engine waited for has ended.
    pub(crate) fn ending_finished(&mut self, index: usize, outcome: Outcome, turn: &mut Turn<'_>) {
        self.with_ending(index, turn, |engine, beside, turn| teardown::ending_finished(engine, outcome, beside, turn));
    }

    /// Runs `work` on the end of an engine, and does what follows from its progress.
    fn with_ending(
        &mut self,
        index: usize,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Engine, &Beside<'_>, &mut Turn<'_>) -> EndingProgress,
    ) {
        let may_terminate = self.scene.may_terminate_clients();
        let beside = Beside { domain: &self.scene.id, server: &self.scene.server, may_terminate };
        match work(&mut self.scene.engines[index], &beside, turn) {
            EndingProgress::Working => {}
            EndingProgress::Obstructed(Obstacle::NotAsked { why }) => self.cannot_end(index, why, turn),
            EndingProgress::Obstructed(obstacle) if self.scene.engines[index].instance.stuck.is_none() => {
                self.hold_for(index, &obstacle, turn);
            }
            EndingProgress::Obstructed(_) => {}
            EndingProgress::Gone => self.release_from(index, turn),
            EndingProgress::Over => self.engine_down(index, turn),
        }
    }

    /// It is us who can't end it: reported once for each reason.
    fn cannot_end(&mut self, index: usize, why: String, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        if engine.instance.note.replace(why.clone()).as_ref() != Some(&why) {
            turn.emit_of(&engine.policy.name, What::ActionFailed { action: FailedAction::StopEngine, why });
        }
    }

    /// A process of an engine does not die: it stays stopped and the group says so, while its siblings serve on.
    /// Reported once; the attempts go on.
    fn hold_for(&mut self, index: usize, obstacle: &Obstacle, turn: &mut Turn<'_>) {
        let news = self.stuck().is_none();
        let engine = &mut self.scene.engines[index];
        let why = obstacle.why();
        let detail = format!("a process of {} does not die: {why}", engine.policy.name);
        turn.emit_of(&engine.policy.name, What::ActionFailed { action: FailedAction::StopEngine, why });
        engine.instance.note = Some("a process of it does not die".to_owned());
        engine.instance.stuck = Some(detail.clone());
        engine.end_attempt(RecoveryResult::Held, turn);
        if news {
            turn.emit(What::Held { reason: HeldReason::ProcessStuck, detail });
        }
    }

    /// Nothing of the engine lives any more, or its whole group's restart or stop sees to it.
    pub(crate) fn release_from(&mut self, index: usize, turn: &mut Turn<'_>) {
        if self.scene.engines[index].instance.stuck.take().is_some() && self.stuck().is_none() {
            turn.emit(What::Released { reason: HeldReason::ProcessStuck });
        }
    }

    /// Which processes do not die, for people; `None`: none is known to.
    pub(crate) fn stuck(&self) -> Option<String> {
        let stuck: Vec<&str> =
            self.scene.engines.iter().filter_map(|engine| engine.instance.stuck.as_deref()).collect();
        (!stuck.is_empty()).then(|| stuck.join("; "))
    }

    fn engine_down(&mut self, index: usize, turn: &mut Turn<'_>) {
        let recovery = &self.scene.policy.recovery;
        let engine = &mut self.scene.engines[index];
        if engine.is_to_rest() {
            return self.rests(index, turn);
        }
        if engine.died.is_none() {
            // It was ordered out, not taken out for a failure.
            engine.stage = Stage::Down { due: turn.now };
            return;
        }
        let of = |fault| engine.died.as_ref().is_some_and(|died| died.fault == fault);
        let (evicted, in_part) = (of(Fault::Evicted), of(Fault::GpuFault));
        if in_part {
            return self.down_with_its_group(index, turn);
        }
        // Whose supervisor starts it whatever becomes of it here has a budget there.
        let gives_up = !evicted && engine.policy.custody.may_start();
        if gives_up && engine.give_up(recovery, turn.now).is_some() {
            engine.died = None;
            turn.save();
            return self.rests(index, turn);
        }
        let failures = engine.failures.within(recovery.budget_window, turn.now);
        let name = engine.name().clone();
        let attempt = if evicted { engine.evictions } else { failures };
        let wait = guard::wait(&recovery.backoff, attempt, self.budget.jitter.next());
        engine.stage = Stage::Down { due: turn.now.after(wait) };
        if !wait.is_zero() {
            turn.emit_of(&name, What::BackoffBegan { wait, attempts: failures, budget: recovery.engine_budget });
        }
    }

    /// A fault of its group took it along: it waits as its group would.
    fn down_with_its_group(&mut self, index: usize, turn: &mut Turn<'_>) {
        let wait = self.wait_after_the_part(turn);
        let recovery = &self.scene.policy.recovery;
        let attempts = self.budget.attempts.within(recovery.budget_window, turn.now);
        let budget = recovery.budget;
        let engine = &mut self.scene.engines[index];
        engine.stage = Stage::Down { due: turn.now.after(wait) };
        if !wait.is_zero() {
            let name = engine.name().clone();
            turn.emit_of(&name, What::BackoffBegan { wait, attempts, budget });
        }
    }
}
