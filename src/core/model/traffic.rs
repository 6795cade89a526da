//! What the kernel says of the connections to an engine's port. Plain figures; nothing is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time without an answer's bytes after which one that was begun makes no progress.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);

/// The connections to one engine's port at one moment, without those of the watchdog itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Somebody listens on the port.
    pub listening: bool,
    /// Connections that are open on both ends.
    pub open: u32,
    /// Number of open requests whose client spoke last: a request without a byte of its answer. Many front ends send
    /// the head of a streamed answer at once: such a one is `stalled` after 10 s.
    pub unanswered: u32,
    /// Longest time that one of those has waited.
    pub longest: Duration,
    /// Number of open requests whose engine spoke last, whose client has taken everything, and whose answer has not
    /// grown for over 10 s: one that makes no progress. A front end's signs of life (SSE comments) are no growth. An
    /// idle connection is ended sooner by most engines that are known.
    pub stalled: u32,
    /// Bytes of answers that were written over a second after their request, or as a stream, since the watchdog began
    /// to look: it only grows. What an engine's front end answers by itself is not among them.
    pub answered: u64,
}
