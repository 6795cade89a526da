//! What comes into the core and what it gives back.

use std::collections::BTreeSet;

use super::policy::Policy;
use crate::model::{ActionId, EngineKey, Event, Observation, Outcome, Report, Request, SentAction};

/// One input of the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A fact.
    Observed(Observation),
    /// An order's one outcome.
    Finished(ActionId, Outcome),
    /// Somebody wants something.
    Asked(Request),
    /// The configuration changed.
    PolicyChanged(Box<PolicyChange>),
    /// A deadline of the core's own passed.
    Woke,
}

/// A changed configuration, as the core needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyChange {
    /// Everything, changed or not.
    pub policy: Policy,
    /// Engines that were there before and are started in another way from now on: they are to be stopped
    /// and started again, one after the other.
    pub rolls: BTreeSet<EngineKey>,
}

/// What the core decided. The caller carries out the actions in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Actions to be carried out. A `Save` comes first and must be done before the others.
    pub actions: Vec<SentAction>,
    /// Events that are to be emitted.
    pub events: Vec<Event>,
}

impl From<Report> for Input {
    fn from(report: Report) -> Self {
        match report {
            Report::Observed(observation) => Input::Observed(observation),
            Report::Finished(id, outcome) => Input::Finished(id, outcome),
        }
    }
}
