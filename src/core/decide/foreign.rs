//! Processes that compute on a GPU and belong to no group. They are told of and never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Fault, Moment, ServerState, What};

use super::domain::Domain;
use super::reading::Reading;
use super::strangers::NAMED_WITHIN;
use super::turn::Turn;

/// What ends at once, and an old server's or engine's last moments, are nobody's affair.
const FOREIGN_FOR: Duration = Duration::from_secs(2);
/// Those that join are told of at most so often.
const JOINED_PAUSE: Duration = Duration::from_secs(60);

/// What a reading of a GPU shows beside MPS, judged by all groups on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beside {
    /// Neither clients of a server, nor servers of the groups, nor in the last known tree of an engine.
    pub pids: BTreeSet<u32>,
    /// Before that every engine's processes on this GPU had been looked for.
    pub trees_at: Moment,
}

/// What a reading shows beside MPS. `None`: an engine's processes are not known, or NVML shows other pids.
pub(super) fn beside(reading: &Reading, on_gpu: &[&Domain], groups: &[Domain], now: Moment) -> Option<Beside> {
    if !on_gpu.iter().all(|group| group.pids_match) {
        return None;
    }
    let trees_at = on_gpu.iter().try_fold(now, |oldest, group| Some(oldest.min(group.trees_at(now)?)))?;
    // NVML speaks of other pids, as far as anybody can tell: a server with a context is not among them.
    if on_gpu.iter().any(|group| group.hides_its_server(reading)) {
        return None;
    }
    let is_server = |pid: &u32| groups.iter().any(|group| group.server.pid == Some(*pid));
    // Where NVML does not know of a client, its daemon does.
    let is_client =
        |pid: &u32| groups.iter().any(|group| group.server.clients.last().is_some_and(|all| all.contains(pid)));
    let mut pids: BTreeSet<u32> = reading.beside_mps().filter(|pid| !is_server(pid) && !is_client(pid)).collect();
    if !pids.is_empty() {
        // Who only claims to be an engine's, and computes beside MPS, is nobody's.
        groups.iter().flat_map(Domain::proven_pids).for_each(|pid| {
            pids.remove(&pid);
        });
    }
    Some(Beside { pids, trees_at })
}

/// What one group knows of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Foreign {
    listed: BTreeMap<u32, Listed>,
    /// Whom an event named last, and when.
    told: BTreeSet<u32>,
    told_at: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Listed {
    since: Moment,
    readings: u32,
    proven: bool,
}

impl Foreign {
    /// Takes up a reading. Proven is who was listed twice at least and for long enough, and still was in no
    /// tree when all had been looked for anew.
    pub fn saw(&mut self, beside: &Beside, now: Moment) {
        self.listed.retain(|pid, _| beside.pids.contains(pid));
        for pid in &beside.pids {
            let listed = self.listed.entry(*pid).or_insert(Listed { since: now, readings: 0, proven: false });
            listed.readings = listed.readings.saturating_add(1);
            let long = listed.readings >= 2 && now.since(listed.since) >= FOREIGN_FOR;
            listed.proven |= long && beside.trees_at > listed.since;
        }
    }

    /// Nobody is listed.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// All that are listed, proven or not.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.listed.keys().copied()
    }

    /// All that are listed, and since when.
    pub fn pids_since(&self) -> impl Iterator<Item = (u32, Moment)> {
        self.listed.iter().map(|(pid, listed)| (*pid, listed.since))
    }

    /// When the latest was first listed.
    pub fn latest(&self) -> Option<Moment> {
        self.listed.values().map(|listed| listed.since).max()
    }

    /// How many are proven.
    pub fn count(&self) -> u32 {
        u32::try_from(self.listed.values().filter(|listed| listed.proven).count()).unwrap_or(u32::MAX)
    }
}

impl Domain {
    /// It has a server that is ready, and NVML lists neither that nor a client of it, but others.
    fn hides_its_server(&self, reading: &Reading) -> bool {
        let ready = self.server.state.last() == Some(&ServerState::Active);
        let server = self.server.pid.filter(|_| ready);
        let clients = self.server.clients.last().filter(|_| server.is_some());
        clients.is_some_and(|clients| !reading.pids_match(clients, server))
    }

    /// The proven ones whose command is known, or can't be learnt, and since when they were listed.
    pub fn foreigners(&self, now: Moment) -> BTreeMap<u32, Moment> {
        let named = |pid: u32, since| self.strangers.answered(pid) || now.since(since) >= NAMED_WITHIN;
        let proven = self.foreign.listed.iter().filter(|(_, listed)| listed.proven);
        proven.map(|(pid, listed)| (*pid, listed.since)).filter(|(pid, since)| named(*pid, *since)).collect()
    }

    /// Tells of those that joined while the fault lasts; with the others, so that the latest event names all.
    pub fn tell_of_joined_foreigners(&mut self, turn: &mut Turn<'_>) {
        let Some(began) = self.faults.get(&(None, Fault::ForeignProcess)).copied() else {
            self.foreign.told.clear();
            return;
        };
        let there: BTreeSet<u32> = self.foreigners(turn.now).into_keys().collect();
        let news = !there.is_subset(&self.foreign.told);
        if news && began != turn.now {
            if turn.now.since(self.foreign.told_at) < JOINED_PAUSE {
                return;
            }
            let because = super::detect::foreign_sentence(self, turn.now);
            turn.emit(What::FaultChanged { fault: Fault::ForeignProcess, because });
        }
        if news {
            self.foreign.told_at = turn.now;
        }
        self.foreign.told = there;
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
            foreign.saw(&Beside { pids: pids.iter().copied().collect(), trees_at: at(*trees) }, at(*now));
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
