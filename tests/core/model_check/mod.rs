//! The ladder under a model checker: every order of outcomes, failures and faults within small bounds, with the
//! watchdog crashing before, between and after the actions of any decision. The core is the real one; the world
//! around it (`model_check/state.rs`) is abstract.

mod state;

use std::time::Duration;

use core_world::policies;
use mpswarden_core::decide::policy::{IsolationMode, WhenSpent};
use mpswarden_core::model::Slot;
use stateright::{Checker, Model, Property};

use state::{Left, Move, SLOTS, State, Step, Word};

/// Whole-group restarts within the window.
const BUDGET: u32 = 2;

const WORDS: [Word; 5] = [Word::Evict, Word::Stop, Word::Restart, Word::StopGroup, Word::StartGroup];

struct Ladder {
    when_spent: WhenSpent,
    isolation: IsolationMode,
    left: Left,
}

impl Model for Ladder {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let mut policy = policies::one_group(&["a", "b"]);
        policy.groups[0].recovery.budget = BUDGET;
        policy.groups[0].recovery.engine_budget = 2;
        policy.groups[0].recovery.when_spent = self.when_spent;
        policy.groups[0].isolation.mode = self.isolation;
        if self.isolation == IsolationMode::Enforce {
            // Its way is long: no wait of it is longer than a tick.
            policy.groups[0].recovery.backoff.most = Duration::from_secs(1);
        }
        // One tick: only the time of a drain passes in it.
        policy.groups[0].engines.iter_mut().for_each(|engine| engine.drain_timeout = Duration::from_secs(1));
        vec![State::new(policy, self.left)]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        let mut steps: Vec<Step> = (0..state.open.len()).map(Step::Succeeds).collect();
        if state.left.failures > 0 {
            steps.extend((0..state.open.len()).map(Step::Fails));
        }
        let hit = |slot: &Slot| state.side(*slot).serves() && state.living_in(*slot).next().is_some();
        if state.left.faults > 0 {
            steps.extend(SLOTS.into_iter().filter(hit).map(Step::Fault));
        }
        if state.left.engine_deaths > 0 {
            steps.extend((0..state.living.len()).map(Step::EngineDies));
        }
        if state.left.control_deaths > 0 {
            steps.extend(SLOTS.into_iter().filter(|slot| state.side(*slot).control.is_some()).map(Step::ControlDies));
        }
        if state.lost || state.left.losses > 0 {
            steps.push(Step::GpuIsLost(!state.lost));
        }
        if state.left.orders > 0 {
            steps.extend(WORDS.map(Step::Asks));
        }
        steps.push(Step::Tick);
        for step in steps {
            moves.push(Move { step, crash_after: None });
            if state.left.crashes > 0 {
                moves.extend((0..3).map(|actions| Move { step, crash_after: Some(actions) }));
            }
        }
    }

    fn next_state(&self, last: &State, chosen: Move) -> Option<State> {
        let mut next = last.clone();
        next.lives_for = chosen.crash_after;
        next.take(chosen.step);
        if chosen.crash_after.is_some() {
            next.left.crashes -= 1;
            next.crash();
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "no process of an older generation or incarnation lives at a start, and none starts on a lost GPU",
                |_, state: &State| state.broken.is_none(),
            ),
            Property::always("recoveries stay within the budget", |model: &Ladder, state: &State| {
                model.when_spent == WhenSpent::Slow || SLOTS.iter().all(|slot| state.side(*slot).recoveries <= BUDGET)
            }),
            Property::always("left alone, it ends serving or held", |_, state: &State| state.clone().settles()),
            Property::sometimes("the budget is spent", |_, state: &State| state.main.recoveries == BUDGET),
            Property::sometimes("engines run in two domains", |_, state: &State| {
                SLOTS.iter().all(|slot| state.side(*slot).serves() && state.living_in(*slot).next().is_some())
            }),
            Property::sometimes("it is held", |_, state: &State| state.dog.status(state.now).groups[0].held.is_some()),
        ]
    }
}

/// Checks every state within the bounds, and gives what it has found on its way.
fn check(left: Left, when_spent: WhenSpent) -> Vec<&'static str> {
    check_all(Ladder { when_spent, isolation: IsolationMode::Off, left })
}

/// The same while faults that repeat make engines run in a second domain.
fn check_isolation(left: Left) {
    let found = check_all(Ladder { when_spent: WhenSpent::Slow, isolation: IsolationMode::Enforce, left });
    assert!(found.contains(&"engines run in two domains"), "{found:?}");
}

fn check_all(ladder: Ladder) -> Vec<&'static str> {
    let checker = ladder.checker().threads(2).target_max_depth(36).spawn_bfs().join();
    assert!(checker.unique_state_count() > 100);
    checker.assert_no_discovery(
        "no process of an older generation or incarnation lives at a start, and none starts on a lost GPU",
    );
    checker.assert_no_discovery("recoveries stay within the budget");
    checker.assert_no_discovery("left alone, it ends serving or held");
    checker.discoveries().into_keys().collect()
}

const NOTHING: Left =
    Left { faults: 0, engine_deaths: 0, control_deaths: 0, failures: 0, crashes: 0, orders: 0, losses: 0, busy: false };

#[test]
fn faults_and_crashes_anywhere_break_no_rule() {
    let found = check(Left { faults: 3, crashes: 1, ..NOTHING }, WhenSpent::Hold);
    assert!(found.contains(&"the budget is spent") && found.contains(&"it is held"), "{found:?}");
}

#[test]
fn failing_orders_and_a_crash_anywhere_break_no_rule() {
    check(Left { faults: 1, failures: 1, crashes: 1, ..NOTHING }, WhenSpent::Hold);
}

#[test]
fn deaths_of_engines_and_of_the_control_daemon_break_no_rule() {
    check(Left { faults: 1, engine_deaths: 1, control_deaths: 1, ..NOTHING }, WhenSpent::Slow);
}

#[test]
fn orders_with_a_fault_and_a_crash_anywhere_break_no_rule() {
    check(Left { faults: 1, crashes: 1, orders: 1, ..NOTHING }, WhenSpent::Slow);
}

#[test]
fn orders_one_after_the_other_break_no_rule() {
    check(Left { orders: 2, ..NOTHING }, WhenSpent::Slow);
}

#[test]
fn a_gpu_that_is_lost_anywhere_in_a_recovery_breaks_no_rule() {
    check(Left { faults: 1, losses: 1, ..NOTHING }, WhenSpent::Hold);
    check(Left { losses: 1, crashes: 1, ..NOTHING }, WhenSpent::Hold);
    check(Left { losses: 1, failures: 1, ..NOTHING }, WhenSpent::Slow);
}

#[test]
fn drains_with_a_fault_and_a_crash_anywhere_break_no_rule() {
    check(Left { faults: 1, crashes: 1, orders: 1, busy: true, ..NOTHING }, WhenSpent::Slow);
}

#[test]
fn a_second_domain_with_a_crash_anywhere_breaks_no_rule() {
    check_isolation(Left { faults: 2, crashes: 1, ..NOTHING });
}

#[test]
fn orders_and_drains_in_a_second_domain_break_no_rule() {
    check_isolation(Left { faults: 2, orders: 1, busy: true, ..NOTHING });
}

#[test]
fn a_gpu_that_is_lost_beside_a_second_domain_breaks_no_rule() {
    check_isolation(Left { faults: 2, losses: 1, ..NOTHING });
}

#[test]
fn deaths_and_failures_in_a_second_domain_break_no_rule() {
    check_isolation(Left { faults: 2, engine_deaths: 1, ..NOTHING });
    check_isolation(Left { faults: 2, control_deaths: 1, ..NOTHING });
    check_isolation(Left { faults: 2, failures: 1, ..NOTHING });
}
