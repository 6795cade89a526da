//! The way from the kill to the server's start: orders and what follows from their outcomes.

use std::time::Duration;

use crate::decide::domain::memory_gate::{MemoryFigure, NotBack};
use crate::decide::domain::others::not_found;
use crate::decide::domain::restart::{Gate, Next, Restart, Step};
use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::{Manner, Obstacle, Teardown, TeardownProgress};
use crate::decide::facts::ControlFacts;
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::open_actions::Purpose;
use crate::decide::turn::Turn;
use crate::model::{Action, ActionId, FailedAction, Fault, HeldReason, Outcome, Reason, RecoveryStep, Tier, What};

/// Pause between attempts to start a daemon where something outside is in the way.
const BLOCKED_PAUSE: Duration = Duration::from_secs(1);
/// Upper bound for a new daemon's answer.
const START_CONTROL_BOUND: Duration = Duration::from_secs(15);
/// Upper bound for finding a daemon that others run: one that lives answers within milliseconds.
const FIND_CONTROL_BOUND: Duration = Duration::from_secs(5);

impl Domain {
    /// Orders the control daemon's start. One that others run is found, and started through them where it was ended here.
    pub(crate) fn order_start_control(&self, turn: &mut Turn<'_>) -> ActionId {
        let domain = self.scene.id.clone();
        match self.starts_the_control() {
            true => turn.send(Purpose::Control, Action::StartControl { domain }, START_CONTROL_BOUND),
            false => turn.send(Purpose::Control, Action::FindControl { domain }, FIND_CONTROL_BOUND),
        }
    }

    /// Whether the control daemon is the watchdog's to have started now.
    fn starts_the_control(&self) -> bool {
        let asked = !self.scene.policy.custody.is_others() || self.asked.control_owed;
        asked && self.scene.may_start_control().is_ok()
    }

    /// An action of the restart ended.
    pub(crate) fn restart_finished(&mut self, id: ActionId, outcome: Outcome, turn: &mut Turn<'_>) {
        self.with_restart(turn, |domain, restart, turn| {
            let before = restart.step.shown();
            if let Step::End(teardown) = &mut restart.step {
                let progress = teardown.finished(id, outcome, &domain.scene.target(), turn);
                domain.follow_the_end(restart, before, progress, turn);
                return Next::Go;
            }
            match restart.step {
                Step::StartControl(order) if order == id => domain.control_start_ended(restart, outcome, turn),
                // start_server, or the kill of a stray: the wait for ACTIVE goes on and has its own bound.
                Step::End(_)
                | Step::Gpu
                | Step::Memory
                | Step::Backoff { .. }
                | Step::StartControl(_)
                | Step::Blocked { .. }
                | Step::Active { .. } => Next::Go,
            }
        });
    }

    fn control_start_ended(&mut self, restart: &mut Restart, outcome: Outcome, turn: &mut Turn<'_>) -> Next {
        match outcome {
            Outcome::Started { process } => {
                self.has_a_control(process, turn);
                restart.release(turn);
                restart.enter(Step::Active { since: turn.now }, turn);
            }
            Outcome::Waits { reason, why } => {
                restart.hold(reason, why, turn);
                restart.enter(Step::Blocked { again: turn.now.after(BLOCKED_PAUSE) }, turn);
            }
            Outcome::NotAsked { why } => {
                restart.hold(HeldReason::OutOfResources, why, turn);
                restart.enter(Step::Blocked { again: turn.now.after(BLOCKED_PAUSE) }, turn);
            }
            outcome @ (Outcome::Done
            | Outcome::Killed { .. }
            | Outcome::Gone { .. }
            | Outcome::Failed { .. }
            | Outcome::TimedOut
            | Outcome::NotUnderstood { .. }) => {
                if !self.starts_the_control() {
                    restart.hold(HeldReason::ControlAbsent, not_found(&outcome), turn);
                    restart.enter(Step::Blocked { again: turn.now.after(BLOCKED_PAUSE) }, turn);
                    return Next::Go;
                }
                turn.emit_failure(FailedAction::StartControl, &outcome);
                return self.attempt_failed(restart, Fault::ControlDied, turn);
            }
        }
        Next::Go
    }

    /// Does what follows from what came of ending the old. `before` is the step that it was in until then.
    fn follow_the_end(
        &mut self,
        restart: &mut Restart,
        before: RecoveryStep,
        progress: TeardownProgress,
        turn: &mut Turn<'_>,
    ) {
        match progress {
            TeardownProgress::Working => {}
            TeardownProgress::Killed(pids) if self.scene.around.pids_match => restart.old.extend(pids),
            TeardownProgress::Killed(_) => {}
            TeardownProgress::Obstructed(obstacle) => self.not_ended(restart, before, &obstacle, turn),
            TeardownProgress::NothingLives => nothing_lives(restart, turn),
            TeardownProgress::EnginesEnded => {
                nothing_lives(restart, turn);
                for engine in &mut self.scene.engines {
                    engine.instance.process.id = None;
                    engine.instance.tree.all.saw(Vec::new(), turn.now);
                }
                return self.after_gone(restart, turn);
            }
            TeardownProgress::ControlEnded => return self.control_stopped(restart, turn),
        }
        restart.left(before, turn);
    }

    /// A step of the end failed: what that says is a reason of its own, and only one of them is that a process lives on.
    fn not_ended(&self, restart: &mut Restart, step: RecoveryStep, obstacle: &Obstacle, turn: &mut Turn<'_>) {
        let why = obstacle.why();
        if let Obstacle::Unproven { .. } = obstacle {
            let action = if step == RecoveryStep::Kill { FailedAction::Kill } else { FailedAction::AwaitGone };
            turn.emit(What::ActionFailed { action, why: why.clone() });
        }
        let detail = self.with_the_gpu(why, turn);
        restart.hold(obstacle.held_reason(), detail, turn);
    }

    /// The engines are ended: the daemon's turn, in its tier.
    pub(crate) fn after_gone(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        if restart.tier != Tier::Daemon {
            return restart.enter(Step::Memory, turn);
        }
        if self.scene.may_stop_control().is_err() {
            // It is left to those who run it: a dead one is looked for again, one that lives stays what it is.
            return match self.scene.control.is_down() {
                true => self.control_stopped(restart, turn),
                false => self.after_the_control(restart, turn),
            };
        }
        self.scene.server.stopping = true;
        self.scene.control.stopping = true;
        self.asked.control_owed = self.scene.policy.custody.is_others();
        let teardown = Teardown::of_the_control(Manner::ForARestart, &self.scene.target(), turn);
        restart.enter(Step::End(teardown), turn);
    }

    fn control_stopped(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        for reason in [HeldReason::ProcessStuck, HeldReason::OutOfResources, HeldReason::PipeDirectoryOccupied] {
            restart.release_from(reason, turn);
        }
        if let Some(server) = self.scene.server.pid {
            self.scene.server.gone(server, turn.now, turn.now);
        }
        self.scene.control = ControlFacts::default();
        self.after_the_control(restart, turn);
    }

    /// Goes on with what is known; levels only, so a missed edge costs nothing.
    pub(crate) fn advance_restart(&mut self, turn: &mut Turn<'_>) {
        self.with_restart(turn, |domain, restart, turn| {
            if !domain.gpu_is_sick(restart, turn)
                && let Some(next) = domain.daemon_lost(restart, turn)
            {
                return next;
            }
            let before = restart.step.shown();
            if let Step::End(teardown) = &mut restart.step {
                let progress = teardown.advance(&domain.scene.target(), turn);
                domain.follow_the_end(restart, before, progress, turn);
                return Next::Go;
            }
            match restart.step.clone() {
                Step::Blocked { again } if again <= turn.now => {
                    restart.enter(Step::StartControl(domain.order_start_control(turn)), turn);
                }
                Step::Gpu => domain.check_gpu(restart, turn),
                Step::Memory => domain.check_memory(restart, turn),
                Step::Backoff { until } if until <= turn.now && restart.gate != Gate::Hold => {
                    restart.release(turn);
                    restart.gate = Gate::Open;
                    domain.after_backoff(restart, turn);
                }
                Step::Active { since } => return domain.check_active(restart, since, turn),
                Step::End(_) | Step::Backoff { .. } | Step::StartControl(_) | Step::Blocked { .. } => {}
            }
            Next::Go
        });
    }

    /// The control daemon is of no use any more: go up to its tier, or start over if this is it.
    fn daemon_lost(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) -> Option<Next> {
        if self.scene.may_stop_control().is_err() {
            let waits = matches!(restart.step, Step::Active { .. }) && self.scene.control.died.is_some();
            return waits.then(|| {
                restart.enter(Step::StartControl(self.order_start_control(turn)), turn);
                Next::Go
            });
        }
        let reason = match &self.scene.control {
            control if control.died.is_some() => Fault::ControlDied,
            control if control.wedged_at.is_some() => Fault::ControlWedged,
            _ => return None,
        };
        if matches!(restart.reason, Some(Reason::Fault(_))) && self.scene.may_go_further_for(reason).is_err() {
            return None;
        }
        if restart.tier == Tier::Daemon {
            let new = matches!(restart.step, Step::Active { .. });
            return new.then(|| self.attempt_failed(restart, reason, turn));
        }
        self.escalate(restart, reason.into(), turn);
        if !matches!(restart.step, Step::End(_)) {
            self.after_gone(restart, turn);
        }
        None
    }

    fn check_memory(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let figure = if turn.gpu.has_memory { MemoryFigure::Known } else { MemoryFigure::Never };
        let verdict = match (turn.gpu.reading.since(restart.step_since), &restart.baseline) {
            (Some(_), None) if restart.fresh => Ok(()),
            (Some(reading), Some(baseline)) => baseline.back(reading, &restart.old, figure).map_err(|why| match why {
                NotBack::Held(why) => (HeldReason::MemoryNotBack, why),
                NotBack::Unknown(why) => (HeldReason::MemoryUnknown, why),
            }),
            _ => {
                Err((HeldReason::MemoryUnknown, "NVML can't say whether the old processes' memory is back".to_owned()))
            }
        };
        let stale = turn.gpu.reading.fresh(READING_FRESH, turn.now).is_none();
        match verdict {
            Ok(()) => {
                restart.release(turn);
                self.enter_backoff(restart, turn);
            }
            Err((reason, why)) if turn.now.since(restart.step_since) >= self.scene.policy.recovery.memory_timeout => {
                restart.hold(if stale { HeldReason::MemoryUnknown } else { reason }, why, turn);
            }
            Err(_) => {}
        }
    }

    pub(crate) fn enter_backoff(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let wait = match restart.gate {
            Gate::Wait(wait) => wait,
            Gate::Open => Duration::ZERO,
            Gate::Hold => {
                let recovery = &self.scene.policy.recovery;
                let window = recovery.budget_window.as_secs();
                let detail = format!("{} restarts within {window} s are the budget, and it is spent", recovery.budget);
                restart.hold(HeldReason::BudgetSpent, detail, turn);
                Duration::ZERO
            }
        };
        restart.enter(Step::Backoff { until: turn.now.after(wait) }, turn);
        if !wait.is_zero() {
            let recovery = &self.scene.policy.recovery;
            let attempts = self.budget.attempts.within(recovery.budget_window, turn.now);
            turn.emit(What::BackoffBegan { wait, attempts, budget: recovery.budget });
        }
        if wait.is_zero() && restart.gate != Gate::Hold {
            restart.gate = Gate::Open;
            self.after_backoff(restart, turn);
        }
    }

    /// An operator lets the start begin now.
    pub(crate) fn end_backoff(&mut self, turn: &mut Turn<'_>) {
        self.with_restart(turn, |_, restart, turn| {
            if restart.backs_off_until(turn.now).is_some() {
                restart.step = Step::Backoff { until: turn.now };
            }
            Next::Go
        });
    }

    fn after_backoff(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        restart.asked_to_start = None;
        let step = if self.scene.control.process.is_none() || self.scene.control.died.is_some() {
            Step::StartControl(self.order_start_control(turn))
        } else {
            Step::Active { since: turn.now }
        };
        restart.enter(step, turn);
    }

    /// A process came up after the kill: the kill is repeated.
    pub(crate) fn kill_again(&mut self, turn: &mut Turn<'_>) {
        self.with_restart(turn, |domain, restart, turn| {
            let teardown = Teardown::repeat_for_a_restart(&domain.scene.target(), turn);
            restart.enter(Step::End(teardown), turn);
            Next::Go
        });
    }
}

/// No process of the old lives, so that none is in the way.
fn nothing_lives(restart: &mut Restart, turn: &mut Turn<'_>) {
    restart.release_from(HeldReason::ProcessStuck, turn);
    restart.release_from(HeldReason::OutOfResources, turn);
}
