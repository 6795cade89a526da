//! What one turn of the core puts out: actions, events, and whether what must survive has changed.

use super::input::Decision;
use crate::model::{Action, ActionId, EngineName, Event, GroupName, Moment, SentAction, What};

/// What a turn puts out. It ends as a `Decision`.
#[derive(Debug)]
pub(super) struct Effects {
    /// The time of the turn: that of its events.
    now: Moment,
    decision: Decision,
    /// What must survive a crash has changed.
    saves: bool,
}

impl Effects {
    /// Nothing yet.
    pub(super) fn new(now: Moment) -> Self {
        Effects { now, decision: Decision::default(), saves: false }
    }

    /// An action that is already among those without an outcome.
    pub(super) fn act(&mut self, id: ActionId, deadline: Moment, action: Action) {
        self.decision.actions.push(SentAction { id, deadline, action });
    }

    /// The same, before all others: it must be done before them.
    pub(super) fn act_first(&mut self, id: ActionId, deadline: Moment, action: Action) {
        self.decision.actions.insert(0, SentAction { id, deadline, action });
    }

    /// An event about the whole host, a group, or one engine of it.
    pub(super) fn emit(&mut self, group: Option<GroupName>, engine: Option<EngineName>, what: What) {
        self.decision.events.push(Event { at: self.now, group, engine, what });
    }

    /// What must survive a crash has changed: it is saved before this turn's actions.
    pub(super) fn save(&mut self) {
        self.saves = true;
    }

    /// Whether something is to be saved.
    pub(super) fn saves(&self) -> bool {
        self.saves
    }

    /// The end of the turn.
    pub(super) fn decision(self) -> Decision {
        self.decision
    }
}
