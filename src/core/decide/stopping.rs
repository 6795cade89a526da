//! An ordered stop: engines in reverse order, then the daemon; or everything at once.

use std::time::Duration;

use crate::model::{Action, ActionId, EngineName, FailedAction, Moment, Outcome, What};

use super::domain::{Domain, Phase};
use super::engine::{Engine, Stage};
use super::operator::stage_of;
use super::orders::Purpose;
use super::remembered::Rest;
use super::restart::{QUIT_GRACE, STOP_CONTROL_BOUND};
use super::turn::Turn;

/// Over an engine's own time to stop: for a process that dies slowly.
const DEATH_BOUND: Duration = Duration::from_secs(15);
/// For everything that was killed to be gone.
const GONE_BOUND: Duration = Duration::from_secs(5);

/// What becomes of a group once it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterStop {
    /// It stays stopped.
    Stays,
    /// It starts again: somebody changed his mind meanwhile.
    Starts,
    /// The configuration has it no more: it is forgotten.
    IsForgotten,
}

/// A stop on its way.
#[derive(Clone, Debug)]
pub(super) struct Stopping {
    /// No grace for anybody.
    now: bool,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    /// Orders from before must end first: none may start an engine behind our back. Requests in flight too.
    Quiet,
    /// Engines after this one are stopped; this one is being stopped.
    Engine(ActionId, EngineName),
    /// All engines get KILL.
    Kill(ActionId),
    /// They are waited for.
    Gone(ActionId),
    /// An engine or the daemon may still come up, and gets it too.
    Starts,
    /// The daemon quits.
    Control(ActionId),
}

impl Stopping {
    /// Without grace for anybody.
    pub fn now(&self) -> bool {
        self.now
    }
}

impl Domain {
    /// Somebody wants the group to end, and `after_stop` to become of it then.
    pub fn stop(&mut self, now: bool, after_stop: AfterStop, turn: &mut Turn<'_>) {
        self.after_stop = after_stop;
        match &mut self.phase {
            Phase::Waiting => self.stopped(turn),
            Phase::Stopped => {}
            Phase::Stopping(stopping) if stopping.now || !now => {}
            Phase::Stopping(_) | Phase::Restart(_) | Phase::Running(_) if now => self.stop_at_once(turn),
            Phase::Stopping(_) | Phase::Restart(_) | Phase::Running(_) => {
                let drains = self.drains_before_a_stop(turn.now);
                self.fence(turn);
                for (place, stage) in drains {
                    self.engines[place].stage = stage;
                }
                self.phase = Phase::Stopping(Stopping { now: false, step: Step::Quiet });
            }
        }
    }

    /// Engines whose requests are let end first, all at the same time.
    fn drains_before_a_stop(&self, now: Moment) -> Vec<(usize, Stage)> {
        let drains = |(place, engine)| self.may_drain(engine).then(|| (place, self.planned_end(place, now)));
        self.engines.iter().enumerate().filter_map(drains).collect()
    }

    fn fence(&mut self, turn: &mut Turn<'_>) {
        self.supersede(turn);
        for engine in &mut self.engines {
            if !matches!(engine.stage, Stage::Quarantined | Stage::Stopped) {
                engine.stage = Stage::Fallen;
            }
            engine.died = None;
        }
        self.rolling = None;
        if self.is_apart() {
            // Its group goes on: what it told of is over.
            self.end_faults(&[], turn);
        }
        self.faults.clear();
    }

    pub(super) fn stop_at_once(&mut self, turn: &mut Turn<'_>) {
        self.fence(turn);
        let id = self.order_kill(Vec::new(), turn);
        self.phase = Phase::Stopping(Stopping { now: true, step: Step::Kill(id) });
    }

    /// Goes on once earlier orders have ended.
    pub fn advance_stopping(&mut self, turn: &mut Turn<'_>) {
        let quiet = matches!(&self.phase, Phase::Stopping(Stopping { step: Step::Quiet, .. }));
        if quiet && self.all_drained(turn) && !turn.orders.busy(turn.id) {
            self.stop_engine_before(self.engines.len(), turn);
        }
        let starts = matches!(&self.phase, Phase::Stopping(Stopping { step: Step::Starts, .. }));
        if starts && !turn.orders.starting(turn.id) {
            self.stop_at_once(turn);
        }
    }

    fn all_drained(&mut self, turn: &mut Turn<'_>) -> bool {
        for place in 0..self.engines.len() {
            if self.engines[place].drains() && self.drained(place, turn) {
                self.engines[place].stage = Stage::Fallen;
            }
        }
        !self.engines.iter().any(Engine::drains)
    }

    /// An order of the stop ended. What failed is told; the stop goes on, the daemon's KILL comes last.
    pub fn stopping_finished(&mut self, id: ActionId, outcome: Outcome, turn: &mut Turn<'_>) {
        let Phase::Stopping(stopping) = &self.phase else { return };
        let now = stopping.now;
        match &stopping.step {
            Step::Engine(order, name) if *order == id => {
                turn.emit_failure(FailedAction::StopEngine, &outcome);
                self.left_behind |= outcome != Outcome::Done;
                // Its place may have changed with the configuration.
                let place = self.engines.iter().position(|engine| engine.name() == name);
                self.stop_engine_before(place.unwrap_or(self.engines.len()), turn);
            }
            Step::Kill(order) if *order == id => self.killed(outcome, turn),
            Step::Gone(order) if *order == id => {
                turn.emit_failure(FailedAction::AwaitGone, &outcome);
                self.left_behind |= outcome != Outcome::Gone { remaining: Vec::new() };
                if turn.orders.starting(turn.id) {
                    self.phase = Phase::Stopping(Stopping { now, step: Step::Starts });
                } else {
                    self.stop_control(now, turn);
                }
            }
            Step::Control(order) if *order == id => {
                turn.emit_failure(FailedAction::StopControl, &outcome);
                self.left_behind |= outcome != Outcome::Done;
                self.stopped(turn);
            }
            _ => {}
        }
    }

    fn killed(&mut self, outcome: Outcome, turn: &mut Turn<'_>) {
        let (group, engines) = (self.policy.name.clone(), self.names());
        let processes = match outcome {
            Outcome::Killed { processes } => processes,
            outcome => {
                turn.emit_failure(FailedAction::Kill, &outcome);
                Vec::new()
            }
        };
        let id = turn.order(Purpose::Group, Action::AwaitGone { group, engines, processes }, GONE_BOUND);
        self.phase = Phase::Stopping(Stopping { now: true, step: Step::Gone(id) });
    }

    /// Stops the next engine in reverse order that may have a process; after the first one, the daemon.
    fn stop_engine_before(&mut self, place: usize, turn: &mut Turn<'_>) {
        let Some(place) = (0..place).rev().find(|place| self.engines[*place].instance.incarnation > 0) else {
            return self.stop_control(false, turn);
        };
        let engine = &self.engines[place];
        let (name, grace) = (engine.name().clone(), engine.policy.stop_timeout);
        let action = Action::StopEngine { engine: self.key(&name), grace };
        let id = turn.order(Purpose::Group, action, grace + DEATH_BOUND);
        self.phase = Phase::Stopping(Stopping { now: false, step: Step::Engine(id, name) });
    }

    fn stop_control(&mut self, now: bool, turn: &mut Turn<'_>) {
        let wedged = self.control.wedged_at.is_some();
        let grace = if now || wedged { Duration::ZERO } else { QUIT_GRACE };
        let action = Action::StopControl { group: self.policy.name.clone(), grace, server: self.server.process };
        let id = turn.order(Purpose::Group, action, STOP_CONTROL_BOUND);
        self.phase = Phase::Stopping(Stopping { now, step: Step::Control(id) });
    }

    /// The end: an operator ended the group, so nothing of it is held against its next start. Engines that an
    /// operator stopped or took out for good stay out over it.
    fn stopped(&mut self, turn: &mut Turn<'_>) {
        self.phase = if self.after_stop == AfterStop::Starts { Phase::Waiting } else { Phase::Stopped };
        self.control = super::facts::ControlFacts::default();
        self.server = super::facts::ServerFacts::default();
        self.attempts.clear();
        self.forget_leavers();
        for engine in &mut self.engines {
            engine.failures.clear();
            engine.instance.process.id = None;
            engine.rest = engine.rest.filter(|rest| *rest != Rest::CrashLoop);
            engine.stage = stage_of(engine.rest).unwrap_or(Stage::Left);
        }
        turn.save();
        if !self.is_apart() {
            turn.emit(What::Stopped);
        }
    }
}
