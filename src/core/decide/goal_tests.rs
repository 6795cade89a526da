//! What is next, as a table of what an engine is and what it is to be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::decide::facts::engine::goal::{Listed, Seat, Wanted};
use crate::decide::facts::remembered::{EngineMemory, Rest};
use crate::decide::facts::stage::Ending;
use crate::decide::policy::MpsUse;
use crate::decide::turn::stand::engine as policy;
use crate::model::{ActionId, Moment};

const MAIN: Slot = Slot::Main;
const ISOLATED: Seat = Seat { slot: Slot::Isolation, mps: MpsUse::Client };
const OUTSIDE: Seat = Seat { slot: Slot::Main, mps: MpsUse::Outside };

fn to_run(seat: Seat) -> Wanted {
    Wanted { listed: Listed::Yes, rest: None, seat }
}

fn to_rest(rest: Rest) -> Wanted {
    Wanted { rest: Some(rest), ..to_run(Seat::HOME) }
}

fn to_leave() -> Wanted {
    Wanted { listed: Listed::Removed, ..to_run(Seat::HOME) }
}

fn engine(stage: Stage, wanted: Wanted) -> Engine {
    let mut engine = Engine::new(policy("qwen-a"), EngineMemory::default());
    (engine.stage, engine.wanted) = (stage, wanted);
    engine
}

fn down() -> Stage {
    Stage::Down { due: Moment::ZERO }
}

#[track_caller]
fn is_next(expected: Next, here: Slot, wanted: Wanted, stages: &[Stage]) {
    for stage in stages {
        assert_eq!(next(&engine(stage.clone(), wanted), here), expected, "{stage:?} with {wanted:?} in {here:?}");
    }
}

#[test]
fn an_engine_that_is_to_run_here_starts_once_it_is_down_and_needs_nothing_else() {
    is_next(Next::Start, MAIN, to_run(Seat::HOME), &[down()]);
    let others = [Stage::Launching(ActionId(1)), Stage::Starting, Stage::Serving, Stage::Failing, Stage::Fallen];
    is_next(Next::Nothing, MAIN, to_run(Seat::HOME), &others);
}

#[test]
fn an_engine_that_is_to_run_in_another_domain_moves_whatever_it_does_here() {
    let stages = [down(), Stage::Starting, Stage::Serving, Stage::Stopped, Stage::Fallen];
    is_next(Next::Move, MAIN, to_run(ISOLATED), &stages);
    is_next(Next::Move, Slot::Isolation, to_run(Seat::HOME), &stages);
}

#[test]
fn an_engine_that_is_to_run_outside_mps_moves_while_it_is_a_client_and_starts_once_it_is_down() {
    is_next(Next::Move, MAIN, to_run(OUTSIDE), &[Stage::Starting, Stage::Serving, Stage::Failing]);
    is_next(Next::Start, MAIN, to_run(OUTSIDE), &[down()]);
}

#[test]
fn an_engine_of_an_older_configuration_is_renewed_before_it_moves() {
    let mut old = engine(Stage::Serving, to_run(ISOLATED));
    old.instance.outdated = true;
    assert_eq!(next(&old, MAIN), Next::Renew);
    old.stage = down();
    assert_eq!(next(&old, MAIN), Next::Move);
}

#[test]
fn an_engine_that_is_to_rest_is_taken_out_settles_and_then_needs_nothing() {
    let with_a_process = [Stage::Starting, Stage::Serving, Stage::Failing, Stage::Left];
    for wanted in [to_rest(Rest::Stopped), to_rest(Rest::CrashLoop), to_leave()] {
        is_next(Next::TakeOut, MAIN, wanted, &with_a_process);
        is_next(Next::Settle, MAIN, wanted, &[down()]);
        let on_its_way = [Stage::Launching(ActionId(1)), Stage::Ending(Ending::Stop(ActionId(1))), Stage::Fallen];
        is_next(Next::Nothing, MAIN, wanted, &on_its_way);
    }
    is_next(Next::Nothing, MAIN, to_rest(Rest::Stopped), &[Stage::Stopped]);
    is_next(Next::Settle, MAIN, to_rest(Rest::Quarantined), &[Stage::Stopped]);
}

#[test]
fn an_engine_that_rests_goes_home_from_the_second_domain() {
    is_next(Next::Move, Slot::Isolation, to_rest(Rest::Stopped), &[Stage::Stopped]);
}

#[test]
fn a_removed_engine_goes_whatever_else_is_wanted_of_it_and_is_forgotten_once_it_is_gone() {
    let wanted = Wanted { rest: Some(Rest::Quarantined), seat: ISOLATED, ..to_leave() };
    is_next(Next::TakeOut, MAIN, wanted, &[Stage::Serving]);
    is_next(Next::Settle, MAIN, wanted, &[Stage::Quarantined]);
    is_next(Next::Forget, MAIN, wanted, &[Stage::Stopped]);
}
