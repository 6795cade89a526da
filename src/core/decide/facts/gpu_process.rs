//! An engine's GPU processes, its clients as they were last seen while it served, and whether all of them have
//! ended while its main process lives on: vLLM's main process can call itself healthy without its EngineCore.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{Moment, ProcessId};

/// Upper bound for the end of an engine that says anything else and does not end.
pub(crate) const ENDS: Duration = Duration::from_secs(5);

/// Upper bound for the end of an engine that listens no more: vLLM needs half a second for it, or never comes to its
/// end.
pub(crate) const LEAVES: Duration = Duration::from_secs(2);

/// Time for which a GPU process's end is looked for after it left the server: it may also live on, or come back.
const LOOKED_FOR: Duration = Duration::from_secs(2);

/// One incarnation's.
#[derive(Clone, Debug, Default)]
pub(crate) struct GpuProcesses {
    pub seen: Vec<ProcessId>,
    /// When one of them left the server.
    left: Option<Moment>,
    /// Time since which none of them is among the engine's processes.
    gone: Option<Moment>,
}

impl GpuProcesses {
    /// A client left the server.
    pub(crate) fn left(&mut self, client: u32, now: Moment) {
        if self.seen.iter().any(|process| process.pid == client) {
            self.left = Some(now);
        }
    }

    /// Its processes were looked at. Those that are clients count while any of them is one: a helper that leaves, or
    /// one of several that ends, is no end of all.
    pub(crate) fn looked(&mut self, tree: &[ProcessId], clients: Option<&BTreeSet<u32>>, now: Moment) {
        let is_client = |process: &&ProcessId| clients.is_some_and(|clients| clients.contains(&process.pid));
        let computing: Vec<ProcessId> = tree.iter().filter(is_client).copied().collect();
        if !computing.is_empty() {
            *self = GpuProcesses { seen: computing, left: self.left, gone: None };
        }
        let gone = !self.seen.is_empty() && !self.seen.iter().any(|process| tree.contains(process));
        self.gone = gone.then(|| self.gone.unwrap_or(now));
    }

    /// Whether its processes are to be looked at closely.
    pub(crate) fn doubtful(&self, now: Moment) -> bool {
        self.gone.is_some() || self.left.is_some_and(|left| now.since(left) < LOOKED_FOR)
    }

    /// Time since which none of them is there.
    pub(crate) fn gone(&self) -> Option<Moment> {
        self.gone
    }

    /// When time alone may say more.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Moment> {
        let gone = self.gone.map(|gone| [gone.after(LEAVES), gone.after(ENDS)]);
        gone.into_iter().flatten().chain(self.left.map(|left| left.after(LOOKED_FOR)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    fn tree(pids: &[u32]) -> Vec<ProcessId> {
        pids.iter().map(|pid| ProcessId { pid: *pid, started_at: 1 }).collect()
    }

    fn after(looks: &[(&[u32], &[u32])]) -> GpuProcesses {
        let mut processes = GpuProcesses::default();
        for (second, (pids, clients)) in (0..).zip(looks) {
            processes.looked(&tree(pids), Some(&clients.iter().copied().collect()), at(second));
        }
        processes
    }

    #[test]
    fn they_are_gone_once_none_of_them_is_among_its_processes() {
        assert_eq!(after(&[(&[10, 11], &[11]), (&[10], &[])]).gone(), Some(at(1)));
        assert_eq!(after(&[(&[10, 11], &[11]), (&[10], &[]), (&[10], &[])]).gone(), Some(at(1)));
    }

    #[test]
    fn a_client_that_leaves_the_server_and_lives_is_not_gone() {
        assert_eq!(after(&[(&[10, 11], &[11]), (&[10, 11], &[])]).gone(), None);
    }

    #[test]
    fn one_of_several_that_ends_is_not_all_of_them() {
        assert_eq!(after(&[(&[10, 11, 12], &[11, 12]), (&[10, 12], &[12])]).gone(), None);
    }

    #[test]
    fn another_that_connects_takes_their_place() {
        assert_eq!(after(&[(&[10, 11], &[11]), (&[10], &[]), (&[10, 13], &[13])]).gone(), None);
    }

    #[test]
    fn an_engine_that_never_had_one_has_lost_none() {
        assert_eq!(after(&[(&[10, 11], &[]), (&[10], &[])]).gone(), None);
    }

    #[test]
    fn only_its_own_client_that_left_makes_it_doubtful() {
        let mut processes = after(&[(&[10, 11], &[11])]);
        processes.left(99, at(1));
        assert!(!processes.doubtful(at(1)));
        processes.left(11, at(1));
        assert!(processes.doubtful(at(1)) && !processes.doubtful(at(4)));
    }
}
