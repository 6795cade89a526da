//! Whether an engine's process tree is attached: clients of this group's server, all that is on the GPU.

use std::collections::BTreeSet;

use crate::model::{GpuReading, ProcessId};

/// `Some(false)`: it runs outside MPS, or is not on the GPU at all. Without a reading of NVML, or where
/// NVML shows other pids than ours (in some containers), the daemon's client list decides alone.
pub(super) fn attached(
    tree: &[ProcessId],
    clients: &BTreeSet<u32>,
    server: Option<u32>,
    reading: Option<&GpuReading>,
) -> bool {
    let pids: BTreeSet<u32> = tree.iter().map(|process| process.pid).collect();
    let Some(reading) = reading.filter(|reading| pids_match(reading, clients, server)) else {
        return !pids.is_disjoint(clients);
    };
    let mps: BTreeSet<u32> = reading.mps.iter().map(|process| process.pid).collect();
    let on_gpu: BTreeSet<u32> = reading
        .compute
        .iter()
        .map(|process| process.pid)
        .chain(mps.iter().copied())
        .filter(|pid| pids.contains(pid))
        .collect();
    !on_gpu.is_empty() && on_gpu.iter().all(|pid| mps.contains(pid) && clients.contains(pid))
}

/// Whether NVML speaks of the same pids as the control daemon: it lists the server or one of its clients.
pub(super) fn pids_match(reading: &GpuReading, clients: &BTreeSet<u32>, server: Option<u32>) -> bool {
    let listed = |pid: u32| reading.compute.iter().chain(&reading.mps).any(|process| process.pid == pid);
    server.is_some_and(listed) || clients.iter().any(|client| listed(*client))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GpuProcess;

    fn reading(compute: &[u32], mps: &[u32]) -> GpuReading {
        let list = |pids: &[u32]| pids.iter().map(|pid| GpuProcess { pid: *pid, memory: None }).collect();
        GpuReading {
            activity: None,
            memory_used: 0,
            memory_total: 0,
            busy: None,
            compute: list(compute),
            mps: list(mps),
            recovery_action: None,
        }
    }

    fn judge(clients: &[u32], reading: Option<&GpuReading>) -> bool {
        let tree = [ProcessId { pid: 10, started_at: 1 }, ProcessId { pid: 11, started_at: 1 }];
        attached(&tree, &clients.iter().copied().collect(), Some(5), reading)
    }

    #[test]
    fn a_child_that_is_a_client_attaches_the_tree() {
        assert!(judge(&[11], Some(&reading(&[5, 11], &[11]))));
    }

    #[test]
    fn a_process_on_the_gpu_outside_the_server_detaches_the_tree() {
        assert!(!judge(&[11], Some(&reading(&[5, 10, 11], &[11]))));
    }

    #[test]
    fn a_client_of_another_server_is_not_attached_to_this_one() {
        assert!(!judge(&[12], Some(&reading(&[5, 11, 12], &[11, 12]))));
    }

    #[test]
    fn a_tree_that_is_not_on_the_gpu_is_not_attached() {
        assert!(!judge(&[12], Some(&reading(&[5, 12], &[12]))));
    }

    #[test]
    fn where_nvml_shows_other_pids_the_daemon_decides() {
        assert!(judge(&[11], Some(&reading(&[4005, 4011], &[4011]))));
        assert!(!judge(&[12], Some(&reading(&[4005, 4011], &[4011]))));
    }

    #[test]
    fn without_nvml_the_daemon_decides() {
        assert!(judge(&[11], None));
    }
}
