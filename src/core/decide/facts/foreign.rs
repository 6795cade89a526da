//! Processes that compute on a GPU and belong to no group, as NVML's readings show them. They are never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::facts::reading::Reading;
use crate::model::Moment;

/// What ends at once, and an old server's or engine's last moments, are no concern.
const FOREIGN_FOR: Duration = Duration::from_secs(2);

/// What a reading of a GPU shows beside MPS, judged by all groups on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutsideMps {
    /// Neither clients of a server, nor servers of the groups, nor in the last known tree of an engine.
    pub pids: BTreeSet<u32>,
    /// Time before which every engine's processes on this GPU had been looked for.
    pub trees_at: Moment,
}

/// What one group knows of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Foreign {
    pub listed: BTreeMap<u32, ForeignProcess>,
    /// Whom an event named last, and when.
    pub emitted: BTreeSet<u32>,
    pub emitted_at: Moment,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ForeignProcess {
    pub since: Moment,
    readings: u32,
    pub proven: bool,
}

impl Foreign {
    /// Takes up a reading. Proven is who was listed twice at least and for long enough, and still was in no
    /// tree when all had been looked for anew.
    pub(crate) fn saw(&mut self, beside: &OutsideMps, now: Moment) {
        self.listed.retain(|pid, _| beside.pids.contains(pid));
        for pid in &beside.pids {
            let listed = self.listed.entry(*pid).or_insert(ForeignProcess { since: now, readings: 0, proven: false });
            listed.readings = listed.readings.saturating_add(1);
            let long = listed.readings >= 2 && now.since(listed.since) >= FOREIGN_FOR;
            listed.proven |= long && beside.trees_at > listed.since;
        }
    }

    /// Nobody is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// All that are listed, proven or not.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.listed.keys().copied()
    }

    /// All that are listed, and since when.
    pub(crate) fn pids_since(&self) -> impl Iterator<Item = (u32, Moment)> {
        self.listed.iter().map(|(pid, listed)| (*pid, listed.since))
    }

    /// When the latest was first listed.
    pub(crate) fn latest(&self) -> Option<Moment> {
        self.listed.values().map(|listed| listed.since).max()
    }

    /// How many are proven and on the GPU of this reading.
    pub(crate) fn count_in(&self, reading: &Reading) -> u32 {
        let here = self.listed.iter().filter(|(pid, listed)| listed.proven && reading.lists(**pid));
        u32::try_from(here.count()).unwrap_or(u32::MAX)
    }

    /// How many are proven.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.listed.values().filter(|listed| listed.proven).count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    /// Readings as (millisecond, pids, when all trees had been looked for); how many are proven in the end.
    fn proven(readings: &[(u64, &[u32], u64)]) -> u32 {
        let mut foreign = Foreign::default();
        for (now, pids, trees) in readings {
            foreign.saw(&OutsideMps { pids: pids.iter().copied().collect(), trees_at: at(*trees) }, at(*now));
        }
        foreign.count()
    }

    #[test]
    fn one_reading_proves_nobody_foreign() {
        assert_eq!(proven(&[(9000, &[7], 0)]), 0);
        assert_eq!(proven(&[(1000, &[7], 0), (9000, &[8], 8000)]), 0);
    }

    #[test]
    fn a_new_child_of_an_engine_is_not_foreign_before_the_trees_were_looked_for() {
        assert_eq!(proven(&[(1000, &[7], 0), (9000, &[7], 1000)]), 0);
        assert_eq!(proven(&[(1000, &[7], 0), (9000, &[7], 1001)]), 1);
    }

    #[test]
    fn readings_close_together_as_in_a_restart_prove_nobody_foreign() {
        assert_eq!(proven(&[(1000, &[7], 0), (1004, &[7], 1002), (1008, &[7], 1006)]), 0);
    }

    #[test]
    fn one_that_left_and_came_back_begins_anew() {
        assert_eq!(proven(&[(1000, &[7], 0), (2000, &[], 0), (3000, &[7], 2500), (4000, &[7], 3500)]), 0);
    }
}
