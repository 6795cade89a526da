//! The engine tier: one engine is down or did not get ready, the server is ACTIVE, its siblings progress.
//!
//! No single engine of a healthy group is signalled before `terminate_client` has answered or timed out:
//! a signal to a client with a long kernel in flight kills every sibling 130 to 160 ms later. Here is what
//! makes an engine serve or fail; `ending` takes it out.

use std::time::Duration;

use crate::decide::detect::Finding;
use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::domain::teardown::{Manner, ending_deadline};
use crate::decide::facts::attempt::{Attempt, BudgetCount};
use crate::decide::facts::died::Died;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::newcomers::HANGS_AFTER;
use crate::decide::facts::remembered::Rest;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::turn::Turn;
use crate::model::{
    ActionId, EngineName, Exit, ExitCause, FailedAction, Fault, Moment, Outcome, RecoveryResult, SuppressedAction,
    Tier, What,
};

/// Pause until an engine that mpswarden itself lacked the means to start is tried again.
const NOT_STARTED_PAUSE: Duration = Duration::from_secs(1);

impl Domain {
    /// Takes one engine as far as it gets.
    pub(crate) fn advance_engine(&mut self, index: usize, turn: &mut Turn<'_>) {
        if self.scene.engines[index].has_done_its_work() {
            self.give_rest(index, Rest::Done, turn);
        }
        self.lead_to_rest(index, turn);
        self.act_on_the_neglected(index, turn);
        if self.waits_for_its_group(index, turn) {
            return;
        }
        if let Some(died) = self.scene.engines[index].death(&self.scene.server, &turn.gpu.reading, turn.now) {
            return self.engine_failed(index, died, turn);
        }
        if self.scene.engines[index].count_due().is_some_and(|due| turn.now < due) {
            // How it ended is about to be known.
            return;
        }
        match self.scene.engines[index].stage.clone() {
            Stage::Starting => self.advance_start(index, turn),
            Stage::Serving | Stage::Failing => self.advance_served(index, turn),
            Stage::Ending(ending) => self.advance_ending(index, &ending, turn),
            Stage::Down { .. } | Stage::Launching(_) | Stage::Fallen => {}
            Stage::Quarantined | Stage::Stopped | Stage::Left => {}
        }
    }

    fn advance_start(&mut self, index: usize, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        match engine.is_not_ready_for(&self.scene.server, &turn.gpu.reading, turn.now) {
            None if engine.awaits_environment(turn.now) => {}
            None => {
                engine.instance.figures.ready();
                self.engine_serves(index, turn);
            }
            Some(why) => engine.instance.note = Some(why.to_owned()),
        }
    }

    fn engine_serves(&mut self, index: usize, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        engine.stage = Stage::Serving;
        engine.knocks = None;
        engine.instance.note = None;
        engine.instance.output.over_limit = None;
        engine.died = None;
        if let Some(tree) = engine.instance.tree.all.last() {
            engine.instance.gpu.processes.looked(tree, self.scene.server.clients.last(), turn.now);
        }
        let took = turn.now.since(engine.instance.process.started);
        turn.emit_of(&engine.policy.name, What::EngineServing { took });
        engine.end_attempt(RecoveryResult::Serving, turn);
    }

    /// Acts on an engine that died while that was refused, and no longer is.
    fn act_on_the_neglected(&mut self, index: usize, turn: &mut Turn<'_>) {
        let engine = &self.scene.engines[index];
        let neglected = engine.died.clone().filter(|_| matches!(engine.stage, Stage::Left | Stage::Failing));
        let Some(died) = neglected else { return };
        if self.may_restart_one_for(&died, index, turn).is_ok() {
            // More may be known by now of what ended it.
            let died = engine.explained(died);
            self.engine_failed(index, died, turn);
        }
    }

    fn advance_served(&mut self, index: usize, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        let note = engine.detached_note();
        let detached = engine.is_detached(turn.now);
        let attached = engine.instance.gpu.watched.is_some() && !engine.seems_detached();
        let sound = engine.instance.probes.good_since.is_some() && !detached;
        let name = engine.name().clone();
        match (&engine.stage, sound) {
            (Stage::Serving, false) => {
                engine.stage = Stage::Failing;
                let because = if detached { note } else { "its health endpoint does not answer 200" };
                engine.instance.note = Some(because.to_owned());
                turn.emit_of(&name, What::EngineFailing { because: because.to_owned() });
            }
            (Stage::Failing, true) if attached => self.engine_serves(index, turn),
            _ => {}
        }
    }

    /// Takes out every engine that lives and has a fault of its own that one engine's restart mends.
    pub(crate) fn mend_engines(&mut self, found: &[Finding], turn: &mut Turn<'_>) {
        let mends = |finding: &&Finding| {
            let engine = finding.engine.as_ref();
            finding.fault != Fault::EngineDied
                && self.tier_now(finding, turn) == Some(Tier::Engine)
                && self.scene.may_restart(Tier::Engine, engine, finding.fault, turn.hold).is_ok()
        };
        let mended: Vec<&Finding> = found.iter().filter(mends).collect();
        self.scene.note_unmended(found, turn.now);
        for finding in mended {
            let Some(index) = finding.engine.as_ref().and_then(|name| self.index_of(name)) else { continue };
            let engine = &self.scene.engines[index];
            let lives = engine.stage.is_up();
            if lives && engine.instance.process.ended.is_none() {
                let died = Died { at: finding.evidence_at, fault: finding.fault, because: finding.because.clone() };
                self.engine_failed(index, died, turn);
            }
        }
    }

    /// An engine failed by itself: it is taken out and started again, if that is allowed.
    pub(crate) fn engine_failed(&mut self, index: usize, died: Died, turn: &mut Turn<'_>) {
        if self.scene.engines[index].is_to_rest() {
            // It was on its way out: that is no failure.
            return self.take_out(index, turn);
        }
        let engine = &mut self.scene.engines[index];
        engine.tried.tries(died.fault, turn.now);
        let name = engine.name().clone();
        let may_act = self.may_restart_one_for(&died, index, turn);
        if may_act.is_ok() {
            self.count_part(&died, turn);
        }
        let of_group = self.count(turn.now);
        let Died { at, fault, because } = died.clone();
        let (budget, window) = (self.scene.policy.recovery.engine_budget, self.scene.policy.recovery.budget_window);
        let engine = &mut self.scene.engines[index];
        engine.instance.note = Some(because.clone());
        engine.died = Some(died);
        engine.end_attempt(RecoveryResult::Superseded, turn);
        self.note_faults(turn);
        let hit_alone = self.scene.faults.keys().all(|(engine, _)| engine.is_some());
        let engine = &mut self.scene.engines[index];
        if let Err(reason) = may_act {
            engine.stage = if engine.instance.process.id.is_some() && engine.instance.process.ended.is_none() {
                Stage::Failing
            } else if engine.policy.custody.is_others() {
                Domain::looked_for_again(turn.now)
            } else {
                Stage::Left
            };
            if hit_alone {
                let action = SuppressedAction::RestartEngine;
                turn.emit_of(&name, What::Suppressed { action, reason, detail: because });
            }
            return;
        }
        // A leak is no emergency: its requests may end.
        let ending = if fault == Fault::MemoryLeak {
            self.planned_end(index, turn)
        } else {
            Stage::Ending(Ending::Look { since: turn.now })
        };
        let engine = &mut self.scene.engines[index];
        // That the server took its client, or that its group's fault took it along, is no failure of its own.
        let own = !matches!(fault, Fault::Evicted | Fault::GpuFault);
        if own {
            engine.failures.count(window, turn.now);
        }
        if fault == Fault::Evicted {
            engine.evictions = engine.evictions.saturating_add(1);
        } else if own {
            engine.evictions = 0;
        }
        engine.owe_its_start();
        engine.stage = ending;
        let failures = engine.failures.within(window, turn.now);
        let attempt = failures.max(engine.evictions);
        turn.save();
        if failures < budget || !own {
            let of_itself = BudgetCount { attempt, budget_left: budget.saturating_sub(failures) };
            let count = if fault == Fault::GpuFault { of_group } else { of_itself };
            engine.attempt = Some(Attempt::of_engine(&name, fault.into(), at, count, turn));
        }
    }

    /// An order about one engine ended.
    pub(crate) fn engine_finished(&mut self, id: ActionId, name: &EngineName, outcome: Outcome, turn: &mut Turn<'_>) {
        let Some(index) = self.index_of(name) else { return };
        match self.scene.engines[index].stage.clone() {
            Stage::Launching(order) if order == id && !self.scene.engines[index].is_ours_to_start() => {
                self.engine_search_ended(index, id, &outcome, turn);
            }
            Stage::Launching(order) if order == id => self.launched(index, outcome, turn),
            Stage::Ending(Ending::Terminate(order) | Ending::Stop(order)) if order == id => {
                self.ending_finished(index, outcome, turn);
            }
            Stage::Down { .. }
            | Stage::Launching(_)
            | Stage::Starting
            | Stage::Serving
            | Stage::Failing
            | Stage::Ending(_)
            | Stage::Fallen
            | Stage::Quarantined
            | Stage::Stopped
            | Stage::Left => self.late(outcome, turn),
        }
    }

    /// An outcome that is no longer waited for. A process that came up after its group's kill must go too.
    fn late(&mut self, outcome: Outcome, turn: &mut Turn<'_>) {
        match &self.phase {
            Phase::Restart(_) if matches!(outcome, Outcome::Started { .. }) => self.kill_again(turn),
            Phase::Stopping(teardown) if teardown.manner() == Manner::AtOnce => self.stop_at_once(turn),
            Phase::Waiting
            | Phase::Restart(_)
            | Phase::InRestart
            | Phase::Running(_)
            | Phase::Stopping(_)
            | Phase::Stopped => {}
        }
    }

    fn launched(&mut self, index: usize, outcome: Outcome, turn: &mut Turn<'_>) {
        let engine = &mut self.scene.engines[index];
        let name = engine.name().clone();
        match outcome {
            Outcome::Started { process } => {
                engine.begins(process, turn.now);
                if !engine.policy.custody.is_others() {
                    let told = engine.policy.mps_environment(process, engine.instance.mps);
                    engine.instance.limits.started_with(told, turn.now);
                }
                let incarnation = engine.instance.incarnation;
                turn.emit_of(&name, What::EngineStarted { process, incarnation });
            }
            Outcome::Waits { why, .. } => {
                if let Some(why) = engine.waits_for_its_supervisor(why, turn) {
                    engine.instance.process.not_started = Some((turn.now, why));
                }
            }
            Outcome::NotAsked { why } => {
                // It is us who can't start it: no failure of its own.
                let news = engine.instance.note.as_ref() != Some(&why);
                engine.stage = Stage::Down { due: turn.now.after(NOT_STARTED_PAUSE) };
                engine.instance.note = Some(why.clone());
                if news {
                    turn.emit_of(&name, What::ActionFailed { action: FailedAction::StartEngine, why });
                }
            }
            outcome @ (Outcome::Done
            | Outcome::Killed { .. }
            | Outcome::Gone { .. }
            | Outcome::Failed { .. }
            | Outcome::TimedOut
            | Outcome::NotUnderstood { .. }) => {
                turn.emit_failure_of(&name, FailedAction::StartEngine, &outcome);
                let why = match outcome {
                    Outcome::Failed { why } => why,
                    Outcome::Done
                    | Outcome::Started { .. }
                    | Outcome::Killed { .. }
                    | Outcome::Gone { .. }
                    | Outcome::Waits { .. }
                    | Outcome::TimedOut
                    | Outcome::NotUnderstood { .. }
                    | Outcome::NotAsked { .. } => "it could not be started in time".to_owned(),
                };
                engine.instance.process.not_started = Some((turn.now, why));
                if engine.is_to_rest() {
                    self.take_out(index, turn);
                }
            }
        }
    }

    /// An engine's main process ended. Status 0 is no clean end by itself: vLLM's front end ends with it when its core was
    /// killed.
    pub(crate) fn engine_ended(&mut self, name: &EngineName, incarnation: u32, exit: Exit, turn: &mut Turn<'_>) {
        let ordered = match &self.phase {
            Phase::Restart(_) | Phase::InRestart => Some(ExitCause::GroupRestart),
            Phase::Stopping(_) | Phase::Stopped => Some(ExitCause::Clean),
            Phase::Waiting | Phase::Running(_) => None,
        };
        let Some(engine) = self.scene.engine_mut(name) else { return };
        if engine.instance.incarnation != incarnation || engine.instance.process.ended.is_some() {
            return;
        }
        let ending = matches!(engine.stage, Stage::Ending(_));
        let with_its_group = engine.died.as_ref().is_some_and(|died| died.fault == Fault::GpuFault);
        let evicted = ending.then_some(if with_its_group { ExitCause::GroupRestart } else { ExitCause::Evicted });
        let short = engine.instance.shortage.cause_of(turn.now, exit);
        let taken = short.filter(|cause| *cause == ExitCause::HostOom);
        let by_server = engine.ended_by_eviction(exit).then_some(ExitCause::Evicted);
        let cause = ordered.or(taken).or(evicted).or(by_server).or(short).unwrap_or(match exit {
            Exit::Status(0) if !engine.outlived_its_gpu_process() => ExitCause::Clean,
            Exit::Status(_) | Exit::Unknown => ExitCause::Error,
            Exit::Signal(_) => ExitCause::Signal,
        });
        engine.instance.process.ended = Some((turn.now, exit));
        self.suspects.exit(name, exit, turn.now);
        if let Some(index) = self.index_of(name) {
            self.scene.note_death(index, exit, turn.now);
        }
        turn.emit_of(name, What::EngineExited { exit, cause });
    }

    /// When an engine changes by time alone.
    pub(crate) fn engine_deadline(&self, engine: &Engine, now: Moment) -> Option<Moment> {
        if !matches!(self.phase, Phase::Running(_)) {
            return None;
        }
        match &engine.stage {
            Stage::Down { due } => Some(*due),
            Stage::Starting => {
                let hangs = engine.knocks.map(|since| since.after(HANGS_AFTER));
                let late = engine.instance.process.started.after(engine.policy.start_timeout);
                [hangs, Some(late)].into_iter().flatten().filter(|at| *at > now).min()
            }
            Stage::Serving | Stage::Failing => {
                let gone = engine.instance.gpu.processes.deadlines();
                let evicted = engine.eviction_due();
                engine.stall_deadline(now).into_iter().chain(gone).chain(evicted).filter(|at| *at > now).min()
            }
            Stage::Ending(ending) => ending_deadline(ending),
            Stage::Launching(_) | Stage::Fallen | Stage::Quarantined | Stage::Stopped | Stage::Left => None,
        }
    }
}
