//! What `observe` and `act` send to the core loop.

use super::{ActionId, Observation, Outcome};

/// A fact, or the end of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A fact.
    Observed(Observation),
    /// An order's one outcome.
    Finished(ActionId, Outcome),
}
