//! What an engine died of, or was taken out for.

use crate::model::{Fault, Moment};

/// An engine's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Died {
    pub at: Moment,
    pub fault: Fault,
    pub because: String,
}
