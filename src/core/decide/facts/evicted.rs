//! Engines whose client the MPS server ended. The error that the client's next call gets (810) is what an order of ours
//! gives too, and a printed word is a word: it counts once the client's entry was seen gone from the server before it,
//! without an order of ours, with the server in order and the process still there.

use std::time::Duration;

use crate::decide::facts::said::Run;
use crate::model::Moment;

/// CUDA's error for a client that its server has ended.
pub(crate) const TERMINATED: u32 = 810;

/// The entry goes first, the client's next call fails after it; the two are read in any order.
const NEAR: Duration = Duration::from_secs(1);

/// Upper bound for the end of an engine that notices.
pub(crate) const ENDS_BY_ITSELF: Duration = Duration::from_secs(2);

/// Time after an eviction within which an end is still of it.
pub(crate) const OF_IT: Duration = Duration::from_secs(60);

/// Whether a fact agrees with a line that names the error: the client left a server that was not lost, and its process
/// did not end then.
pub(crate) fn agrees(run: &Run, left: Option<Moment>, ended: Option<Moment>) -> bool {
    let Some(left) = left else { return false };
    let before = left <= run.last.after(NEAR) && run.first.since(left) <= OF_IT;
    before && ended.is_none_or(|ended| ended > left && ended >= run.first)
}
