//! What the kernel says of the connections to an engine's port. Plain figures; nothing is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The connections to one engine's port at one moment, without those of the watchdog itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Somebody listens on the port.
    pub listening: bool,
    /// Connections that are open on both ends.
    pub open: u32,
    /// Of them, those whose client spoke last: a request without a byte of its answer.
    pub unanswered: u32,
    /// For how long the oldest of those has waited.
    pub longest: Duration,
    /// Of the open ones, those whose engine spoke last and on which nothing has moved for over 10 s: an answer that does not
    /// go on. An idle connection is ended sooner by every engine that is known.
    pub stalled: u32,
    /// Bytes of answers that came over a second after their request and that clients acknowledged, since the
    /// watchdog began to look: it only grows. What an engine's front end answers by itself is not among them.
    pub answered: u64,
}
