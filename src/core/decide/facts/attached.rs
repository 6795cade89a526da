//! Whether a process tree is attached: clients of its server, all that is on the GPU.

use std::collections::BTreeSet;

use crate::decide::facts::reading::Reading;
use crate::model::{Moment, ProcessId};

/// Where an engine computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// The engine is in this group's server, with everything that it has on the GPU.
    Attached,
    /// The engine is on the GPU, and not in this server.
    Outside(Outside),
    /// No process of it is a client, and none is seen on the GPU.
    Absent,
}

/// Processes of an engine that compute where they should not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outside {
    /// No client of any MPS server.
    pub past: Vec<u32>,
    /// NVML has them as clients of a server, and this group's does not list them.
    pub elsewhere: Vec<u32>,
}

/// What an engine is seen as, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    pub attachment: Attachment,
    pub since: Moment,
}

/// Tells where an engine computes. Without a reading of NVML, or where NVML shows other pids than ours (in some
/// containers), the daemon's client list decides alone, and no engine is proven to be outside. Where NVML has no list
/// of MPS clients, or one that knows none of the daemon's, the daemon's list says who is a client, and NVML who
/// computes.
///
/// `claimed` are in the tree by the engine's word alone: as clients they are its own, elsewhere they prove nothing.
pub(crate) fn attachment(
    tree: &[ProcessId],
    claimed: &BTreeSet<ProcessId>,
    clients: &BTreeSet<u32>,
    server: Option<u32>,
    reading: Option<&Reading>,
) -> Attachment {
    let is_client = |process: &ProcessId| clients.contains(&process.pid);
    let Some(reading) = reading.filter(|reading| reading.pids_match(clients, server)) else {
        return if tree.iter().any(is_client) { Attachment::Attached } else { Attachment::Absent };
    };
    let counts = |process: &&ProcessId| is_client(process) || !claimed.contains(process);
    let mut on_gpu = tree.iter().filter(counts).filter(|process| reading.lists(process.pid)).peekable();
    if on_gpu.peek().is_none() {
        return Attachment::Absent;
    }
    let mut outside = Outside::default();
    let nvml_knows = reading.knows_clients(clients);
    for process in on_gpu {
        match (reading.is_client(process.pid), is_client(process)) {
            (true, true) => {}
            (false, true) if !nvml_knows => {}
            (true, false) => outside.elsewhere.push(process.pid),
            (false, _) => outside.past.push(process.pid),
        }
    }
    if outside == Outside::default() { Attachment::Attached } else { Attachment::Outside(outside) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GpuProcess, GpuReading};

    fn reading(compute: &[u32], mps: &[u32]) -> Reading {
        let list = |pids: &[u32]| pids.iter().map(|pid| GpuProcess { pid: *pid, memory: None }).collect();
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

    fn judge(clients: &[u32], reading: Option<&Reading>) -> Attachment {
        let tree = [ProcessId { pid: 10, started_at: 1 }, ProcessId { pid: 11, started_at: 1 }];
        attachment(&tree, &BTreeSet::new(), &clients.iter().copied().collect(), Some(5), reading)
    }

    #[test]
    fn who_only_claims_to_be_an_engines_is_no_evidence_against_it() {
        let tree = [ProcessId { pid: 10, started_at: 1 }, ProcessId { pid: 11, started_at: 1 }];
        let judge = |claimed: u32, clients: &[u32]| {
            let claimed = BTreeSet::from([ProcessId { pid: claimed, started_at: 1 }]);
            let reading = reading(&[5, 10, 11], clients);
            attachment(&tree, &claimed, &clients.iter().copied().collect(), Some(5), Some(&reading))
        };
        assert_eq!(judge(11, &[10]), Attachment::Attached);
        assert_eq!(judge(10, &[11]), Attachment::Attached);
        // As a client it is the engine's.
        assert_eq!(judge(11, &[10, 11]), Attachment::Attached);
        // What is proven stays evidence.
        assert_eq!(judge(12, &[10]), outside(&[11], &[]));
    }

    fn outside(past: &[u32], elsewhere: &[u32]) -> Attachment {
        Attachment::Outside(Outside { past: past.to_vec(), elsewhere: elsewhere.to_vec() })
    }

    #[test]
    fn a_child_that_is_a_client_attaches_the_tree() {
        assert_eq!(judge(&[11], Some(&reading(&[5, 11], &[11]))), Attachment::Attached);
    }

    #[test]
    fn a_process_on_the_gpu_past_every_server_is_outside() {
        assert_eq!(judge(&[11], Some(&reading(&[5, 10, 11], &[11]))), outside(&[10], &[]));
    }

    #[test]
    fn a_client_of_another_server_is_outside_this_one() {
        assert_eq!(judge(&[12], Some(&reading(&[5, 11, 12], &[11, 12]))), outside(&[], &[11]));
    }

    #[test]
    fn a_tree_that_is_not_on_the_gpu_is_absent_and_not_outside() {
        assert_eq!(judge(&[12], Some(&reading(&[5, 12], &[12]))), Attachment::Absent);
    }

    #[test]
    fn where_nvml_shows_other_pids_the_daemon_decides_and_nobody_is_outside() {
        assert_eq!(judge(&[11], Some(&reading(&[4005, 4011], &[4011]))), Attachment::Attached);
        assert_eq!(judge(&[12], Some(&reading(&[4005, 4011], &[4011]))), Attachment::Absent);
    }

    #[test]
    fn where_nvmls_list_of_clients_knows_none_of_the_daemons_the_daemon_decides() {
        for mps in [Some(vec![]), Some(vec![GpuProcess { pid: 99, memory: None }]), None] {
            let there = Reading::from(GpuReading { mps, ..(*reading(&[5, 10, 11, 12], &[])).clone() });
            assert_eq!(judge(&[10, 11], Some(&there)), Attachment::Attached);
            assert_eq!(judge(&[11], Some(&there)), outside(&[10], &[]), "it computes and is no client of anybody");
            assert_eq!(judge(&[12], Some(&there)), outside(&[10, 11], &[]));
        }
    }

    #[test]
    fn without_nvml_the_daemon_decides_and_nobody_is_outside() {
        assert_eq!(judge(&[11], None), Attachment::Attached);
        assert_eq!(judge(&[12], None), Attachment::Absent);
    }
}
