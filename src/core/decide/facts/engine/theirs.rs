//! What is known of an engine that others run: whether it is there, and who starts it next. What is done about it is
//! decided elsewhere.

use crate::decide::facts::engine::Engine;
use crate::decide::facts::stage::Stage;
use crate::decide::policy::Origin;
use crate::model::Moment;

/// Whether an engine that others run is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It was not found since the watchdog's start.
    #[default]
    NeverFound,
    /// The engine was found; perhaps it failed since.
    Found,
    /// Those who run it took it away, or it left in order.
    Left,
}

/// What is known of an engine that others run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Theirs {
    pub presence: Presence,
    /// The watchdog had it ended, and is to have it started again.
    pub owed: bool,
    /// Time since which it was asked for and its supervisor waits.
    pub waits: Option<Moment>,
    /// What was last emitted of why it is not there.
    pub emitted: Option<String>,
}

impl Engine {
    /// Whether the watchdog has it started, where it may start at all: its own, and one of others that it had ended.
    pub(crate) fn is_ours_to_start(&self) -> bool {
        !self.policy.custody.is_others() || self.theirs.owed
    }

    /// It is about to be ended. Where those who run it are asked for that, they are asked for its start too, unless it
    /// was away.
    pub(crate) fn owe_its_start(&mut self) {
        let asked = self.policy.custody.is_others() && self.policy.custody.may_start();
        let there = self.theirs.presence == Presence::Found && !self.is_away();
        self.theirs.owed |= asked && there;
    }

    /// A process of it is there.
    pub(crate) fn is_there(&mut self) {
        self.theirs = Theirs { presence: Presence::Found, ..Theirs::default() };
    }

    /// Others run it, and its absence is theirs to want: it left in order.
    pub(crate) fn is_away(&self) -> bool {
        self.is_absent() && self.theirs.presence == Presence::Left
    }

    /// Others run it, it is configured, and it was not found since the watchdog's start.
    pub(crate) fn is_missing(&self) -> bool {
        let configured = self.policy.origin == Origin::Configured;
        configured && self.is_absent() && self.theirs.presence == Presence::NeverFound
    }

    /// Others run it, it has no process, and nothing is wrong with that.
    pub(crate) fn is_absent(&self) -> bool {
        let down = matches!(self.stage, Stage::Down { .. } | Stage::Launching(_)) && self.died.is_none();
        self.policy.custody.is_others() && down && !self.theirs.owed
    }
}
