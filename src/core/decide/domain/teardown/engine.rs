//! Ends one engine while the others of its domain serve on: `terminate_client`, TERM, KILL, the proof, and a watch on
//! its siblings after it. The owner, the engine tier, hands in the outcomes and does what follows from the progress.
//!
//! No client of a healthy server is signalled before `terminate_client` has answered or timed out.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::domain::teardown::domain::order_stop;
use crate::decide::domain::teardown::{
    HUNG_GRACE, LOOK_BOUND, Obstacle, STUCK_PAUSE, STUCK_PAUSE_BESIDE_OTHERS, TERMINATE_BOUND,
};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::facts::{AFTERSHOCK, ServerFacts};
use crate::decide::may::May;
use crate::decide::open_actions::Purpose;
use crate::decide::turn::Turn;
use crate::model::{Action, DomainId, FailedAction, Fault, Moment, Outcome};

/// What the engine is ended beside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside<'a> {
    pub domain: &'a DomainId,
    pub server: &'a ServerFacts,
    /// Whether its clients may be taken off the server now.
    pub may_terminate: May,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EndingProgress {
    /// It goes on, and nothing follows from it yet.
    Working,
    /// Something is in the way. It is tried again.
    Obstructed(Obstacle),
    /// Every process of it is proven gone. Its siblings are watched.
    Gone,
    /// It is over for its siblings too.
    Over,
}

impl Engine {
    /// Whether its clients are being taken off the server.
    pub(crate) fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Ending(Ending::Terminate(_)))
    }

    /// Time between TERM and KILL.
    fn grace(&self) -> Duration {
        let instance = &self.instance;
        if instance.process.id.is_none() || instance.process.ended.is_some() || instance.stuck.is_some() {
            return Duration::ZERO;
        }
        let of = |fault| self.died.as_ref().is_some_and(|died| died.fault == fault);
        if of(Fault::GpuFault) {
            // Its contexts are dead, and the server refuses newcomers for as long as it lives.
            return Duration::ZERO;
        }
        let hangs = of(Fault::Hang);
        if hangs || self.is_hollow() { self.policy.stop_timeout.min(HUNG_GRACE) } else { self.policy.stop_timeout }
    }
}

/// Goes on with what is known. A drain is no step of the end: it comes before it.
pub(crate) fn advance_ending(engine: &mut Engine, beside: &Beside<'_>, turn: &mut Turn<'_>) -> EndingProgress {
    match engine.stage {
        Stage::Ending(Ending::Look { since }) => {
            let seen = engine.instance.tree.all.since(since).is_some();
            if (seen || turn.now.since(since) >= LOOK_BOUND) && beside.may_terminate.is_ok() {
                terminate_or_stop(engine, beside, turn);
            }
            EndingProgress::Working
        }
        Stage::Ending(Ending::Stuck { again }) if again <= turn.now => {
            stop(engine, beside, turn);
            EndingProgress::Working
        }
        Stage::Ending(Ending::Aftershock { until }) if until <= turn.now => EndingProgress::Over,
        Stage::Down { .. }
        | Stage::Launching(_)
        | Stage::Starting
        | Stage::Serving
        | Stage::Failing
        | Stage::Ending(_)
        | Stage::Fallen
        | Stage::Quarantined
        | Stage::Stopped
        | Stage::Left => EndingProgress::Working,
    }
}

/// The action that the end waited for has ended.
pub(crate) fn ending_finished(
    engine: &mut Engine,
    outcome: Outcome,
    beside: &Beside<'_>,
    turn: &mut Turn<'_>,
) -> EndingProgress {
    if let Stage::Ending(Ending::Terminate(_)) = engine.stage {
        turn.emit_failure_of(&engine.policy.name, FailedAction::TerminateClients, &outcome);
        stop(engine, beside, turn);
        return EndingProgress::Working;
    }
    if outcome == Outcome::Done {
        engine.instance.process.id = None;
        engine.instance.tree.all.saw(Vec::new(), turn.now);
        engine.stage = Stage::Ending(Ending::Aftershock { until: turn.now.after(AFTERSHOCK) });
        return EndingProgress::Gone;
    }
    let obstacle = Obstacle::of(outcome);
    let pause = match obstacle {
        Obstacle::NotAsked { .. } => STUCK_PAUSE,
        Obstacle::Lives(_) | Obstacle::Unproven { .. } | Obstacle::Waits { .. } => STUCK_PAUSE_BESIDE_OTHERS,
    };
    engine.stage = Stage::Ending(Ending::Stuck { again: turn.now.after(pause) });
    EndingProgress::Obstructed(obstacle)
}

/// When the end goes on by time alone.
pub(crate) fn ending_deadline(ending: &Ending) -> Option<Moment> {
    match ending {
        Ending::Aftershock { until } => Some(*until),
        Ending::Look { since } => Some(since.after(LOOK_BOUND)),
        Ending::Stuck { again } => Some(*again),
        Ending::Drain { .. } | Ending::Terminate(_) | Ending::Stop(_) => None,
    }
}

fn terminate_or_stop(engine: &mut Engine, beside: &Beside<'_>, turn: &mut Turn<'_>) {
    let pids: BTreeSet<u32> = engine.instance.processes().iter().map(|process| process.pid).collect();
    // A client whose contexts are dead has no kernel in flight, and nothing to be terminated.
    let lives = |client: &u32| pids.contains(client) && !beside.server.torn.clients().contains(client);
    let clients: Vec<u32> = beside.server.clients.last().into_iter().flatten().copied().filter(lives).collect();
    let (Some(server), false) = (beside.server.pid, clients.is_empty()) else {
        return stop(engine, beside, turn);
    };
    let name = engine.name().clone();
    let bound = TERMINATE_BOUND * u32::try_from(clients.len()).unwrap_or(u32::MAX);
    let action = Action::TerminateClients { engine: beside.domain.member(&name), server, clients };
    engine.stage = Stage::Ending(Ending::Terminate(turn.send(Purpose::Engine(name), action, bound)));
}

fn stop(engine: &mut Engine, beside: &Beside<'_>, turn: &mut Turn<'_>) {
    let purpose = Purpose::Engine(engine.name().clone());
    let id = order_stop(engine, beside.domain, engine.grace(), purpose, turn);
    engine.stage = Stage::Ending(Ending::Stop(id));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::remembered::EngineMemory;
    use crate::decide::may::Refusal;
    use crate::decide::turn::stand::{self, Stand};
    use crate::model::{ActionId, ProcessId};

    /// An engine whose end begins at 1 s.
    struct Scene {
        stand: Stand,
        engine: Engine,
        server: ServerFacts,
        may_terminate: May,
    }

    impl Scene {
        fn new() -> Self {
            let mut engine = Engine::new(stand::engine("a"), EngineMemory::default());
            let main = ProcessId { pid: 11, started_at: 7 };
            engine.instance.process.id = Some(main);
            engine.instance.tree.all.saw(vec![main], at(1001));
            engine.stage = Stage::Ending(Ending::Look { since: at(1000) });
            Scene { stand: Stand::default(), engine, server: ServerFacts::default(), may_terminate: Ok(()) }
        }

        /// The engine has this client on server 5.
        fn with_client(client: u32) -> Self {
            let mut scene = Scene::new();
            scene.server.pid = Some(5);
            scene.server.clients.saw([client].into(), at(900));
            scene
        }

        fn work(
            &mut self,
            millis: u64,
            work: impl FnOnce(&mut Engine, &Beside<'_>, &mut Turn<'_>) -> EndingProgress,
        ) -> EndingProgress {
            let domain = DomainId::from("small-llms");
            let beside = Beside { domain: &domain, server: &self.server, may_terminate: self.may_terminate };
            work(&mut self.engine, &beside, &mut self.stand.turn(millis))
        }

        fn advance(&mut self, millis: u64) -> EndingProgress {
            self.work(millis, advance_ending)
        }

        fn finished(&mut self, millis: u64, outcome: Outcome) -> EndingProgress {
            self.work(millis, |engine, beside, turn| ending_finished(engine, outcome, beside, turn))
        }

        fn actions(&mut self) -> Vec<Action> {
            self.stand.actions().into_iter().map(|(_, action)| action).collect()
        }
    }

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    #[test]
    fn a_client_is_taken_off_the_server_before_any_signal() {
        let mut scene = Scene::with_client(11);
        scene.advance(1002);
        assert!(
            matches!(&scene.actions()[..], [Action::TerminateClients { server: 5, clients, .. }] if *clients == [11])
        );
        scene.finished(1010, Outcome::TimedOut);
        assert!(matches!(scene.actions()[..], [Action::StopEngine { .. }]));
    }

    #[test]
    fn one_engine_at_a_time_is_taken_off_the_server() {
        let mut scene = Scene::with_client(11);
        scene.may_terminate = Err(Refusal::OneAtATime);
        scene.advance(1002);
        assert!(scene.actions().is_empty());
        scene.may_terminate = Ok(());
        scene.advance(1500);
        assert_eq!(scene.actions().len(), 1);
    }

    #[test]
    fn an_engine_without_a_client_gets_its_own_time_to_stop() {
        let mut scene = Scene::with_client(99);
        scene.advance(1002);
        assert!(matches!(scene.actions()[..], [Action::StopEngine { grace, .. }] if grace == Duration::from_secs(5)));
    }

    #[test]
    fn without_a_fresh_look_the_last_one_must_do() {
        let mut scene = Scene::new();
        scene.engine.stage = Stage::Ending(Ending::Look { since: at(1500) });
        scene.advance(1600);
        assert!(scene.actions().is_empty());
        scene.advance(3500);
        assert_eq!(scene.actions().len(), 1);
    }

    #[test]
    fn its_siblings_are_watched_after_it_is_gone() {
        let mut scene = Scene::new();
        scene.engine.stage = Stage::Ending(Ending::Stop(ActionId(3)));
        assert_eq!(scene.finished(2000, Outcome::Done), EndingProgress::Gone);
        assert!(scene.engine.instance.processes().is_empty());
        assert_eq!(scene.advance(2499), EndingProgress::Working);
        assert_eq!(scene.advance(2500), EndingProgress::Over);
    }

    #[test]
    fn an_end_that_could_not_be_tried_is_tried_again_sooner_than_one_that_did_not_succeed() {
        for (outcome, again) in [(Outcome::NotAsked { why: "no memory".into() }, 3000), (Outcome::TimedOut, 7000)] {
            let mut scene = Scene::new();
            scene.engine.stage = Stage::Ending(Ending::Stop(ActionId(3)));
            assert!(matches!(scene.finished(2000, outcome), EndingProgress::Obstructed(_)));
            scene.advance(again - 1);
            assert!(scene.actions().is_empty());
            scene.advance(again);
            assert!(matches!(scene.actions()[..], [Action::StopEngine { .. }]));
        }
    }
}
