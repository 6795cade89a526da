//! A restart on its way: which step it is in, what holds it, and what it remembers of what there was before.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::domain::memory_gate::Baseline;
use crate::decide::domain::teardown::Teardown;
use crate::decide::facts::attempt::Attempt;
use crate::decide::turn::Turn;
use crate::model::{ActionId, HeldReason, Moment, Reason, RecoveryResult, RecoveryStep, Tier, What};

/// A restart on its way.
#[derive(Clone, Debug)]
pub(crate) struct Restart {
    pub tier: Tier,
    /// Reason for the restart; `None`: the first start.
    pub reason: Option<Reason>,
    /// When it was decided.
    pub since: Moment,
    /// The attempt that it is; `None`: it has its result already, or is none, as a first start.
    pub attempt: Option<Attempt>,
    pub step: Step,
    /// Time since which it is in the step that the metrics know.
    pub step_since: Moment,
    pub held: Option<(HeldReason, String)>,
    pub gate: Gate,
    /// The GPU's memory before the kill; `None`: that is not known.
    pub baseline: Option<Baseline>,
    /// Nothing of the group was there before: it has no memory to give back.
    pub fresh: bool,
    /// Pids of the old generation.
    pub old: BTreeSet<u32>,
    /// When `start_server` was last ordered in this step.
    pub asked_to_start: Option<Moment>,
    pub strays_killed: bool,
}

/// Whether the engines may be started again, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The engines are started after this wait.
    Wait(Duration),
    /// The engines are not started before a person says so.
    Hold,
    /// The gate was passed.
    Open,
}

/// A step of a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// What there was is ended: the engines, and in the daemon tier the daemon.
    End(Teardown),
    /// Nobody is on the GPU any more; held until it is well.
    Gpu,
    Memory,
    Backoff {
        until: Moment,
    },
    StartControl(ActionId),
    /// The daemon can't be started while something outside stays as it is; held until then. It is tried again.
    Blocked {
        again: Moment,
    },
    Active {
        since: Moment,
    },
}

impl Step {
    /// The step as the metrics know it.
    pub(crate) fn shown(&self) -> RecoveryStep {
        match self {
            Step::End(teardown) if teardown.kills_first() => RecoveryStep::Kill,
            Step::End(_) => RecoveryStep::Gone,
            Step::Gpu => RecoveryStep::Gpu,
            Step::Memory => RecoveryStep::Memory,
            Step::Backoff { .. } => RecoveryStep::Backoff,
            Step::StartControl(_) | Step::Blocked { .. } | Step::Active { .. } => RecoveryStep::Active,
        }
    }
}

impl Restart {
    /// Time since which it waits for ACTIVE, if it does.
    pub(crate) fn waiting_for_active(&self) -> Option<Moment> {
        if let Step::Active { since } = self.step { Some(since) } else { None }
    }

    /// Whether every process of the old generation is proven gone, its memory is back, and none of the new is there.
    pub(crate) fn old_is_gone(&self) -> bool {
        matches!(self.step, Step::Backoff { .. } | Step::StartControl(_) | Step::Blocked { .. } | Step::Active { .. })
    }

    /// Whether it waits for memory.
    pub(crate) fn waiting_for_memory(&self) -> bool {
        self.step == Step::Memory
    }

    pub(crate) fn enter(&mut self, step: Step, turn: &mut Turn<'_>) {
        let before = self.step.shown();
        self.step = step;
        self.left(before, turn);
    }

    /// It may have gone on from the step that the metrics know as `before`.
    pub(crate) fn left(&mut self, before: RecoveryStep, turn: &mut Turn<'_>) {
        if self.step.shown() != before {
            self.tell_step(before, turn);
            self.step_since = turn.now;
        }
    }

    pub(crate) fn tell_step(&self, step: RecoveryStep, turn: &mut Turn<'_>) {
        if self.reason.is_some() {
            turn.emit(What::StepEnded { step, took: turn.now.since(self.step_since) });
        }
    }

    /// Ends the attempt, if it has no result yet.
    pub(crate) fn end_attempt(&mut self, result: RecoveryResult, turn: &mut Turn<'_>) {
        if let Some(attempt) = self.attempt.take() {
            attempt.end(result, turn);
        }
    }

    pub(crate) fn hold(&mut self, reason: HeldReason, detail: String, turn: &mut Turn<'_>) {
        let news = self.held.as_ref().is_none_or(|(held, _)| *held != reason);
        self.held = Some((reason, detail.clone()));
        if news {
            turn.emit(What::Held { reason, detail });
        }
        self.end_attempt(RecoveryResult::Held, turn);
    }

    pub(crate) fn release_from(&mut self, reason: HeldReason, turn: &mut Turn<'_>) {
        if self.held.as_ref().is_some_and(|(held, _)| *held == reason) {
            self.release(turn);
        }
    }

    pub(crate) fn release(&mut self, turn: &mut Turn<'_>) {
        if let Some((reason, _)) = self.held.take() {
            turn.emit(What::Released { reason });
        }
    }
}
