//! One turn of the core: the time, and where orders and events go.

use std::time::Duration;

use crate::model::{Action, ActionId, EngineName, Event, GroupName, Moment, Ordered, Outcome, What};

use super::Decision;
use super::facts::GpuFacts;
use super::orders::{GroupId, Orders, Purpose};

/// Of an order whose outcome stayed out.
pub(super) const NO_OUTCOME: &str = "no outcome in its time";

/// What every step of a group gets. Lives for one `handle`.
pub(super) struct Turn<'a> {
    /// The time of this turn.
    pub now: Moment,
    /// The group's GPU.
    pub gpu: &'a GpuFacts,
    /// Whether no other group uses that GPU.
    pub alone: bool,
    /// Of a group's second side: whether an engine of its first side is being started.
    pub home_starts: bool,
    /// Which group of this run it is.
    pub id: GroupId,
    /// The group's name, as the outside knows it: that of both its sides.
    pub group: GroupName,
    /// Orders on their way.
    pub orders: &'a mut Orders,
    /// What this turn decides.
    pub decision: &'a mut Decision,
    /// Set when what must survive has changed and must be saved before this turn's actions.
    pub save: &'a mut bool,
}

impl Turn<'_> {
    /// Orders something for this group, with an outcome within `bound`.
    pub fn order(&mut self, purpose: Purpose, action: Action, bound: Duration) -> ActionId {
        let deadline = self.now.after(bound);
        let id = self.orders.add(Some(self.id), purpose, deadline);
        self.decision.actions.push(Ordered { id, deadline, action });
        id
    }

    /// Tells what happened to the group.
    pub fn tell(&mut self, what: What) {
        self.push(None, what);
    }

    /// Tells what happened to one engine.
    pub fn tell_of(&mut self, engine: &EngineName, what: What) {
        self.push(Some(engine.clone()), what);
    }

    /// Tells that an order about the group failed, if it did.
    pub fn tell_failure(&mut self, action: &'static str, outcome: &Outcome) {
        if let Some(why) = failure(outcome) {
            self.tell(What::ActionFailed { action, why });
        }
    }

    /// Tells that an order about one engine failed, if it did.
    pub fn tell_failure_of(&mut self, engine: &EngineName, action: &'static str, outcome: &Outcome) {
        if let Some(why) = failure(outcome) {
            self.tell_of(engine, What::ActionFailed { action, why });
        }
    }

    fn push(&mut self, engine: Option<EngineName>, what: What) {
        self.decision.events.push(Event { at: self.now, group: Some(self.group.clone()), engine, what });
    }
}

/// Why an order failed; `None`: it did not.
pub(super) fn failure(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Waits { why, .. } => Some(why.clone()),
        Outcome::TimedOut => Some(NO_OUTCOME.to_owned()),
        outcome => outcome.blindness().map(|blindness| blindness.why),
    }
}
