//! Takes one engine out: terminate_client, TERM, KILL, the proof, and a watch on its siblings after it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::engine::{Ending, Stage};
use crate::decide::group::Group;
use crate::decide::guard;
use crate::decide::orders::Purpose;
use crate::decide::remembered::Rest;
use crate::decide::turn::Turn;
use crate::model::{Action, Outcome, ProcessId, What};

/// For a fresh look at the engine's processes; then the last one must do.
pub(super) const LOOK_BOUND: Duration = Duration::from_secs(2);
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
    pub(super) fn advance_ending(&mut self, place: usize, ending: &Ending, turn: &mut Turn<'_>) {
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

    pub(super) fn stop_engine(&mut self, place: usize, turn: &mut Turn<'_>) {
        let engine = &self.engines[place];
        let gone = engine.main.is_none() || engine.ended.is_some();
        let grace = if gone { Duration::ZERO } else { engine.policy.stop_timeout };
        let name = engine.name().clone();
        let action = Action::StopEngine { engine: self.key(&name), grace };
        let id = turn.order(Purpose::Engine(name), action, grace + DEATH_BOUND);
        self.engines[place].stage = Stage::Ending(Ending::Stop(id));
    }

    pub(super) fn engine_stopped(&mut self, place: usize, outcome: Outcome, turn: &mut Turn<'_>) {
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
            turn.tell_failure_of(&name, "stop", &outcome);
        }
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
        if failures >= recovery.engine_budget {
            engine.rest = Some(Rest::CrashLoop);
            engine.died = None;
            *turn.save = true;
            return self.rests(place, turn);
        }
        let name = engine.name().clone();
        let wait = guard::wait(&recovery.backoff, failures, self.jitter.next());
        engine.stage = Stage::Down { due: turn.now.after(wait) };
        if !wait.is_zero() {
            turn.tell_of(&name, What::EngineBackoff { wait, failures });
        }
    }
}
