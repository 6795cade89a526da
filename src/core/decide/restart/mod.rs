//! A restart of the whole group, step by step; the first start is one with nothing to end.
//!
//! ```text
//! Kill -> Gone -> (daemon tier: StopControl -> Gpu) -> Memory -> Backoff -> (StartControl) -> Active -> engines
//!   ^      |
//!   +-- Stuck (held until every process is gone)
//! ```
//! Each wait is bounded. What stays out longer holds the group, with the reason; the wait itself goes on,
//! more slowly, so that a new fact lets the group go on without a person.
//!
//! Here is what a restart is; `begin` lets one in, `steps` goes from the kill to the server's start,
//! `active` from there to the new generation, `gpu` waits where the GPU itself is sick.

mod active;
mod begin;
mod gpu;
mod steps;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{
    ActionId, FailedAction, Fault, HeldReason, Moment, Outcome, Reason, RecoveryResult, RecoveryStep, Tier, What,
};

use super::domain::{Domain, Phase};
use super::memory_gate::Baseline;
use super::turn::{NO_OUTCOME, Turn, failure};

pub(super) use steps::{QUIT_GRACE, STOP_CONTROL_BOUND};

/// A restart on its way.
#[derive(Clone, Debug)]
pub(super) struct Restart {
    pub tier: Tier,
    /// `None`: the first start.
    pub reason: Option<Reason>,
    /// When it was decided.
    pub since: Moment,
    /// It was told as an attempt and its result was not told yet. A first start is no recovery.
    pub open: bool,
    pub step: Step,
    /// Since when it is in the step that the metrics know.
    pub step_since: Moment,
    pub held: Option<(HeldReason, String)>,
    gate: Gate,
    /// The GPU before the kill; `None`: nobody knows.
    baseline: Option<Baseline>,
    /// Nothing of the group was there before: it has no memory to give back.
    fresh: bool,
    /// Pids of the old generation.
    old: BTreeSet<u32>,
    /// When `start_server` was last ordered in this step.
    asked_to_start: Option<Moment>,
    strays_killed: bool,
}

/// Whether the engines may be started again, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// After this wait.
    Wait(Duration),
    /// Not before somebody says so.
    Hold,
    /// It was passed.
    Open,
}

/// A step of a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Kill(ActionId),
    /// What did not die, or came up since, gets it again.
    KillAgain(ActionId),
    Gone(ActionId),
    Stuck {
        again: Moment,
    },
    StopControl(ActionId),
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

/// What comes after a piece of work on a restart.
enum Next {
    Go,
    /// The old is gone and the server is ACTIVE.
    Generation,
    /// The attempt failed: another one, for this reason.
    Again(Fault),
}

impl Step {
    /// As the metrics know it.
    pub fn shown(&self) -> RecoveryStep {
        match self {
            Step::Kill(_) => RecoveryStep::Kill,
            Step::KillAgain(_) | Step::Gone(_) | Step::Stuck { .. } | Step::StopControl(_) => RecoveryStep::Gone,
            Step::Gpu => RecoveryStep::Gpu,
            Step::Memory => RecoveryStep::Memory,
            Step::Backoff { .. } => RecoveryStep::Backoff,
            Step::StartControl(_) | Step::Blocked { .. } | Step::Active { .. } => RecoveryStep::Active,
        }
    }
}

impl Restart {
    /// Since when it waits for ACTIVE, if it does.
    pub fn waiting_for_active(&self) -> Option<Moment> {
        match self.step {
            Step::Active { since } => Some(since),
            _ => None,
        }
    }

    /// Whether every process of the old generation is proven gone, its memory is back, and none of the new is there.
    pub fn old_is_gone(&self) -> bool {
        matches!(self.step, Step::Backoff { .. } | Step::StartControl(_) | Step::Blocked { .. } | Step::Active { .. })
    }

    /// Since when it waits for memory, if it does.
    pub fn waiting_for_memory(&self) -> bool {
        self.step == Step::Memory
    }

    fn enter(&mut self, step: Step, turn: &mut Turn<'_>) {
        let (old, new) = (self.step.shown(), step.shown());
        self.step = step;
        if old != new {
            self.tell_step(old, turn);
            self.step_since = turn.now;
        }
    }

    fn tell_step(&self, step: RecoveryStep, turn: &mut Turn<'_>) {
        if self.reason.is_some() {
            turn.emit(What::StepEnded { step, took: turn.now.since(self.step_since) });
        }
    }

    /// Tells the one result of an attempt.
    fn ended(&mut self, result: RecoveryResult, turn: &mut Turn<'_>) {
        if std::mem::take(&mut self.open) {
            turn.emit(What::RestartEnded { tier: self.tier, result, took: turn.now.since(self.since) });
        }
    }

    fn hold(&mut self, reason: HeldReason, detail: String, turn: &mut Turn<'_>) {
        let news = self.held.as_ref().is_none_or(|(held, _)| *held != reason);
        self.held = Some((reason, detail.clone()));
        if news {
            turn.emit(What::Held { reason, detail });
        }
        self.ended(RecoveryResult::Held, turn);
    }

    fn release_from(&mut self, reason: HeldReason, turn: &mut Turn<'_>) {
        if self.held.as_ref().is_some_and(|(held, _)| *held == reason) {
            self.release(turn);
        }
    }

    fn release(&mut self, turn: &mut Turn<'_>) {
        if let Some((reason, _)) = self.held.take() {
            turn.emit(What::Released { reason });
        }
    }
}

impl Domain {
    /// Runs `work` on the restart, if there is one, and follows what it says comes next.
    fn with_restart(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Domain, &mut Restart, &mut Turn<'_>) -> Next,
    ) {
        if !matches!(self.phase, Phase::Restart(_)) {
            return;
        }
        let Phase::Restart(mut restart) = std::mem::replace(&mut self.phase, Phase::Waiting) else { return };
        let next = work(self, &mut restart, turn);
        match next {
            Next::Go => self.phase = Phase::Restart(restart),
            Next::Generation => self.new_generation(&restart, turn),
            Next::Again(reason) => {
                self.phase = Phase::Restart(restart);
                self.begin_restart(Tier::Daemon, reason.into(), turn.now, turn);
            }
        }
    }

    /// When a restart changes by time alone.
    pub fn restart_deadline(&self, restart: &Restart) -> Option<Moment> {
        match &restart.step {
            Step::Stuck { again } | Step::Blocked { again } => Some(*again),
            Step::Memory => Some(restart.step_since.after(self.policy.recovery.memory_timeout)),
            Step::Backoff { until } => Some(*until),
            Step::Active { .. } if self.start_due(restart).is_some() => self.start_due(restart),
            Step::Active { since } if restart.tier == Tier::Daemon => Some(since.after(active::NEW_ACTIVE_BOUND)),
            Step::Active { since } => Some(since.after(active::ACTIVE_BOUND)),
            Step::Kill(_) | Step::KillAgain(_) | Step::Gone(_) => None,
            Step::StopControl(_) | Step::Gpu | Step::StartControl(_) => None,
        }
    }
}

/// Tells that an order failed, and gives the reason.
fn tell_failure(action: FailedAction, outcome: &Outcome, turn: &mut Turn<'_>) -> String {
    let why = failure(outcome).unwrap_or_else(|| NO_OUTCOME.to_owned());
    turn.emit(What::ActionFailed { action, why: why.clone() });
    why
}
