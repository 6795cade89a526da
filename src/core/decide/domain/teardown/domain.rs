//! Ends all engines of a domain, then its control daemon. The owner, a restart or a stop, hands in the outcomes and
//! does what follows from the progress.

use std::time::Duration;

use crate::decide::domain::teardown::{
    DEATH_BOUND, GONE_BOUND, GONE_BOUND_OF_A_STOP, KILL_BOUND, KILL_BOUND_OF_OTHERS, Obstacle, QUIT_GRACE,
    STOP_CONTROL_BOUND, STUCK_PAUSE,
};
use crate::decide::facts::engine::Engine;
use crate::decide::facts::{ControlFacts, ServerFacts};
use crate::decide::open_actions::Purpose;
use crate::decide::turn::Turn;
use crate::model::{Action, ActionId, Custody, DomainId, EngineName, FailedAction, Moment, Outcome, What};

/// What is known of the domain that is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub id: &'a DomainId,
    /// Custody of its control daemon.
    pub custody: Custody,
    pub engines: &'a [Engine],
    pub control: &'a ControlFacts,
    pub server: &'a ServerFacts,
}

/// How a domain is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// KILL to all engines at once, again and again until every process is proven gone: new ones are to start.
    ForARestart,
    /// KILL to all engines at once, and to the daemon. What lives on is left behind.
    AtOnce,
    /// TERM, the last engine first, each with its own time to stop; then the daemon. What lives on is left behind.
    InOrder,
}

/// The end of a domain on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Teardown {
    manner: Manner,
    step: TeardownStep,
    /// Not everything is proven gone.
    left_behind: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TeardownStep {
    /// Actions from before must end first: none may start an engine behind our back.
    Quiet,
    /// Engines after this one are stopped; this one is being stopped.
    Stop(ActionId, EngineName),
    /// All engines get KILL.
    Kill(ActionId),
    /// What did not die, or came up since, gets it again.
    KillAgain(ActionId),
    /// They are waited for.
    Gone(ActionId),
    /// Something is in the way, or an engine may still come up: from the kill again, then.
    Stuck { again: Moment },
    /// An engine or the daemon may still come up, and gets the kill too.
    Starts,
    /// The engines are ended: the owner says whether the daemon is too.
    EnginesEnded,
    /// The daemon quits.
    Control(ActionId),
    /// All is ended.
    Ended,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TeardownProgress {
    /// It goes on, and nothing follows from it yet.
    Working,
    /// KILL was sent to these pids.
    Killed(Vec<u32>),
    /// Something is in the way. It is tried again.
    Obstructed(Obstacle),
    /// Nothing lives; but an engine may still come up, so the kill is repeated.
    NothingLives,
    /// The engines are ended. In a stop some may be left behind.
    EnginesEnded,
    /// The daemon is ended too. In a stop it may be left behind.
    ControlEnded,
}

impl Teardown {
    /// Begins to end the engines.
    pub(crate) fn begin(manner: Manner, target: &Target<'_>, turn: &mut Turn<'_>) -> Teardown {
        let step = match manner {
            Manner::InOrder => TeardownStep::Quiet,
            Manner::ForARestart | Manner::AtOnce => TeardownStep::Kill(order_kill(manner, target, turn)),
        };
        Teardown { manner, step, left_behind: false }
    }

    /// Something came up after the kill: it is repeated.
    pub(crate) fn repeat_for_a_restart(target: &Target<'_>, turn: &mut Turn<'_>) -> Teardown {
        Teardown {
            manner: Manner::ForARestart,
            step: TeardownStep::KillAgain(order_kill(Manner::ForARestart, target, turn)),
            left_behind: false,
        }
    }

    /// Begins to end the control daemon: the engines are ended.
    pub(crate) fn of_the_control(manner: Manner, target: &Target<'_>, turn: &mut Turn<'_>) -> Teardown {
        let (wedged, died) = (target.control.wedged_at.is_some(), target.control.died.is_some());
        let grace = match manner {
            Manner::AtOnce => Duration::ZERO,
            _ if wedged => Duration::ZERO,
            // A stop in order asks a daemon that is seen dead all the same: no start waits for it.
            Manner::ForARestart if died => Duration::ZERO,
            Manner::ForARestart | Manner::InOrder => QUIT_GRACE,
        };
        let action = Action::StopControl { domain: target.id.clone(), grace, server: target.server.process };
        let id = turn.send(Purpose::Group, action, STOP_CONTROL_BOUND);
        Teardown { manner, step: TeardownStep::Control(id), left_behind: false }
    }

    pub(crate) fn manner(&self) -> Manner {
        self.manner
    }

    /// Whether not everything is proven gone.
    pub(crate) fn left_behind(&self) -> bool {
        self.left_behind
    }

    /// Whether it waits for what is on its way to end, before it begins.
    pub(crate) fn waits_for_quiet(&self) -> bool {
        self.step == TeardownStep::Quiet
    }

    /// Whether the first KILL is on its way.
    pub(crate) fn kills_first(&self) -> bool {
        matches!(self.step, TeardownStep::Kill(_))
    }

    /// When it goes on by time alone.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        if let TeardownStep::Stuck { again } = self.step { Some(again) } else { None }
    }

    /// Goes on with what is known.
    pub(crate) fn advance(&mut self, target: &Target<'_>, turn: &mut Turn<'_>) -> TeardownProgress {
        match self.step {
            TeardownStep::Quiet if !turn.open.busy(turn.domain) => self.stop_before(target.engines.len(), target, turn),
            TeardownStep::Stuck { again } if again <= turn.now => {
                self.step = TeardownStep::KillAgain(order_kill(self.manner, target, turn));
                TeardownProgress::Working
            }
            TeardownStep::Starts if !turn.open.starting(turn.domain) => {
                self.step = TeardownStep::KillAgain(order_kill(self.manner, target, turn));
                TeardownProgress::Working
            }
            TeardownStep::Quiet
            | TeardownStep::Stop(..)
            | TeardownStep::Kill(_)
            | TeardownStep::KillAgain(_)
            | TeardownStep::Gone(_)
            | TeardownStep::Stuck { .. }
            | TeardownStep::Starts
            | TeardownStep::EnginesEnded
            | TeardownStep::Control(_)
            | TeardownStep::Ended => TeardownProgress::Working,
        }
    }

    /// One of the domain's actions ended.
    pub(crate) fn finished(
        &mut self,
        id: ActionId,
        outcome: Outcome,
        target: &Target<'_>,
        turn: &mut Turn<'_>,
    ) -> TeardownProgress {
        match &self.step {
            TeardownStep::Stop(order, name) if *order == id => {
                // Its place may have changed with the configuration.
                let index = target.engines.iter().position(|engine| engine.name() == name);
                self.stopped(index.unwrap_or(target.engines.len()), outcome, target, turn)
            }
            TeardownStep::Kill(order) | TeardownStep::KillAgain(order) if *order == id => {
                self.killed(outcome, target, turn)
            }
            TeardownStep::Gone(order) if *order == id => self.waited(outcome, turn),
            TeardownStep::Control(order) if *order == id => self.control_stopped(outcome, turn),
            TeardownStep::Quiet
            | TeardownStep::Stop(..)
            | TeardownStep::Kill(_)
            | TeardownStep::KillAgain(_)
            | TeardownStep::Gone(_)
            | TeardownStep::Stuck { .. }
            | TeardownStep::Starts
            | TeardownStep::EnginesEnded
            | TeardownStep::Control(_)
            | TeardownStep::Ended => TeardownProgress::Working,
        }
    }

    /// The engine at that place was stopped.
    fn stopped(
        &mut self,
        index: usize,
        outcome: Outcome,
        target: &Target<'_>,
        turn: &mut Turn<'_>,
    ) -> TeardownProgress {
        if outcome != Outcome::Done {
            if let Some(progress) = self.obstructed(FailedAction::StopEngine, outcome, turn) {
                return progress;
            }
            self.left_behind = true;
        }
        self.stop_before(index, target, turn)
    }

    /// Stops the next engine, from the last one on, that may have a process.
    fn stop_before(&mut self, index: usize, target: &Target<'_>, turn: &mut Turn<'_>) -> TeardownProgress {
        let may_have = |engine: &&Engine| engine.instance.incarnation > 0 && engine.ends_with_a_stop(target.custody);
        let Some(engine) = target.engines[..index].iter().rev().find(may_have) else {
            self.step = TeardownStep::EnginesEnded;
            return TeardownProgress::EnginesEnded;
        };
        let id = order_stop(engine, target.id, engine.policy.stop_timeout, Purpose::Group, turn);
        self.step = TeardownStep::Stop(id, engine.name().clone());
        TeardownProgress::Working
    }

    fn killed(&mut self, outcome: Outcome, target: &Target<'_>, turn: &mut Turn<'_>) -> TeardownProgress {
        let processes = match outcome {
            Outcome::Killed { processes } => processes,
            outcome @ (Outcome::Done
            | Outcome::Started { .. }
            | Outcome::Gone { .. }
            | Outcome::Failed { .. }
            | Outcome::Waits { .. }
            | Outcome::TimedOut
            | Outcome::NotUnderstood { .. }
            | Outcome::NotAsked { .. }) => match self.obstructed(FailedAction::Kill, outcome, turn) {
                Some(progress) => return progress,
                // The proof decides.
                None => Vec::new(),
            },
        };
        let pids = processes.iter().map(|process| process.pid).collect();
        let action = Action::AwaitGone { domain: target.id.clone(), engines: names(self.manner, target), processes };
        let bound = if self.manner == Manner::ForARestart { GONE_BOUND } else { GONE_BOUND_OF_A_STOP };
        self.step = TeardownStep::Gone(turn.send(Purpose::Group, action, bound));
        TeardownProgress::Killed(pids)
    }

    fn waited(&mut self, outcome: Outcome, turn: &mut Turn<'_>) -> TeardownProgress {
        if outcome != (Outcome::Gone { remaining: Vec::new() }) {
            if let Some(progress) = self.obstructed(FailedAction::AwaitGone, outcome, turn) {
                return progress;
            }
            self.left_behind = true;
        }
        match self.manner {
            Manner::ForARestart if turn.open.launching(turn.domain) => {
                self.step = TeardownStep::Stuck { again: turn.now.after(STUCK_PAUSE) };
                TeardownProgress::NothingLives
            }
            Manner::AtOnce if turn.open.starting(turn.domain) => {
                self.step = TeardownStep::Starts;
                TeardownProgress::Working
            }
            Manner::ForARestart | Manner::AtOnce | Manner::InOrder => {
                self.step = TeardownStep::EnginesEnded;
                TeardownProgress::EnginesEnded
            }
        }
    }

    fn control_stopped(&mut self, outcome: Outcome, turn: &mut Turn<'_>) -> TeardownProgress {
        if outcome != Outcome::Done {
            if let Some(progress) = self.obstructed(FailedAction::StopControl, outcome, turn) {
                return progress;
            }
            self.left_behind = true;
        }
        self.step = TeardownStep::Ended;
        TeardownProgress::ControlEnded
    }

    /// Something is in the way. Before a restart it is tried again; a stop reports what failed and goes on (`None`).
    fn obstructed(&mut self, action: FailedAction, outcome: Outcome, turn: &mut Turn<'_>) -> Option<TeardownProgress> {
        let obstacle = Obstacle::of(outcome);
        if self.manner == Manner::ForARestart {
            self.step = TeardownStep::Stuck { again: turn.now.after(STUCK_PAUSE) };
            return Some(TeardownProgress::Obstructed(obstacle));
        }
        if !matches!(obstacle, Obstacle::Lives(_)) {
            turn.emit(What::ActionFailed { action, why: obstacle.why() });
        }
        None
    }
}

/// Orders KILL for clients of the server that no engine owns.
pub(crate) fn kill_strays(domain: &DomainId, strays: Vec<u32>, turn: &mut Turn<'_>) {
    let action = Action::KillEngines { domain: domain.clone(), engines: Vec::new(), strays };
    turn.send(Purpose::Group, action, KILL_BOUND);
}

fn order_kill(manner: Manner, target: &Target<'_>, turn: &mut Turn<'_>) -> ActionId {
    let engines = names(manner, target);
    let theirs = |engine: &Engine| engine.policy.custody.is_others() && engines.contains(engine.name());
    let bound = if target.engines.iter().any(theirs) { KILL_BOUND_OF_OTHERS } else { KILL_BOUND };
    let action = Action::KillEngines { domain: target.id.clone(), engines, strays: Vec::new() };
    turn.send(Purpose::Group, action, bound)
}

/// Orders TERM, KILL after `grace`, and the proof for one engine.
pub(crate) fn order_stop(
    engine: &Engine,
    domain: &DomainId,
    grace: Duration,
    purpose: Purpose,
    turn: &mut Turn<'_>,
) -> ActionId {
    let action = Action::StopEngine { engine: domain.member(engine.name()), grace };
    turn.send(purpose, action, grace + DEATH_BOUND)
}

fn names(manner: Manner, target: &Target<'_>) -> Vec<EngineName> {
    let ended = |engine: &&Engine| match manner {
        Manner::ForARestart => engine.policy.custody.may_end(),
        Manner::AtOnce | Manner::InOrder => engine.ends_with_a_stop(target.custody),
    };
    target.engines.iter().filter(ended).map(|engine| engine.name().clone()).collect()
}

impl Engine {
    /// Whether the stop of its whole domain, whose control daemon is so, ends it too. What others run goes on, unless its
    /// daemon ends.
    pub(crate) fn ends_with_a_stop(&self, daemon: Custody) -> bool {
        self.policy.custody.may_end() && !(self.policy.custody.is_others() && daemon.is_others())
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::decide::facts::remembered::EngineMemory;
    use crate::decide::turn::stand::{self, Stand};
    use crate::model::{HeldReason, ProcessId, Remaining};

    /// Three engines, of which the second was never started.
    struct Scene {
        stand: Stand,
        id: DomainId,
        engines: Vec<Engine>,
        control: ControlFacts,
        server: ServerFacts,
    }

    impl Scene {
        fn new() -> Self {
            let of = |(name, incarnation)| {
                Engine::new(stand::engine(name), EngineMemory { incarnation, ..EngineMemory::default() })
            };
            Scene {
                stand: Stand::default(),
                id: DomainId::from("small-llms"),
                engines: [("a", 1), ("b", 0), ("c", 2)].map(of).into(),
                control: ControlFacts::default(),
                server: ServerFacts::default(),
            }
        }

        fn at<T>(&mut self, millis: u64, work: impl FnOnce(&Target<'_>, &mut Turn<'_>) -> T) -> T {
            let Scene { stand, id, engines, control, server } = self;
            work(&Target { id, custody: Custody::Own, engines, control, server }, &mut stand.turn(millis))
        }

        fn begin(&mut self, manner: Manner) -> Teardown {
            self.at(0, |target, turn| Teardown::begin(manner, target, turn))
        }

        /// Answers the last action with this.
        fn answer(&mut self, teardown: &mut Teardown, millis: u64, outcome: Outcome) -> (Action, TeardownProgress) {
            let (id, action) = self.stand.actions().pop().expect("an action");
            self.stand.ended(id);
            (action, self.at(millis, |target, turn| teardown.finished(id, outcome, target, turn)))
        }

        fn advance(&mut self, teardown: &mut Teardown, millis: u64) -> TeardownProgress {
            self.at(millis, |target, turn| teardown.advance(target, turn))
        }

        /// An engine's start is on its way.
        fn launches(&mut self) -> ActionId {
            let action = Action::StartControl { domain: self.id.clone() };
            let purpose = Purpose::Launch(EngineName::from("a"));
            let id = self.stand.turn(0).send(purpose, action, Duration::from_secs(60));
            self.stand.actions();
            id
        }

        fn failures(&mut self) -> Vec<FailedAction> {
            let failed = |what| if let What::ActionFailed { action, .. } = what { Some(action) } else { None };
            self.stand.events().into_iter().filter_map(|event| failed(event.what)).collect()
        }
    }

    fn process(pid: u32) -> ProcessId {
        ProcessId { pid, started_at: 7 }
    }

    fn killed() -> Outcome {
        Outcome::Killed { processes: vec![process(11), process(12)] }
    }

    fn gone() -> Outcome {
        Outcome::Gone { remaining: Vec::new() }
    }

    fn stuck() -> Outcome {
        Outcome::Gone { remaining: vec![Remaining { process: process(12), state: 'D' }] }
    }

    #[test]
    fn before_a_restart_all_engines_are_killed_and_proven_gone() {
        let mut scene = Scene::new();
        let mut teardown = scene.begin(Manner::ForARestart);
        assert!(teardown.kills_first());
        let (kill, progress) = scene.answer(&mut teardown, 5, killed());
        assert!(matches!(kill, Action::KillEngines { engines, .. } if engines.len() == 3));
        assert_eq!(progress, TeardownProgress::Killed(vec![11, 12]));
        let (wait, progress) = scene.answer(&mut teardown, 9, gone());
        assert!(matches!(wait, Action::AwaitGone { processes, .. } if processes.len() == 2));
        assert_eq!(progress, TeardownProgress::EnginesEnded);
        assert!(!teardown.left_behind() && scene.failures().is_empty());
    }

    #[test]
    fn before_a_restart_a_process_that_lives_on_is_killed_again_until_it_is_gone() {
        let mut scene = Scene::new();
        let mut teardown = scene.begin(Manner::ForARestart);
        scene.answer(&mut teardown, 5, killed());
        let (_, progress) = scene.answer(&mut teardown, 100, stuck());
        let TeardownProgress::Obstructed(obstacle) = progress else { panic!("{progress:?}") };
        assert_eq!(obstacle.held_reason(), HeldReason::ProcessStuck);
        assert_eq!(teardown.deadline(), Some(Moment::ZERO.after(Duration::from_millis(1100))));
        scene.advance(&mut teardown, 1099);
        assert!(scene.stand.actions().is_empty());
        scene.advance(&mut teardown, 1100);
        assert!(!teardown.kills_first());
        scene.answer(&mut teardown, 1105, killed());
        assert_eq!(scene.answer(&mut teardown, 1200, gone()).1, TeardownProgress::EnginesEnded);
    }

    #[test]
    fn before_a_restart_a_kill_that_could_not_be_tried_says_nothing_of_the_processes() {
        let mut scene = Scene::new();
        let mut teardown = scene.begin(Manner::ForARestart);
        let why = "no file descriptor is left".to_owned();
        let (_, progress) = scene.answer(&mut teardown, 5, Outcome::NotAsked { why: why.clone() });
        let obstacle = Obstacle::NotAsked { why };
        assert_eq!(obstacle.held_reason(), HeldReason::OutOfResources);
        assert_eq!(progress, TeardownProgress::Obstructed(obstacle));
    }

    #[test]
    fn before_a_restart_the_kill_is_repeated_while_an_engine_may_still_come_up() {
        let mut scene = Scene::new();
        let launch = scene.launches();
        let mut teardown = scene.begin(Manner::ForARestart);
        scene.answer(&mut teardown, 5, killed());
        assert_eq!(scene.answer(&mut teardown, 10, gone()).1, TeardownProgress::NothingLives);
        scene.stand.ended(launch);
        scene.advance(&mut teardown, 1010);
        scene.answer(&mut teardown, 1015, killed());
        assert_eq!(scene.answer(&mut teardown, 1020, gone()).1, TeardownProgress::EnginesEnded);
    }

    #[test]
    fn before_a_restart_a_daemon_that_does_not_end_leads_back_to_the_kill() {
        let mut scene = Scene::new();
        let begin =
            |target: &Target<'_>, turn: &mut Turn<'_>| Teardown::of_the_control(Manner::ForARestart, target, turn);
        let mut teardown = scene.at(0, begin);
        let (stop, progress) = scene.answer(&mut teardown, 10, Outcome::TimedOut);
        assert!(matches!(stop, Action::StopControl { grace: QUIT_GRACE, .. }));
        assert!(matches!(progress, TeardownProgress::Obstructed(Obstacle::Unproven { .. })));
        scene.advance(&mut teardown, 1010);
        assert!(matches!(scene.stand.actions()[..], [(_, Action::KillEngines { .. })]));
    }

    #[test]
    fn a_stop_at_once_goes_on_over_what_it_leaves_behind_and_gives_the_daemon_no_grace() {
        let mut scene = Scene::new();
        let mut teardown = scene.begin(Manner::AtOnce);
        scene.answer(&mut teardown, 5, Outcome::TimedOut);
        assert_eq!(scene.failures(), [FailedAction::Kill]);
        assert_eq!(scene.answer(&mut teardown, 100, stuck()).1, TeardownProgress::EnginesEnded);
        assert!(teardown.left_behind());
        let begin = |target: &Target<'_>, turn: &mut Turn<'_>| Teardown::of_the_control(Manner::AtOnce, target, turn);
        let mut teardown = scene.at(100, begin);
        let (stop, progress) = scene.answer(&mut teardown, 200, Outcome::Done);
        assert!(matches!(stop, Action::StopControl { grace: Duration::ZERO, .. }));
        assert_eq!(progress, TeardownProgress::ControlEnded);
        assert!(!teardown.left_behind());
    }

    #[test]
    fn a_stop_at_once_kills_again_what_was_still_coming_up() {
        let mut scene = Scene::new();
        let launch = scene.launches();
        let mut teardown = scene.begin(Manner::AtOnce);
        scene.answer(&mut teardown, 5, killed());
        assert_eq!(scene.answer(&mut teardown, 10, gone()).1, TeardownProgress::Working);
        scene.advance(&mut teardown, 2000);
        assert!(scene.stand.actions().is_empty());
        scene.stand.ended(launch);
        scene.advance(&mut teardown, 2001);
        scene.answer(&mut teardown, 2005, killed());
        assert_eq!(scene.answer(&mut teardown, 2010, gone()).1, TeardownProgress::EnginesEnded);
    }

    #[test]
    fn a_stop_in_order_begins_once_nothing_is_on_its_way_and_stops_the_last_engine_first() {
        let mut scene = Scene::new();
        let launch = scene.launches();
        let mut teardown = scene.begin(Manner::InOrder);
        scene.advance(&mut teardown, 10);
        assert!(teardown.waits_for_quiet() && scene.stand.actions().is_empty());
        scene.stand.ended(launch);
        scene.advance(&mut teardown, 20);
        let (first, _) = scene.answer(&mut teardown, 30, Outcome::TimedOut);
        let (second, progress) = scene.answer(&mut teardown, 40, Outcome::Done);
        let grace = Duration::from_secs(5);
        let stop = |name: &str| Action::StopEngine { engine: scene.id.member(&name.into()), grace };
        assert_eq!((first, second), (stop("c"), stop("a")));
        assert_eq!(progress, TeardownProgress::EnginesEnded);
        assert!(teardown.left_behind());
        assert_eq!(scene.failures(), [FailedAction::StopEngine]);
    }

    #[test]
    fn an_outcome_of_an_action_from_before_changes_nothing() {
        let mut scene = Scene::new();
        let mut before = scene.begin(Manner::AtOnce);
        let (id, _) = scene.stand.actions().remove(0);
        let mut teardown = scene.begin(Manner::ForARestart);
        let copy = teardown.clone();
        let late = scene.at(5, |target, turn| teardown.finished(id, killed(), target, turn));
        assert_eq!((late, &teardown), (TeardownProgress::Working, &copy));
        let own = scene.at(5, |target, turn| before.finished(id, killed(), target, turn));
        assert_eq!(own, TeardownProgress::Killed(vec![11, 12]));
    }
}
