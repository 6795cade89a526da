//! The engine tier: one engine is down or did not get ready, the server is ACTIVE, its siblings progress.
//!
//! No single engine of a healthy group is signalled before `terminate_client` has answered or timed out:
//! a signal to a client with a long kernel in flight kills every sibling 130 to 160 ms later.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{
    Action, ActionId, EngineKey, EngineName, Exit, ExitCause, Fault, Mode, Moment, Outcome, ProcessId, RecoveryResult,
    Tier, What,
};

use super::engine::{Died, Ending, Engine, Stage};
use super::group::{Group, Phase};
use super::guard;
use super::orders::Purpose;
use super::turn::Turn;

/// For a fresh look at the engine's processes; then the last one must do.
const LOOK_BOUND: Duration = Duration::from_secs(2);
/// For `terminate_client`, each.
const TERMINATE_BOUND: Duration = Duration::from_millis(2500);
/// Over the time between TERM and KILL: for a process that dies slowly.
const DEATH_BOUND: Duration = Duration::from_secs(15);
/// Siblings of a killed client fail 130 to 160 ms after it, if they do.
const AFTERSHOCK: Duration = Duration::from_millis(500);
/// Told once; the attempts go on.
const DOES_NOT_DIE: &str = "a process of it does not die";
/// Between attempts to end a process that does not die.
const STUCK_PAUSE: Duration = Duration::from_secs(5);

impl Group {
    /// Takes one engine as far as it gets.
    pub fn advance_engine(&mut self, place: usize, turn: &mut Turn<'_>) {
        match self.engines[place].stage.clone() {
            Stage::Starting => self.advance_start(place, turn),
            Stage::Serving | Stage::Failing => self.advance_served(place, turn),
            Stage::Ending(ending) => self.advance_ending(place, &ending, turn),
            Stage::Down { .. } | Stage::Launching(_) | Stage::Fallen | Stage::Quarantined | Stage::Left => {}
        }
    }

    fn advance_start(&mut self, place: usize, turn: &mut Turn<'_>) {
        let engine = &self.engines[place];
        if let Some((at, exit)) = engine.ended {
            return self.engine_failed(place, at, format!("it ended with {exit} before it served"), turn);
        }
        match engine.attached_since_healthy(&self.server, &turn.gpu.reading, turn.now) {
            Some(true) => self.engine_serves(place, turn),
            attached => {
                let note = match attached {
                    Some(_) => "it is healthy and runs outside MPS: it is no client of this group's server",
                    None if engine.healthy_since.is_some() => "it is healthy; whether it is attached is not known yet",
                    None => "its health endpoint does not answer 200 yet",
                };
                self.engines[place].note = Some(note.to_owned());
                self.start_overdue(place, note, turn);
            }
        }
    }

    fn start_overdue(&mut self, place: usize, note: &str, turn: &mut Turn<'_>) {
        let engine = &self.engines[place];
        let bound = engine.policy.start_timeout;
        if turn.now.since(engine.started) >= bound {
            let because = format!("it did not get ready within {} s: {note}", bound.as_secs());
            self.engine_failed(place, turn.now, because, turn);
        }
    }

    fn engine_serves(&mut self, place: usize, turn: &mut Turn<'_>) {
        let engine = &mut self.engines[place];
        engine.stage = Stage::Serving;
        engine.note = None;
        let died = engine.died.take();
        let (name, took) = (engine.name().clone(), turn.now.since(engine.started));
        turn.tell_of(&name, What::EngineServing { took });
        if let Some(died) = died.filter(|died| died.restarting) {
            self.tell_engine_restart_ended(&name, &died, RecoveryResult::Serving, turn);
        }
    }

    fn tell_engine_restart_ended(&self, name: &EngineName, died: &Died, result: RecoveryResult, turn: &mut Turn<'_>) {
        turn.tell_of(name, What::RestartEnded { tier: Tier::Engine, result, took: turn.now.since(died.at) });
    }

    fn advance_served(&mut self, place: usize, turn: &mut Turn<'_>) {
        let attached = self.engines[place].attached_now(&self.server, &turn.gpu.reading, turn.now);
        let engine = &mut self.engines[place];
        if let Some((at, exit)) = engine.ended {
            return self.engine_failed(place, at, format!("its main process ended with {exit}"), turn);
        }
        let detached = engine.detached(attached, turn.now);
        let sound = engine.healthy_since.is_some() && !detached;
        let name = engine.name().clone();
        match (&engine.stage, sound) {
            (Stage::Serving, false) => {
                engine.stage = Stage::Failing;
                let because = if detached { "it runs outside MPS" } else { "its health endpoint does not answer 200" };
                engine.note = Some(because.to_owned());
                turn.tell_of(&name, What::EngineFailing { because: because.to_owned() });
            }
            (Stage::Failing, true) if attached == Some(true) => self.engine_serves(place, turn),
            _ => {}
        }
    }

    /// An engine failed by itself: it is taken out and started again, if that is allowed.
    pub fn engine_failed(&mut self, place: usize, at: Moment, because: String, turn: &mut Turn<'_>) {
        let mode = self.policy.mode_of(Fault::EngineDied);
        let (budget, window) = (self.policy.recovery.engine_budget, self.policy.recovery.budget_window);
        let engine = &mut self.engines[place];
        let name = engine.name().clone();
        engine.note = Some(because.clone());
        let earlier = engine.died.replace(Died { at, because: because.clone(), restarting: false });
        if let Some(earlier) = earlier.filter(|died| died.restarting) {
            self.tell_engine_restart_ended(&name, &earlier, RecoveryResult::Superseded, turn);
        }
        self.note_faults(turn);
        let hit_alone = self.faults.keys().all(|(engine, _)| engine.is_some());
        let engine = &mut self.engines[place];
        if mode == Mode::Observe {
            engine.stage = if engine.main.is_some() && engine.ended.is_none() { Stage::Failing } else { Stage::Left };
            if hit_alone {
                let action = "restart_engine";
                turn.tell_of(&name, What::Suppressed { action, reason: "observe", detail: because });
            }
            return;
        }
        engine.failures.count(window, turn.now);
        engine.stage = Stage::Ending(Ending::Look { since: turn.now });
        let failures = engine.failures.within(window, turn.now);
        *turn.save = true;
        if failures < budget {
            if let Some(died) = &mut engine.died {
                died.restarting = true;
            }
            let left = budget - failures;
            let reason = Fault::EngineDied;
            turn.tell_of(
                &name,
                What::RestartBegan { tier: Tier::Engine, reason, attempt: failures, budget_left: left },
            );
        }
    }

    fn advance_ending(&mut self, place: usize, ending: &Ending, turn: &mut Turn<'_>) {
        match ending {
            Ending::Look { since } => {
                let seen = self.engines[place].tree.since(*since).is_some();
                if seen || turn.now.since(*since) >= LOOK_BOUND {
                    self.terminate_or_stop(place, turn);
                }
            }
            Ending::Stuck { again } if *again <= turn.now => self.stop_engine(place, turn),
            Ending::Aftershock { until } if *until <= turn.now => self.engine_down(place, turn),
            Ending::Terminate(_) | Ending::Stop(_) | Ending::Stuck { .. } | Ending::Aftershock { .. } => {}
        }
    }

    fn terminate_or_stop(&mut self, place: usize, turn: &mut Turn<'_>) {
        let engine = &self.engines[place];
        let pids: BTreeSet<u32> = engine.processes().iter().map(|process: &ProcessId| process.pid).collect();
        let clients: Vec<u32> =
            self.server.clients.last().into_iter().flatten().copied().filter(|client| pids.contains(client)).collect();
        let (Some(server), false) = (self.server.pid, clients.is_empty()) else {
            return self.stop_engine(place, turn);
        };
        let name = engine.name().clone();
        let bound = TERMINATE_BOUND * u32::try_from(clients.len()).unwrap_or(u32::MAX);
        let action = Action::TerminateClients { engine: self.key(&name), server, clients };
        let id = turn.order(Purpose::Engine(name), action, bound);
        self.engines[place].stage = Stage::Ending(Ending::Terminate(id));
    }

    fn stop_engine(&mut self, place: usize, turn: &mut Turn<'_>) {
        let engine = &self.engines[place];
        let gone = engine.main.is_none() || engine.ended.is_some();
        let grace = if gone { Duration::ZERO } else { engine.policy.stop_timeout };
        let name = engine.name().clone();
        let action = Action::StopEngine { engine: self.key(&name), grace };
        let id = turn.order(Purpose::Engine(name), action, grace + DEATH_BOUND);
        self.engines[place].stage = Stage::Ending(Ending::Stop(id));
    }

    fn engine_down(&mut self, place: usize, turn: &mut Turn<'_>) {
        let recovery = &self.policy.recovery;
        let engine = &mut self.engines[place];
        let failures = engine.failures.within(recovery.budget_window, turn.now);
        let name = engine.name().clone();
        if failures >= recovery.engine_budget {
            engine.stage = Stage::Quarantined;
            engine.died = None;
            *turn.save = true;
            turn.tell_of(&name, What::EngineQuarantined { failures });
            return;
        }
        let wait = guard::wait(&recovery.backoff, failures, self.jitter.next());
        engine.stage = Stage::Down { due: turn.now.after(wait) };
        if !wait.is_zero() {
            turn.tell_of(&name, What::EngineBackoff { wait, failures });
        }
    }

    /// An order about one engine ended.
    pub fn engine_finished(&mut self, id: ActionId, name: &EngineName, outcome: Outcome, turn: &mut Turn<'_>) {
        let Some(place) = self.engines.iter().position(|engine| engine.name() == name) else { return };
        match self.engines[place].stage.clone() {
            Stage::Launching(order) if order == id => self.launched(place, outcome, turn),
            Stage::Ending(Ending::Terminate(order)) if order == id => {
                tell_failure(name, "terminate_client", &outcome, turn);
                self.stop_engine(place, turn);
            }
            Stage::Ending(Ending::Stop(order)) if order == id => self.engine_stopped(place, outcome, turn),
            _ => self.late(outcome, turn),
        }
    }

    /// An outcome that nobody waits for any more. A process that came up after its group's kill must go too.
    fn late(&mut self, outcome: Outcome, turn: &mut Turn<'_>) {
        match &self.phase {
            Phase::Restart(_) if matches!(outcome, Outcome::Started { .. }) => self.kill_again(turn),
            Phase::Stopping(stopping) if stopping.now() => self.stop_at_once(turn),
            _ => {}
        }
    }

    fn launched(&mut self, place: usize, outcome: Outcome, turn: &mut Turn<'_>) {
        let engine = &mut self.engines[place];
        let name = engine.name().clone();
        match outcome {
            Outcome::Started { process } => {
                engine.stage = Stage::Starting;
                engine.main = Some(process);
                engine.started = turn.now;
                let incarnation = engine.incarnation;
                turn.tell_of(&name, What::EngineStarted { process, incarnation });
            }
            outcome => {
                tell_failure(&name, "start", &outcome, turn);
                let why = match outcome {
                    Outcome::Failed { why } => why,
                    _ => "it could not be started in time".to_owned(),
                };
                self.engine_failed(place, turn.now, why, turn);
            }
        }
    }

    fn engine_stopped(&mut self, place: usize, outcome: Outcome, turn: &mut Turn<'_>) {
        let engine = &mut self.engines[place];
        if outcome == Outcome::Done {
            engine.main = None;
            engine.tree.saw(Vec::new(), turn.now);
            engine.stage = Stage::Ending(Ending::Aftershock { until: turn.now.after(AFTERSHOCK) });
            return;
        }
        let name = engine.name().clone();
        engine.stage = Stage::Ending(Ending::Stuck { again: turn.now.after(STUCK_PAUSE) });
        if engine.note.as_deref() != Some(DOES_NOT_DIE) {
            engine.note = Some(DOES_NOT_DIE.to_owned());
            tell_failure(&name, "stop", &outcome, turn);
        }
    }

    /// An engine's main process ended.
    pub fn engine_ended(&mut self, key: &EngineKey, incarnation: u32, exit: Exit, turn: &mut Turn<'_>) {
        let ordered = match &self.phase {
            Phase::Restart(_) => Some(ExitCause::GroupRestart),
            Phase::Stopping(_) | Phase::Stopped => Some(ExitCause::Clean),
            Phase::Waiting | Phase::Running(_) => None,
        };
        let Some(engine) = self.engine_mut(&key.engine) else { return };
        if engine.incarnation != incarnation || engine.ended.is_some() {
            return;
        }
        let evicted = matches!(engine.stage, Stage::Ending(_)).then_some(ExitCause::Evicted);
        let cause = ordered.or(evicted).unwrap_or(match exit {
            Exit::Status(0) => ExitCause::Clean,
            Exit::Status(_) | Exit::Unknown => ExitCause::Error,
            Exit::Signal(_) => ExitCause::Signal,
        });
        engine.ended = Some((turn.now, exit));
        turn.tell_of(&key.engine, What::EngineExited { exit, cause });
    }

    /// When an engine changes by time alone.
    pub fn engine_deadline(&self, engine: &Engine) -> Option<Moment> {
        if !matches!(self.phase, Phase::Running(_)) {
            return None;
        }
        match &engine.stage {
            Stage::Down { due } => Some(*due),
            Stage::Starting => Some(engine.started.after(engine.policy.start_timeout)),
            Stage::Ending(Ending::Look { since }) => Some(since.after(LOOK_BOUND)),
            Stage::Ending(Ending::Stuck { again }) => Some(*again),
            Stage::Ending(Ending::Aftershock { until }) => Some(*until),
            _ => None,
        }
    }
}

/// Tells that an order about an engine failed, if it did.
fn tell_failure(name: &EngineName, action: &'static str, outcome: &Outcome, turn: &mut Turn<'_>) {
    let why = match outcome {
        Outcome::Failed { why } => why.clone(),
        Outcome::TimedOut => "no outcome in its time".to_owned(),
        _ => return,
    };
    turn.tell_of(name, What::ActionFailed { action, why });
}
