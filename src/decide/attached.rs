//! Whether an engine's process tree is attached: clients of this group's server, all that is on the GPU.

use std::collections::BTreeSet;

use crate::model::ProcessId;

use super::reading::Reading;

/// `false`: it runs outside MPS, or is not on the GPU at all. Without a reading of NVML, or where
/// NVML shows other pids than ours (in some containers), the daemon's client list decides alone.
pub(super) fn attached(
    tree: &[ProcessId],
    clients: &BTreeSet<u32>,
    server: Option<u32>,
    reading: Option<&Reading>,
) -> bool {
    let is_client = |process: &ProcessId| clients.contains(&process.pid);
    let Some(reading) = reading.filter(|reading| reading.pids_match(clients, server)) else {
        return tree.iter().any(is_client);
    };
    let mut on_gpu = tree.iter().filter(|process| reading.lists(process.pid)).peekable();
    on_gpu.peek().is_some() && on_gpu.all(|process| reading.is_client(process.pid) && is_client(process))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GpuProcess, GpuReading};

    fn reading(compute: &[u32], mps: &[u32]) -> Reading {
        let list = |pids: &[u32]| pids.iter().map(|pid| GpuProcess { pid: *pid, memory: None }).collect();
        Reading::from(GpuReading {
            activity: None,
            memory_used: 0,
            memory_total: 0,
            busy: None,
            compute: list(compute),
            mps: list(mps),
            recovery_action: None,
        })
    }

    fn judge(clients: &[u32], reading: Option<&Reading>) -> bool {
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
