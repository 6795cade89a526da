//! Takes one engine out: terminate_client, TERM, KILL, the proof, and a watch on its siblings after it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::domain::Domain;
use crate::decide::engine::{Ending, Engine, Stage};
use crate::decide::guard;
use crate::decide::orders::Purpose;
use crate::decide::remembered::Rest;
use crate::decide::turn::{NO_OUTCOME, Turn, failure};
use crate::model::{Action, FailedAction, Fault, HeldReason, Outcome, ProcessId, RecoveryResult, What};

/// For a fresh look at the engine's processes; then the last one must do.
pub(super) const LOOK_BOUND: Duration = Duration::from_secs(2);
/// For `terminate_client`, each.
const TERMINATE_BOUND: Duration = Duration::from_millis(2500);
/// Over the time between TERM and KILL: for a process that dies slowly.
const DEATH_BOUND: Duration = Duration::from_secs(15);
/// Siblings of a killed client fail 130 to 160 ms after it, if they do.
const AFTERSHOCK: Duration = Duration::from_millis(500);
/// Between TERM and KILL of an engine that hangs, or of which only the main process is left, with its port closed: it
/// can't react, and its requests are lost.
const HUNG_GRACE: Duration = Duration::from_secs(2);
/// Between attempts to end a process that does not die.
const STUCK_PAUSE: Duration = Duration::from_secs(5);
/// The same, where mpswarden itself lacks what it needs for it.
const NOT_ENDED_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Whether its clients are being taken off the server.
    pub fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Ending(Ending::Terminate(_)))
    }

    /// Between TERM and KILL.
    fn grace(&self) -> Duration {
        if self.instance.process.id.is_none() || self.instance.process.ended.is_some() || self.instance.stuck.is_some()
        {
            return Duration::ZERO;
        }
        let hangs = self.died.as_ref().is_some_and(|died| died.fault == Fault::Hang);
        if hangs || self.is_hollow() { self.policy.stop_timeout.min(HUNG_GRACE) } else { self.policy.stop_timeout }
    }
}

impl Domain {
    pub(super) fn advance_ending(&mut self, place: usize, ending: &Ending, turn: &mut Turn<'_>) {
        match ending {
            Ending::Drain { .. } => {
                if self.drained(place, turn) {
                    self.engines[place].stage = Stage::Ending(Ending::Look { since: turn.now });
                }
            }
            Ending::Look { since } => {
                let seen = self.engines[place].instance.tree.all.since(*since).is_some();
                let looked = seen || turn.now.since(*since) >= LOOK_BOUND;
                if looked && self.may_terminate_clients().is_ok() {
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
        let pids: BTreeSet<u32> = engine.instance.processes().iter().map(|process: &ProcessId| process.pid).collect();
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

    pub(super) fn stop_engine(&mut self, place: usize, turn: &mut Turn<'_>) {
        let engine = &self.engines[place];
        let grace = engine.grace();
        let name = engine.name().clone();
        let action = Action::StopEngine { engine: self.key(&name), grace };
        let id = turn.order(Purpose::Engine(name), action, grace + DEATH_BOUND);
        self.engines[place].stage = Stage::Ending(Ending::Stop(id));
    }

    pub(super) fn engine_stopped(&mut self, place: usize, outcome: Outcome, turn: &mut Turn<'_>) {
        if outcome == Outcome::Done {
            self.release_from(place, turn);
            let engine = &mut self.engines[place];
            engine.instance.process.id = None;
            engine.instance.tree.all.saw(Vec::new(), turn.now);
            engine.stage = Stage::Ending(Ending::Aftershock { until: turn.now.after(AFTERSHOCK) });
            return;
        }
        if let Outcome::NotAsked { why } = outcome {
            // It is us who can't end it: that says nothing of its processes.
            let engine = &mut self.engines[place];
            engine.stage = Stage::Ending(Ending::Stuck { again: turn.now.after(NOT_ENDED_PAUSE) });
            let name = engine.name().clone();
            if engine.instance.note.replace(why.clone()).as_ref() != Some(&why) {
                turn.emit_of(&name, What::ActionFailed { action: FailedAction::StopEngine, why });
            }
            return;
        }
        self.engines[place].stage = Stage::Ending(Ending::Stuck { again: turn.now.after(STUCK_PAUSE) });
        if self.engines[place].instance.stuck.is_none() {
            self.hold_for(place, &outcome, turn);
        }
    }

    /// A process of an engine does not die: it stays out and the group says so, while its siblings serve on. Told
    /// once; the attempts go on.
    fn hold_for(&mut self, place: usize, outcome: &Outcome, turn: &mut Turn<'_>) {
        let news = self.stuck().is_none();
        let engine = &mut self.engines[place];
        let why = failure(outcome).unwrap_or_else(|| NO_OUTCOME.to_owned());
        let detail = format!("a process of {} does not die: {why}", engine.policy.name);
        turn.emit_failure_of(&engine.policy.name, FailedAction::StopEngine, outcome);
        engine.instance.note = Some("a process of it does not die".to_owned());
        engine.instance.stuck = Some(detail.clone());
        engine.recovery_ended(RecoveryResult::Held, turn);
        if news {
            turn.emit(What::Held { reason: HeldReason::ProcessStuck, detail });
        }
    }

    /// Nothing of the engine lives any more, or its whole group's restart or stop sees to it.
    pub fn release_from(&mut self, place: usize, turn: &mut Turn<'_>) {
        if self.engines[place].instance.stuck.take().is_some() && self.stuck().is_none() {
            turn.emit(What::Released { reason: HeldReason::ProcessStuck });
        }
    }

    /// Which processes do not die, for people; `None`: none is known to.
    pub fn stuck(&self) -> Option<String> {
        let stuck: Vec<&str> = self.engines.iter().filter_map(|engine| engine.instance.stuck.as_deref()).collect();
        (!stuck.is_empty()).then(|| stuck.join("; "))
    }

    fn engine_down(&mut self, place: usize, turn: &mut Turn<'_>) {
        let recovery = &self.policy.recovery;
        let engine = &mut self.engines[place];
        if engine.is_to_rest() {
            return self.rests(place, turn);
        }
        if engine.died.is_none() {
            // It was ordered out, not taken out for a failure.
            engine.stage = Stage::Down { due: turn.now };
            return;
        }
        let failures = engine.failures.within(recovery.budget_window, turn.now);
        let evicted = engine.died.as_ref().is_some_and(|died| died.fault == Fault::Evicted);
        if failures >= recovery.engine_budget && !evicted {
            engine.rest = Some(Rest::CrashLoop);
            engine.died = None;
            turn.save();
            return self.rests(place, turn);
        }
        let name = engine.name().clone();
        let attempt = if evicted { engine.evictions } else { failures };
        let wait = guard::wait(&recovery.backoff, attempt, self.jitter.next());
        engine.stage = Stage::Down { due: turn.now.after(wait) };
        if !wait.is_zero() {
            turn.emit_of(&name, What::EngineBackoff { wait, failures });
        }
    }
}
