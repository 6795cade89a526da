//! What comes into the core and what it gives back.

use crate::model::{ActionId, Event, GroupName, Observation, Ordered, Outcome, Report};

/// One thing that the core is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A fact.
    Observed(Observation),
    /// An order's one outcome.
    Finished(ActionId, Outcome),
    /// Somebody wants something.
    Asked(Request),
    /// A deadline of the core's own passed.
    Woke,
}

/// What somebody wants. Orders of operators come in here as they are built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// End all groups in order: engines in reverse, then the daemons.
    Stop,
    /// End all groups at once.
    StopNow,
    /// Go on with a group that is held; it gets its budget back.
    Resume(GroupName),
}

/// What the core decided. The caller carries out the actions in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Orders. A `Save` comes first and must be done before the others.
    pub actions: Vec<Ordered>,
    /// What to tell.
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
