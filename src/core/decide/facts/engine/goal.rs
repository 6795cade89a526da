//! What an engine is to be: what people, the configuration and isolation want of it, as one goal. What follows from
//! it is worked out in `decide/goal.rs`.

use crate::decide::facts::remembered::Rest;
use crate::decide::facts::rest::stage_of;
use crate::decide::facts::stage::Stage;
use crate::decide::policy::MpsUse;
use crate::model::Slot;

/// Where an engine runs, or is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    /// The domain of its group.
    pub slot: Slot,
    /// Whether it is a client of that domain's server.
    pub mps: MpsUse,
}

impl Seat {
    /// The seat of an engine that is not wanted elsewhere: a client in the main domain.
    pub(crate) const HOME: Seat = Seat { slot: Slot::Main, mps: MpsUse::Client };
}

/// What an engine is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The engine runs there.
    Run(Seat),
    /// The engine has no process, for this reason.
    Rest(Rest),
    /// It has no process and is forgotten: the configuration has it no more.
    Leave,
}

impl Goal {
    /// The stage that an engine without a process stays in; `None`: it is to run.
    pub(crate) fn rest_stage(self) -> Option<Stage> {
        match self {
            Goal::Run(_) => None,
            Goal::Rest(rest) => Some(stage_of(rest)),
            Goal::Leave => Some(Stage::Stopped),
        }
    }

    /// Where it is to run; one that is to have no process needs no second domain.
    pub(crate) fn seat(self) -> Seat {
        match self {
            Goal::Run(seat) => seat,
            Goal::Rest(_) | Goal::Leave => Seat::HOME,
        }
    }
}

/// Whether the configuration has an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    /// The configuration has it.
    Yes,
    /// The configuration had it, and has it no more.
    Removed,
}

/// What is wanted of an engine, by whom. Each lasts while the others change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The configuration's word.
    pub listed: Listed,
    /// Why it is to have no process, by an operator, its budget or isolation; `None`: it is to run.
    pub rest: Option<Rest>,
    /// Where it is to run, by isolation.
    pub seat: Seat,
}

impl Wanted {
    /// What is wanted of an engine of which that is remembered.
    pub(crate) fn of(rest: Option<Rest>) -> Self {
        Wanted { listed: Listed::Yes, rest, seat: Seat::HOME }
    }

    /// All of it as one: a removed engine goes, whatever else is wanted of it, and one that rests runs nowhere.
    pub(crate) fn goal(&self) -> Goal {
        match (self.listed, self.rest) {
            (Listed::Removed, _) => Goal::Leave,
            (Listed::Yes, Some(rest)) => Goal::Rest(rest),
            (Listed::Yes, None) => Goal::Run(self.seat),
        }
    }
}
