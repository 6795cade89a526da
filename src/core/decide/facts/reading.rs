//! One NVML reading with its processes by pid: asking for one costs the same however many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::time::Duration;

use crate::model::{GpuProcess, GpuReading};

/// How long NVML's lists are believed.
pub(crate) const READING_FRESH: Duration = Duration::from_secs(3);

/// A reading of a GPU.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    reading: GpuReading,
    /// Each process once, by pid.
    listed: Vec<(u32, ListedProcess)>,
}

/// One process, as both of NVML's lists have it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ListedProcess {
    /// It is a client of some MPS server.
    mps: bool,
    /// The larger of its figures; `None`: one of them is unknown.
    memory: Option<u64>,
}

impl Reading {
    /// The readings of several GPUs as one: their processes, each with what it holds on all of them, and their figures'
    /// sums. What one of them does not have, all of them lack. `None`: there is none.
    pub(crate) fn joined(all: &[&Reading]) -> Option<Reading> {
        let first = all.first()?;
        let sum = |figure: fn(&GpuReading) -> Option<u64>| {
            all.iter().map(|reading| figure(reading)).try_fold(0u64, |sum, one| Some(sum.saturating_add(one?)))
        };
        let busy: Option<Vec<f64>> = all.iter().map(|reading| reading.busy).collect();
        Some(Reading::from(GpuReading {
            activity: None,
            memory_used: sum(|reading| reading.memory_used),
            memory_total: sum(|reading| reading.memory_total),
            busy: busy.map(|all| all.iter().sum::<f64>() / all.len() as f64),
            compute: joined_list(all, |reading| reading.compute.as_ref()),
            mps: joined_list(all, |reading| reading.mps.as_ref()),
            recovery_action: first.recovery_action,
        }))
    }

    /// Every process on the GPU, once.
    pub(crate) fn pids(&self) -> impl Iterator<Item = u32> {
        self.listed.iter().map(|(pid, _)| *pid)
    }

    /// Whether the process is on the GPU.
    pub(crate) fn lists(&self, pid: u32) -> bool {
        self.find(pid).is_some()
    }

    /// Whether NVML has the process as a client of some MPS server.
    pub(crate) fn is_client(&self, pid: u32) -> bool {
        self.find(pid).is_some_and(|listed| listed.mps)
    }

    /// Whether NVML's list of MPS clients says anything about those of this server. Older drivers have none, and in
    /// some containers it is empty whichever process computes: where the daemon has clients and NVML none of them, the
    /// daemon's list decides.
    pub(crate) fn knows_clients(&self, clients: &BTreeSet<u32>) -> bool {
        self.reading.mps.is_some() && (clients.is_empty() || clients.iter().any(|client| self.is_client(*client)))
    }

    /// Bytes of device memory that these processes hold together; `None`: NVML does not know of one of them.
    pub(crate) fn memory_of(&self, pids: &BTreeSet<u32>) -> Option<u64> {
        let mut held = pids.iter().filter_map(|pid| self.find(*pid)).map(|listed| listed.memory);
        held.try_fold(0u64, |sum, memory| Some(sum.saturating_add(memory?)))
    }

    /// Processes that NVML does not have as clients of an MPS server: servers, and processes that bypass MPS. Where it
    /// has no list of clients, clients too.
    pub(crate) fn beside_mps(&self) -> impl Iterator<Item = u32> {
        self.listed.iter().filter(|(_, listed)| !listed.mps).map(|(pid, _)| *pid)
    }

    /// Whether NVML speaks of the same pids as the control daemon: it lists the server or one of its clients.
    pub(crate) fn pids_match(&self, clients: &BTreeSet<u32>, server: Option<u32>) -> bool {
        server.is_some_and(|server| self.lists(server)) || clients.iter().any(|client| self.lists(*client))
    }

    fn find(&self, pid: u32) -> Option<&ListedProcess> {
        let index = self.listed.binary_search_by_key(&pid, |(listed, _)| *listed).ok()?;
        self.listed.get(index).map(|(_, listed)| listed)
    }
}

/// One list of several GPUs: a process that is on more than one holds the sum.
fn joined_list(all: &[&Reading], list: fn(&GpuReading) -> Option<&Vec<GpuProcess>>) -> Option<Vec<GpuProcess>> {
    let lists: Vec<&Vec<GpuProcess>> = all.iter().map(|reading| list(reading)).collect::<Option<_>>()?;
    let mut held: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    for process in lists.into_iter().flatten() {
        let sum = held.entry(process.pid).or_insert(Some(0));
        *sum = sum.zip(process.memory).map(|(sum, memory)| sum.saturating_add(memory));
    }
    Some(held.into_iter().map(|(pid, memory)| GpuProcess { pid, memory }).collect())
}

impl From<GpuReading> for Reading {
    fn from(reading: GpuReading) -> Self {
        let one = |mps: bool| move |process: &GpuProcess| (process.pid, ListedProcess { mps, memory: process.memory });
        let compute = reading.compute.iter().flatten().map(one(false));
        let mut listed: Vec<(u32, ListedProcess)> =
            compute.chain(reading.mps.iter().flatten().map(one(true))).collect();
        listed.sort_by_key(|(pid, _)| *pid);
        listed.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1.mps |= later.1.mps;
                kept.1.memory = kept.1.memory.zip(later.1.memory).map(|(one, two)| one.max(two));
            }
            same
        });
        Reading { reading, listed }
    }
}

impl Deref for Reading {
    type Target = GpuReading;

    fn deref(&self) -> &GpuReading {
        &self.reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GpuProcess;

    fn reading(compute: &[(u32, Option<u64>)], mps: &[(u32, Option<u64>)]) -> Reading {
        let list = |held: &[(u32, Option<u64>)]| {
            held.iter().map(|(pid, memory)| GpuProcess { pid: *pid, memory: *memory }).collect::<Vec<_>>()
        };
        Reading::from(GpuReading {
            activity: None,
            memory_used: None,
            memory_total: None,
            busy: None,
            compute: Some(list(compute)),
            mps: Some(list(mps)),
            recovery_action: None,
        })
    }

    #[test]
    fn a_process_in_both_lists_counts_once_with_the_larger_figure() {
        let reading = reading(&[(11, Some(3)), (5, Some(1))], &[(11, Some(4))]);
        assert_eq!(reading.memory_of(&BTreeSet::from([11])), Some(4));
        assert!(reading.is_client(11) && !reading.is_client(5));
    }

    #[test]
    fn one_unknown_figure_makes_the_sum_unknown_and_a_process_elsewhere_adds_nothing() {
        let reading = reading(&[(11, Some(3)), (12, None)], &[]);
        assert_eq!(reading.memory_of(&BTreeSet::from([11, 12])), None);
        assert_eq!(reading.memory_of(&BTreeSet::from([11, 99])), Some(3));
    }

    #[test]
    fn whoever_computes_without_being_a_client_is_beside_mps() {
        let reading = reading(&[(5, None), (11, None), (7, None)], &[(11, None)]);
        assert_eq!(reading.beside_mps().collect::<Vec<_>>(), [5, 7]);
    }

    #[test]
    fn a_list_of_clients_with_none_of_the_servers_says_nothing_about_them() {
        let clients = BTreeSet::from([11, 12]);
        assert!(reading(&[], &[(12, None)]).knows_clients(&clients));
        assert!(!reading(&[(12, None)], &[]).knows_clients(&clients));
        assert!(!reading(&[], &[(99, None)]).knows_clients(&clients));
        assert!(reading(&[], &[]).knows_clients(&BTreeSet::new()));
        let without = GpuReading { mps: None, ..(*reading(&[], &[])).clone() };
        assert!(!Reading::from(without).knows_clients(&BTreeSet::new()));
    }

    #[test]
    fn absurd_figures_do_not_overflow() {
        let reading = reading(&[(11, Some(u64::MAX)), (12, Some(u64::MAX))], &[]);
        assert_eq!(reading.memory_of(&BTreeSet::from([11, 12])), Some(u64::MAX));
    }
}
