//! Which clients of a server over several GPUs lost their contexts with a fault. Measured on two H200 (docs/h200.md): what
//! dies together is neither the server nor the GPU, but the GPUs that share a client with the one where the fault began,
//! directly or by others.
//!
//! The server's own word comes first: in each run that was measured its log named exactly the clients that failed. Where
//! it names none, as before driver 580 or where nothing of its log can be read, the GPU of the Xid and NVML's lists say
//! the same. Where both are missing it is not known, and nobody is ended for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::facts::GpuFacts;
use crate::model::{GpuUuid, Moment};

/// Longest time from a fatal line to the last line of those that name who is hit: 21 ms, measured.
pub(crate) const NAMED_WITHIN: Duration = Duration::from_millis(200);

/// Distance of an Xid and the fault that it is of.
const OF_THE_FAULT: Duration = Duration::from_secs(2);

/// Time for which the place of a client is remembered that NVML shows no more: its fault may be noticed late.
const REMEMBERED: Duration = Duration::from_secs(10);

/// How far a fault of a server reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nothing says yet whom it hit.
    NotKnown,
    /// Contexts of some engines live.
    Part,
    /// It hit every engine that runs.
    Whole,
}

/// Clients that the server says it tears down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Torn {
    clients: BTreeSet<u32>,
    /// The list that a fatal line began has its end.
    complete: bool,
    /// When the last list began.
    since: Moment,
}

impl Torn {
    /// A fatal line: a list of who is hit follows it, or does not, by the driver. One fault may have two, one for each
    /// GPU where a killed client computed.
    pub(crate) fn begins(&mut self, now: Moment) {
        (self.complete, self.since) = (false, now);
    }

    /// The server names one.
    pub(crate) fn names(&mut self, client: u32) {
        self.clients.insert(client);
    }

    /// It names none, and these are known otherwise.
    pub(crate) fn are(&mut self, clients: &BTreeSet<u32>) {
        self.clients.extend(clients);
    }

    /// It has named all.
    pub(crate) fn ends(&mut self) {
        self.complete = true;
    }

    /// Everyone that it named.
    pub(crate) fn clients(&self) -> &BTreeSet<u32> {
        &self.clients
    }

    /// Those that the server named, once it has named all; `None`: it has not, or never does.
    fn named(&self) -> Option<&BTreeSet<u32>> {
        (self.complete && !self.clients.is_empty()).then_some(&self.clients)
    }

    /// The time until which more names may come.
    pub(crate) fn due(&self) -> Option<Moment> {
        (!self.complete && self.since > Moment::ZERO).then(|| self.since.after(NAMED_WITHIN))
    }
}

/// Where the processes on a server's GPUs are, and which of these GPUs reported what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seats {
    /// GPUs on which NVML has shown each client, and when it last did.
    of: BTreeMap<u32, (BTreeSet<GpuUuid>, Moment)>,
    /// When each GPU had its last Xid.
    xids: BTreeMap<GpuUuid, Moment>,
}

impl Seats {
    /// All GPUs were read, and these are the server's clients. A context stays where it was made until its process ends.
    pub(crate) fn read(&mut self, gpu: &GpuFacts, clients: &BTreeSet<u32>, now: Moment) {
        self.of.retain(|_, (_, seen)| now.since(*seen) <= REMEMBERED);
        for gpu in gpu.each() {
            let listed = gpu.reading.last().into_iter().flat_map(|reading| reading.pids());
            for pid in listed.filter(|pid| clients.contains(pid)) {
                let (gpus, seen) = self.of.entry(pid).or_default();
                gpus.insert(gpu.identity.uuid.clone());
                *seen = now;
            }
        }
    }

    /// A GPU had an Xid.
    pub(crate) fn xid(&mut self, gpu: &GpuUuid, now: Moment) {
        self.xids.insert(gpu.clone(), now);
    }

    /// A fault is over: the Xids until now were its.
    pub(crate) fn fault_is_over(&mut self) {
        self.xids.clear();
    }

    /// GPUs that had an Xid around the time of a fault.
    fn began(&self, fault_at: Moment) -> BTreeSet<GpuUuid> {
        let of_it = |at: Moment| at.since(fault_at).max(fault_at.since(at)) <= OF_THE_FAULT;
        self.xids.iter().filter(|(_, at)| of_it(**at)).map(|(gpu, _)| gpu.clone()).collect()
    }

    /// The clients that lost their contexts; `None`: that is not known, or not yet.
    pub(crate) fn lost(&self, torn: &Torn, fault_at: Moment, now: Moment) -> Option<BTreeSet<u32>> {
        if let Some(named) = torn.named() {
            return Some(named.clone());
        }
        let waits = torn.due().is_some_and(|due| now < due);
        let began = self.began(fault_at);
        let seats = || self.of.iter().map(|(pid, (gpus, _))| (*pid, gpus.clone())).collect();
        (!waits && !began.is_empty()).then(|| joined(&began, &seats()))
    }
}

/// Clients on the GPUs where a fault began, and on those that share a client with these, directly or by others.
pub(crate) fn joined<G: Ord + Clone>(began: &BTreeSet<G>, clients: &BTreeMap<u32, BTreeSet<G>>) -> BTreeSet<u32> {
    let (mut gpus, mut lost) = (began.clone(), BTreeSet::new());
    loop {
        let hit = |gpus: &BTreeSet<G>, on: &BTreeSet<G>| on.iter().any(|gpu| gpus.contains(gpu));
        let new: Vec<&u32> =
            clients.iter().filter(|(pid, on)| !lost.contains(*pid) && hit(&gpus, on)).map(|(pid, _)| pid).collect();
        if new.is_empty() {
            return lost;
        }
        for pid in new {
            lost.insert(*pid);
            gpus.extend(clients.get(pid).into_iter().flatten().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(seats: &[(u32, &[u8])]) -> BTreeMap<u32, BTreeSet<u8>> {
        seats.iter().map(|(pid, gpus)| (*pid, gpus.iter().copied().collect())).collect()
    }

    fn lost(began: u8, seats: &[(u32, &[u8])]) -> Vec<u32> {
        joined(&BTreeSet::from([began]), &clients(seats)).into_iter().collect()
    }

    #[test]
    fn without_a_client_on_both_a_fault_stays_on_its_gpu() {
        let seats: [(u32, &[u8]); 4] = [(10, &[0]), (11, &[0]), (20, &[1]), (21, &[1])];
        assert_eq!((lost(0, &seats), lost(1, &seats)), (vec![10, 11], vec![20, 21]));
    }

    #[test]
    fn a_client_on_both_joins_them_and_a_chain_of_clients_joins_more() {
        assert_eq!(lost(0, &[(10, &[0]), (20, &[1]), (30, &[0, 1])]), [10, 20, 30]);
        assert_eq!(lost(0, &[(10, &[0, 1]), (20, &[1, 2]), (30, &[2]), (40, &[3])]), [10, 20, 30]);
    }

    #[test]
    fn a_gpu_without_clients_takes_nobody_along() {
        assert!(lost(2, &[(10, &[0]), (20, &[1])]).is_empty());
    }

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    #[test]
    fn the_servers_word_counts_once_it_is_whole_and_an_xid_where_there_is_none() {
        let gpu = |index| GpuUuid::of_index(index);
        let of = [(10, 0), (20, 1)].map(|(pid, at)| (pid, (BTreeSet::from([gpu(at)]), Moment::ZERO))).into();
        let mut seats = Seats { of, ..Seats::default() };
        let mut torn = Torn::default();
        torn.begins(at(1000));
        torn.names(20);
        assert_eq!(seats.lost(&torn, at(1000), at(1001)), None);
        torn.ends();
        assert_eq!(seats.lost(&torn, at(1000), at(1001)), Some(BTreeSet::from([20])));
        let mut silent = Torn::default();
        silent.begins(at(1000));
        assert_eq!(seats.lost(&silent, at(1000), at(1300)), None, "nothing says which GPU it was");
        seats.xid(&gpu(0), at(1020));
        assert_eq!(seats.lost(&silent, at(1000), at(1100)), None, "names may still come");
        assert_eq!(seats.lost(&silent, at(1000), at(1300)), Some(BTreeSet::from([10])));
        assert_eq!(seats.lost(&silent, at(9000), at(9300)), None, "the Xid is of another fault");
    }
}
