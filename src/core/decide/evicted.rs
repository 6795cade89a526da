//! Engines whose client the MPS server ended. The error that the client's next call gets (810) is what an order of ours
//! gives too, and a printed word is a word: it counts once the client's entry was seen gone from the server before it, by
//! nobody's order, with the server in order and the process still there.

use std::time::Duration;

use crate::model::{Exit, Fault, Moment};

use super::engine::{Died, Engine};
use super::said::{Run, Standing};

/// CUDA's error for a client that its server has ended.
pub(super) const TERMINATED: u32 = 810;
/// The entry goes first, the client's next call fails after it; the two are read in any order.
const NEAR: Duration = Duration::from_secs(1);
/// An engine that notices ends by itself within this.
pub(super) const ENDS_BY_ITSELF: Duration = Duration::from_secs(2);
/// An end so long after it is still of it.
const OF_IT: Duration = Duration::from_secs(60);

/// Whether a fact agrees with a line that names the error: the client left the server, and its process did not end then.
pub(super) fn agrees(run: &Run, left: Option<Moment>, ended: Option<Moment>, server_lost: bool) -> bool {
    let Some(left) = left.filter(|_| !server_lost) else { return false };
    let before = left <= run.last.after(NEAR) && run.first.since(left) <= OF_IT;
    before && ended.is_none_or(|ended| ended > left && ended >= run.first)
}

impl Engine {
    /// When the server ended its client in this incarnation, and that in words.
    pub fn evicted(&self) -> Option<(Moment, String)> {
        let by_fact = |run: &&Run| run.code == TERMINATED && run.standing == Standing::Confirmed;
        let run = self.instance.output.said.all().find(by_fact)?;
        let because = "the MPS server ended its client (CUDA error 810) and neither mpswarden nor an operator here ordered that: \
                       servers of driver r615 and later do so where device memory runs short"
            .to_owned();
        Some((self.instance.gpu.left.unwrap_or(run.first), because))
    }

    /// Until when its end is waited for.
    pub fn eviction_due(&self) -> Option<Moment> {
        self.evicted().map(|(at, _)| at.after(ENDS_BY_ITSELF))
    }

    /// The same death, with its reason where the server had ended its client.
    pub fn explain_eviction(&self, died: Died) -> Died {
        let evicted = self.evicted().filter(|(at, _)| died.at.since(*at) <= OF_IT);
        match evicted {
            Some((at, because)) if died.fault == Fault::EngineDied => {
                Died { at, fault: Fault::Evicted, because: format!("{because}; {}", died.because) }
            }
            _ => died,
        }
    }

    /// Whether an end as this one is of it: no signal of another's.
    pub fn ended_by_eviction(&self, exit: Exit) -> bool {
        self.evicted().is_some() && !matches!(exit, Exit::Signal(9))
    }
}
