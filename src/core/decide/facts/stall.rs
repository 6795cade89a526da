//! What of an engine does not move, and since when.

use std::time::Duration;

use crate::model::Moment;

/// What does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// The engine answers nothing.
    Silent,
    /// Its counters, with requests running and a client that waits.
    Counters,
    /// It was asked for a token and gave none.
    Token,
}

/// An engine that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    pub since: Moment,
    pub stands: Stands,
    /// Duration so far, as far as was seen.
    pub lasts: Duration,
    /// It was seen a moment ago.
    pub fresh: bool,
}
