//! What is next for one engine: the one place where what it is to be is compared with what it is.
//!
//! | it is to | it | next |
//! |---|---|---|
//! | rest, or leave | has a process, or none of it is proven gone | it is taken out |
//! | | is down | it settles in the stage of its rest |
//! | leave | rests | it is forgotten |
//! | run | runs as an older configuration says | it is renewed, when its turn comes |
//! | | runs, or is down, elsewhere than it is to run | it moves |
//! | | is down | it starts |
//!
//! Whether that may be done now is asked of `may`.

use crate::decide::facts::engine::Engine;
use crate::decide::facts::engine::goal::Goal;
use crate::decide::facts::stage::Stage;
use crate::model::Slot;

/// What brings an engine nearer to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: it is what it is to be, or on its way there.
    Nothing,
    /// Its process is started.
    Start,
    /// Its processes are ended, and stay away.
    TakeOut,
    /// It takes the stage of its rest: it has no process.
    Settle,
    /// Its processes are ended, and started again as the configuration says now.
    Renew,
    /// It is taken out, and started again where it is to run.
    Move,
    /// Nothing of it is left, and nothing is wanted of it.
    Forget,
}

/// What is next for an engine of the domain in `here`.
pub(crate) fn next(engine: &Engine, here: Slot) -> Next {
    let goal = engine.wanted.goal();
    match goal.rest_stage() {
        Some(rest) => to_rest(engine, goal, &rest, here),
        None => to_run(engine, goal, here),
    }
}

fn to_rest(engine: &Engine, goal: Goal, rest: &Stage, here: Slot) -> Next {
    match &engine.stage {
        Stage::Starting | Stage::Serving | Stage::Failing | Stage::Left => Next::TakeOut,
        Stage::Down { .. } => Next::Settle,
        Stage::Stopped | Stage::Quarantined if engine.stage != *rest => Next::Settle,
        Stage::Stopped | Stage::Quarantined if goal == Goal::Leave => Next::Forget,
        Stage::Stopped | Stage::Quarantined if goal.seat().slot != here => Next::Move,
        // A process may still come up, is being ended, or its whole group is.
        Stage::Launching(_) | Stage::Ending(_) | Stage::Fallen | Stage::Stopped | Stage::Quarantined => Next::Nothing,
    }
}

fn to_run(engine: &Engine, goal: Goal, here: Slot) -> Next {
    let seat = goal.seat();
    let runs = engine.stage.is_up() || engine.stage == Stage::Left;
    if engine.instance.outdated && runs {
        return Next::Renew;
    }
    let as_it_is_to = !engine.alive() || engine.instance.mps == seat.mps;
    if seat.slot != here || !as_it_is_to {
        return Next::Move;
    }
    if matches!(engine.stage, Stage::Down { .. }) { Next::Start } else { Next::Nothing }
}

#[cfg(test)]
#[path = "goal_tests.rs"]
mod tests;
