//! One turn of the core: the time, and where orders and events go.

use std::time::Duration;

use crate::model::{Action, ActionId, EngineName, FailedAction, GroupName, Moment, Outcome, What};

use super::effects::Effects;
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
    /// What this turn puts out.
    pub effects: &'a mut Effects,
}

impl Turn<'_> {
    /// Orders something for this group, with an outcome within `bound`.
    pub fn order(&mut self, purpose: Purpose, action: Action, bound: Duration) -> ActionId {
        let deadline = self.now.after(bound);
        let id = self.orders.add(Some(self.id), purpose, deadline);
        self.effects.act(id, deadline, action);
        id
    }

    /// Tells what happened to the group.
    pub fn emit(&mut self, what: What) {
        self.push(None, what);
    }

    /// Tells what happened to one engine.
    pub fn emit_of(&mut self, engine: &EngineName, what: What) {
        self.push(Some(engine.clone()), what);
    }

    /// Tells that an order about the group failed, if it did.
    pub fn emit_failure(&mut self, action: FailedAction, outcome: &Outcome) {
        if let Some(why) = failure(outcome) {
            self.emit(What::ActionFailed { action, why });
        }
    }

    /// Tells that an order about one engine failed, if it did.
    pub fn emit_failure_of(&mut self, engine: &EngineName, action: FailedAction, outcome: &Outcome) {
        if let Some(why) = failure(outcome) {
            self.emit_of(engine, What::ActionFailed { action, why });
        }
    }

    /// What must survive a crash has changed.
    pub fn save(&mut self) {
        self.effects.save();
    }

    fn push(&mut self, engine: Option<EngineName>, what: What) {
        self.effects.emit(Some(self.group.clone()), engine, what);
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
