//! Lets a restart in: budget and back-off, what it supersedes, and what is noted before the kill.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::domain::memory_gate::{Baseline, baseline};
use crate::decide::domain::phase::Phase;
use crate::decide::domain::restart::{Gate, Next, Restart, Step};
use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::{Manner, Teardown};
use crate::decide::facts::attempt::{Attempt, BudgetCount};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::guard;
use crate::decide::facts::stage::Stage;
use crate::decide::turn::Turn;
use crate::model::{Fault, HeldReason, Moment, Reason, RecoveryResult, RecoveryStep, Tier, What};

/// Time before its group's fault within which an engine that died died of it.
const ONE_EVENT: Duration = Duration::from_secs(1);

impl Domain {
    /// The first start: a daemon, a server, the engines. There is nothing to end.
    pub(crate) fn first_start(&mut self, turn: &mut Turn<'_>) {
        if self.may_use(turn.gpu).is_err() {
            return self.first_start_on_a_sick_gpu(turn);
        }
        let step = Step::StartControl(self.order_start_control(turn));
        let mut restart = self.new_restart(Tier::Daemon, None, step, Gate::Open, turn.now);
        restart.fresh = true;
        self.phase = Phase::Restart(Box::new(restart));
        turn.save();
    }

    /// Nothing is started before the GPU is well.
    fn first_start_on_a_sick_gpu(&mut self, turn: &mut Turn<'_>) {
        let mut restart = self.new_restart(Tier::Daemon, None, Step::Gpu, Gate::Open, turn.now);
        restart.fresh = true;
        restart.baseline = self.baseline(&restart.old, turn);
        self.phase = Phase::Restart(Box::new(restart));
        turn.save();
        self.advance_restart(turn);
    }

    /// A start after a stop that left something behind: what may still live is ended and proven gone first.
    pub(crate) fn start_over(&mut self, turn: &mut Turn<'_>) {
        let end = Step::End(Teardown::begin(Manner::ForARestart, &self.scene.target(), turn));
        let mut restart = self.new_restart(Tier::Daemon, None, end, Gate::Open, turn.now);
        restart.old = self.old_pids(turn);
        restart.baseline = self.baseline(&restart.old, turn);
        self.phase = Phase::Restart(Box::new(restart));
        turn.save();
    }

    /// Ends all engines at once and starts them again, after `tier`'s work on server and daemon.
    pub(crate) fn begin_restart(&mut self, tier: Tier, reason: Reason, evidence_at: Moment, turn: &mut Turn<'_>) {
        self.supersede(turn);
        let (gate, attempt) = self.admit(tier, reason, turn);
        let old = self.old_pids(turn);
        let end = Step::End(Teardown::begin(Manner::ForARestart, &self.scene.target(), turn));
        self.tell_verdict(turn);
        turn.emit(What::StepEnded { step: RecoveryStep::Decide, took: turn.now.since(evidence_at) });
        let mut restart = self.new_restart(tier, Some(reason), end, gate, turn.now);
        restart.attempt = attempt;
        restart.baseline = self.baseline(&old, turn);
        restart.old = old;
        self.phase = Phase::Restart(Box::new(restart));
        let has_a_process = |engine: &&mut Engine| !matches!(engine.stage, Stage::Quarantined | Stage::Stopped);
        for engine in self.scene.engines.iter_mut().filter(has_a_process) {
            engine.owe_its_start();
            engine.stage = Stage::Fallen;
            engine.died = None;
        }
        self.serving_since = None;
        turn.save();
    }

    /// A fault that needs a step further up the ladder shows while the restart is on its way.
    pub(crate) fn escalate(&mut self, restart: &mut Restart, reason: Reason, turn: &mut Turn<'_>) {
        let attempt = restart.attempt.take();
        restart.tier = Tier::Daemon;
        // What an operator ordered stays his, however far it must go: it is not counted.
        let reason = restart.reason.filter(|known| *known == Reason::Operator).unwrap_or(reason);
        restart.reason = Some(reason);
        if let Some(attempt) = attempt {
            // The same attempt goes further: it is counted once.
            attempt.end(RecoveryResult::Superseded, turn);
            restart.since = turn.now;
            restart.attempt = Some(Attempt::of_group(Tier::Daemon, reason, self.count(turn.now), turn));
        }
    }

    /// Whatever was on its way makes room for a restart or the end of the whole group.
    pub(crate) fn supersede(&mut self, turn: &mut Turn<'_>) {
        let attempt = match &mut self.phase {
            Phase::Running(Some(settling)) => settling.attempt.take(),
            Phase::Restart(restart) => restart.attempt.take(),
            Phase::Waiting | Phase::InRestart | Phase::Running(None) | Phase::Stopping(_) | Phase::Stopped => None,
        };
        if let Some(attempt) = attempt {
            attempt.end(RecoveryResult::Superseded, turn);
        }
        self.give_up_the_search(turn);
        self.leave_to_their_owners(&[], turn);
        (0..self.scene.engines.len()).for_each(|index| self.release_from(index, turn));
        for engine in &mut self.scene.engines {
            let at = engine.died.as_ref().map(|died| died.at);
            if matches!(engine.stage, Stage::Ending(_)) && at.is_some_and(|at| turn.now.since(at) <= ONE_EVENT) {
                // The group's fault took it: that is no failure of its own.
                engine.failures.forgive_last();
            }
            engine.died = None;
            engine.end_attempt(RecoveryResult::Superseded, turn);
        }
    }

    /// Begins another attempt, if there may be one, and says after which wait the engines may start.
    fn admit(&mut self, tier: Tier, reason: Reason, turn: &mut Turn<'_>) -> (Gate, Option<Attempt>) {
        if reason == Reason::Operator {
            let attempt = Attempt::of_group(tier, reason, self.count(turn.now), turn);
            return (Gate::Wait(Duration::ZERO), Some(attempt));
        }
        let recovery = &self.scene.policy.recovery;
        let spent = self.budget.attempts.within(recovery.budget_window, turn.now) >= recovery.budget;
        if self.may_attempt(turn.now).is_err() {
            return (Gate::Hold, None);
        }
        let random = self.budget.jitter.next();
        self.budget.attempts.count(recovery.budget_window, turn.now);
        let count = self.count(turn.now);
        let attempt = Attempt::of_group(tier, reason, count, turn);
        let backoff = &self.scene.policy.recovery.backoff;
        let wait = if spent { guard::longest(backoff, random) } else { guard::wait(backoff, count.attempt, random) };
        (Gate::Wait(wait), Some(attempt))
    }

    /// Where the attempt on its way stands within the budget.
    pub(crate) fn count(&self, now: Moment) -> BudgetCount {
        let attempt = self.budget.attempts.within(self.scene.policy.recovery.budget_window, now);
        BudgetCount { attempt, budget_left: self.scene.policy.recovery.budget.saturating_sub(attempt) }
    }

    fn new_restart(&self, tier: Tier, reason: Option<Reason>, step: Step, gate: Gate, now: Moment) -> Restart {
        Restart {
            tier,
            reason,
            since: now,
            attempt: None,
            step,
            step_since: now,
            held: None,
            gate,
            baseline: None,
            fresh: false,
            old: BTreeSet::new(),
            asked_to_start: None,
            strays_killed: false,
        }
    }

    /// The pids under which NVML shows the old generation.
    fn old_pids(&self, turn: &Turn<'_>) -> BTreeSet<u32> {
        match turn.gpu.reading.last() {
            Some(reading) if !self.scene.around.pids_match && turn.alone => {
                reading.mps.iter().flatten().map(|process| process.pid).collect()
            }
            _ => self.scene.pids(),
        }
    }

    fn baseline(&self, old: &BTreeSet<u32>, turn: &Turn<'_>) -> Option<Baseline> {
        let reading = turn.gpu.reading.last()?;
        (self.scene.around.pids_match || turn.alone).then(|| baseline(reading, old))
    }

    /// A new daemon or server did not come up: another attempt, from the start and within the budget.
    pub(crate) fn attempt_failed(&mut self, restart: &mut Restart, reason: Fault, turn: &mut Turn<'_>) -> Next {
        let held = self.may_attempt(turn.now).is_err();
        if self.may_run(turn.gpu).is_err() {
            // No attempt mends it: what came up is stopped again, and the start waits.
            self.stop_for_the_gpu(restart, turn);
            return Next::Go;
        }
        restart.end_attempt(if held { RecoveryResult::Held } else { RecoveryResult::Superseded }, turn);
        if matches!(restart.reason, Some(Reason::Fault(_))) || self.scene.may_act_on(reason, turn.hold).is_ok() {
            return Next::Again(reason);
        }
        // Where the watchdog only observes, it ends nothing: the first or the ordered start is tried again.
        (restart.gate, restart.attempt) = self.admit(restart.tier, reason.into(), turn);
        restart.since = turn.now;
        self.enter_backoff(restart, turn);
        Next::Go
    }

    /// An operator lets a held group go on: it gets its budget back, and neither memory nor the GPU is waited for.
    /// What a process that does not die holds back stays held.
    pub(crate) fn resume(&mut self, turn: &mut Turn<'_>) {
        self.budget.attempts.clear();
        turn.save();
        self.with_restart(turn, |domain, restart, turn| {
            if restart.gate == Gate::Hold {
                let reason = restart.reason.unwrap_or(Fault::ControlDied.into());
                (restart.gate, restart.attempt) = domain.admit(restart.tier, reason, turn);
                restart.since = turn.now;
            }
            if let Step::Blocked { again } = &mut restart.step {
                *again = turn.now;
            }
            if restart.waiting_for_active().is_some() {
                domain.scene.server.starts.again();
                restart.asked_to_start = None;
                restart.release_from(HeldReason::ServerCannotStart, turn);
                restart.step = Step::Active { since: turn.now };
            }
            if restart.step == Step::Gpu {
                domain.gpu_excused = Some(turn.now);
            }
            // Nobody's word lets a group start on a GPU that was never read.
            let goes_on = restart.step == Step::Gpu && domain.cannot_use(turn.gpu).is_none();
            if (restart.waiting_for_memory() || goes_on) && restart.held.is_some() {
                restart.release(turn);
                domain.enter_backoff(restart, turn);
            }
            Next::Go
        });
    }

    /// When a wedged daemon's grace ends: at once when an engine is failing.
    pub(crate) fn wedge_due(&self) -> Option<Moment> {
        let since = self.scene.control.wedged_at?;
        Some(if self.scene.is_failing() { since } else { since.after(self.scene.policy.recovery.wedge_grace) })
    }
}
