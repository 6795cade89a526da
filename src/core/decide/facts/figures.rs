//! Figures of one incarnation: load, memory and its trends, frozen processes.

use std::time::Duration;

use crate::decide::facts::cadence::LOAD;
use crate::decide::facts::growth::Growth;
use crate::decide::facts::idle::IdleRow;
use crate::decide::facts::memory_trend::MemoryTrend;
use crate::model::{EngineLoad, Known, Moment, ProcessId};

/// Time for which a load is believed: three of its intervals.
pub(crate) const LOAD_FRESH: Duration = Duration::from_secs(3 * LOAD.as_secs());

/// One engine's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub load: Known<EngineLoad>,
    /// Readings without work, in a row.
    pub idle: IdleRow,
    pub memory: MemoryTrend,
    pub resident: MemoryTrend,
    /// Bytes of host memory of all its processes that live.
    pub held: Known<u64>,
    pub frozen: Vec<(ProcessId, char)>,
}

impl Figures {
    /// Requests that it works on, as last read.
    pub(crate) fn running(&self) -> Option<f64> {
        self.load.last()?.running
    }

    /// Requests that it works on and that wait in its queue, by a load that was read at `moment` or later; `None`: none
    /// was, or it does not say.
    pub(crate) fn in_flight_since(&self, moment: Moment) -> Option<f64> {
        self.load.since(moment)?.in_flight()
    }

    /// Its processes that were stopped or in uninterruptible sleep when last seen, with their state's letter.
    pub(crate) fn frozen(&self) -> &[(ProcessId, char)] {
        &self.frozen
    }

    /// Requests running and waiting as last read, and when; `None`: unknown.
    pub(crate) fn requests(&self, now: Moment) -> Option<(f64, f64, Moment)> {
        let load = self.load.fresh(LOAD_FRESH, now)?;
        Some((load.running?, load.waiting?, self.load.at()?))
    }

    /// Its model is loaded: what it took to get there says nothing about what comes.
    pub(crate) fn ready(&mut self) {
        self.memory.forget();
        self.resident.forget();
    }
}

/// A memory that grows, and what it has room for.
pub(crate) struct Room<'a> {
    /// `device` or `host`.
    pub kind: &'static str,
    pub growth: &'a Growth,
    pub held: u64,
    pub limit: u64,
}
