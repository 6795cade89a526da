//! From the kill to the server's start: orders and what follows from their outcomes.

use std::time::Duration;

use crate::decide::domain::Domain;
use crate::decide::facts::ControlFacts;
use crate::decide::facts::reading::READING_FRESH;
use crate::decide::memory_gate::NotBack;
use crate::decide::orders::Purpose;
use crate::decide::turn::Turn;
use crate::model::{Action, ActionId, FailedAction, Fault, HeldReason, Outcome, Reason, Remaining, Tier, What};

use super::{Gate, Next, Restart, Step, tell_failure};

/// For the signals to be sent.
const KILL_BOUND: Duration = Duration::from_secs(5);
/// For every process to be gone: one with 16 GiB resident takes a second.
const GONE_BOUND: Duration = Duration::from_secs(30);
/// Between attempts to end a process that does not die.
const STUCK_PAUSE: Duration = Duration::from_secs(1);
/// Between attempts to start a daemon where something outside is in the way.
const BLOCKED_PAUSE: Duration = Duration::from_secs(1);
/// `quit -t` before KILL.
pub(in crate::decide) const QUIT_GRACE: Duration = Duration::from_secs(2);
/// For the daemon to be gone.
pub(in crate::decide) const STOP_CONTROL_BOUND: Duration = Duration::from_secs(15);
/// For a new daemon to answer.
const START_CONTROL_BOUND: Duration = Duration::from_secs(15);

impl Domain {
    pub(in crate::decide) fn order_kill(&mut self, strays: Vec<u32>, turn: &mut Turn<'_>) -> ActionId {
        let engines = if strays.is_empty() { self.names() } else { Vec::new() };
        let action = Action::KillEngines { group: self.policy.name.clone(), engines, strays };
        turn.order(Purpose::Group, action, KILL_BOUND)
    }

    fn order_stop_control(&mut self, turn: &mut Turn<'_>) -> ActionId {
        let wedged = self.control.wedged_at.is_some() || self.control.died.is_some();
        let grace = if wedged { Duration::ZERO } else { QUIT_GRACE };
        self.server.stopping = true;
        self.control.stopping = true;
        let action = Action::StopControl { group: self.policy.name.clone(), grace, server: self.server.process };
        turn.order(Purpose::Group, action, STOP_CONTROL_BOUND)
    }

    pub(super) fn order_start_control(&self, turn: &mut Turn<'_>) -> ActionId {
        turn.order(Purpose::Control, Action::StartControl { group: self.policy.name.clone() }, START_CONTROL_BOUND)
    }

    /// An order of the restart ended.
    pub fn restart_finished(&mut self, id: ActionId, outcome: Outcome, turn: &mut Turn<'_>) {
        self.with_restart(turn, |group, restart, turn| {
            match (&restart.step, outcome) {
                (Step::Kill(order) | Step::KillAgain(order), Outcome::Killed { processes }) if *order == id => {
                    if group.pids_match {
                        restart.old.extend(processes.iter().map(|process| process.pid));
                    }
                    let engines = group.names();
                    let action = Action::AwaitGone { group: group.policy.name.clone(), engines, processes };
                    let gone = turn.order(Purpose::Group, action, GONE_BOUND);
                    restart.enter(Step::Gone(gone), turn);
                }
                (Step::Gone(order), Outcome::Gone { remaining }) if *order == id => {
                    group.looked_for_the_old(restart, &remaining, turn);
                }
                (Step::StopControl(order), Outcome::Done) if *order == id => group.control_stopped(restart, turn),
                (Step::StartControl(order), Outcome::Started { process }) if *order == id => {
                    group.control.started(process, turn.now);
                    group.server.new_control();
                    turn.emit(What::ControlStarted { process });
                    restart.release(turn);
                    restart.enter(Step::Active { since: turn.now }, turn);
                }
                (
                    Step::Kill(order) | Step::KillAgain(order) | Step::Gone(order) | Step::StopControl(order),
                    outcome,
                ) if *order == id => {
                    group.not_ended(restart, &outcome, turn);
                    restart.enter(Step::Stuck { again: turn.now.after(STUCK_PAUSE) }, turn);
                }
                (Step::StartControl(order), Outcome::Waits { reason, why }) if *order == id => {
                    restart.hold(reason, why, turn);
                    restart.enter(Step::Blocked { again: turn.now.after(BLOCKED_PAUSE) }, turn);
                }
                (Step::StartControl(order), Outcome::NotAsked { why }) if *order == id => {
                    restart.hold(HeldReason::OutOfResources, why, turn);
                    restart.enter(Step::Blocked { again: turn.now.after(BLOCKED_PAUSE) }, turn);
                }
                (Step::StartControl(order), outcome) if *order == id => {
                    tell_failure(FailedAction::StartControl, &outcome, turn);
                    return group.attempt_failed(restart, Fault::ControlDied, turn);
                }
                (_, Outcome::Failed { .. } | Outcome::TimedOut) => {
                    // start_server, or the kill of a stray: the wait for ACTIVE goes on and has its own bound.
                }
                _ => {}
            }
            Next::Go
        });
    }

    /// A step of the end failed: what that says is a reason of its own, and only one of them is that a process lives on.
    fn not_ended(&self, restart: &mut Restart, outcome: &Outcome, turn: &mut Turn<'_>) {
        let (reason, why) = match outcome {
            Outcome::Waits { reason, why } => (*reason, why.clone()),
            Outcome::NotAsked { why } => (HeldReason::OutOfResources, why.clone()),
            outcome => {
                let action = match restart.step {
                    Step::Kill(_) => FailedAction::Kill,
                    _ => FailedAction::AwaitGone,
                };
                (HeldReason::ProcessStuck, tell_failure(action, outcome, turn))
            }
        };
        let detail = self.with_the_gpu(why, turn);
        restart.hold(reason, detail, turn);
    }

    fn looked_for_the_old(&mut self, restart: &mut Restart, remaining: &[Remaining], turn: &mut Turn<'_>) {
        if !remaining.is_empty() {
            let list: Vec<String> =
                remaining.iter().map(|left| format!("{} (state {})", left.process, left.state)).collect();
            let detail = format!("process {} does not die; state D is a driver call that hangs", list.join(", "));
            let detail = self.with_the_gpu(detail, turn);
            restart.hold(HeldReason::ProcessStuck, detail, turn);
            return restart.enter(Step::Stuck { again: turn.now.after(STUCK_PAUSE) }, turn);
        }
        restart.release_from(HeldReason::ProcessStuck, turn);
        restart.release_from(HeldReason::OutOfResources, turn);
        if turn.orders.launching(turn.id) {
            // An engine may still come up: the kill is repeated once it has, or after a pause.
            return restart.enter(Step::Stuck { again: turn.now.after(STUCK_PAUSE) }, turn);
        }
        for engine in &mut self.engines {
            engine.instance.process.id = None;
            engine.instance.tree.all.saw(Vec::new(), turn.now);
        }
        self.after_gone(restart, turn);
    }

    pub(super) fn after_gone(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        if restart.tier == Tier::Daemon {
            let stop = self.order_stop_control(turn);
            restart.enter(Step::StopControl(stop), turn);
        } else {
            restart.enter(Step::Memory, turn);
        }
    }

    fn control_stopped(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        for reason in [HeldReason::ProcessStuck, HeldReason::OutOfResources, HeldReason::PipeDirectoryOccupied] {
            restart.release_from(reason, turn);
        }
        if let Some(server) = self.server.pid {
            self.server.gone(server, turn.now, turn.now);
        }
        self.control = ControlFacts::default();
        self.after_the_control(restart, turn);
    }

    /// Goes on with what is known; levels only, so a missed edge costs nothing.
    pub fn advance_restart(&mut self, turn: &mut Turn<'_>) {
        self.with_restart(turn, |group, restart, turn| {
            if !group.gpu_is_sick(restart, turn)
                && let Some(next) = group.daemon_lost(restart, turn)
            {
                return next;
            }
            match restart.step.clone() {
                Step::Stuck { again } if again <= turn.now => {
                    let kill = group.order_kill(Vec::new(), turn);
                    restart.enter(Step::KillAgain(kill), turn);
                }
                Step::Blocked { again } if again <= turn.now => {
                    restart.enter(Step::StartControl(group.order_start_control(turn)), turn);
                }
                Step::Gpu => group.check_gpu(restart, turn),
                Step::Memory => group.check_memory(restart, turn),
                Step::Backoff { until } if until <= turn.now && restart.gate != Gate::Hold => {
                    restart.release(turn);
                    restart.gate = Gate::Open;
                    group.after_backoff(restart, turn);
                }
                Step::Active { since } => return group.check_active(restart, since, turn),
                _ => {}
            }
            Next::Go
        });
    }

    /// The control daemon is of no use any more: go up to its tier, or start over if this is it.
    fn daemon_lost(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) -> Option<Next> {
        let reason = match &self.control {
            control if control.died.is_some() => Fault::ControlDied,
            control if control.wedged_at.is_some() => Fault::ControlWedged,
            _ => return None,
        };
        if matches!(restart.reason, Some(Reason::Fault(_))) && self.may_go_further_for(reason).is_err() {
            return None;
        }
        if restart.tier == Tier::Daemon {
            let new = matches!(restart.step, Step::Active { .. });
            return new.then(|| self.attempt_failed(restart, reason, turn));
        }
        self.escalate(restart, reason.into(), turn);
        if !matches!(restart.step, Step::Kill(_) | Step::KillAgain(_) | Step::Gone(_) | Step::Stuck { .. }) {
            self.after_gone(restart, turn);
        }
        None
    }

    fn check_memory(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let verdict = match (turn.gpu.reading.since(restart.step_since), &restart.baseline) {
            (Some(_), None) if restart.fresh => Ok(()),
            (Some(reading), Some(baseline)) => {
                baseline.back(reading, &restart.old, turn.gpu.has_memory).map_err(|why| match why {
                    NotBack::Held(why) => (HeldReason::MemoryNotBack, why),
                    NotBack::Unknown(why) => (HeldReason::MemoryUnknown, why),
                })
            }
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
            Err((reason, why)) if turn.now.since(restart.step_since) >= self.policy.recovery.memory_timeout => {
                restart.hold(if stale { HeldReason::MemoryUnknown } else { reason }, why, turn);
            }
            Err(_) => {}
        }
    }

    pub(super) fn enter_backoff(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        let wait = match restart.gate {
            Gate::Wait(wait) => wait,
            Gate::Open => Duration::ZERO,
            Gate::Hold => {
                let recovery = &self.policy.recovery;
                let window = recovery.budget_window.as_secs();
                let detail = format!("{} restarts within {window} s are the budget, and it is spent", recovery.budget);
                restart.hold(HeldReason::BudgetSpent, detail, turn);
                Duration::ZERO
            }
        };
        restart.enter(Step::Backoff { until: turn.now.after(wait) }, turn);
        if wait.is_zero() && restart.gate != Gate::Hold {
            restart.gate = Gate::Open;
            self.after_backoff(restart, turn);
        }
    }

    fn after_backoff(&mut self, restart: &mut Restart, turn: &mut Turn<'_>) {
        restart.asked_to_start = None;
        let step = if self.control.process.is_none() || self.control.died.is_some() {
            Step::StartControl(self.order_start_control(turn))
        } else {
            Step::Active { since: turn.now }
        };
        restart.enter(step, turn);
    }

    /// A process came up after the kill: the kill is repeated.
    pub fn kill_again(&mut self, turn: &mut Turn<'_>) {
        self.with_restart(turn, |group, restart, turn| {
            let kill = group.order_kill(Vec::new(), turn);
            restart.enter(Step::KillAgain(kill), turn);
            Next::Go
        });
    }
}
