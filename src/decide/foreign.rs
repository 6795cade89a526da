//! Processes that compute on a GPU and belong to none of its groups. It only informs.

use std::collections::BTreeSet;

use super::engine::Engine;
use super::group::Group;
use super::reading::Reading;

/// How many processes NVML shows on the GPU that are no client of any MPS server, no server of these groups,
/// and in no tree of their engines. `None`: a tree is not known yet, or NVML shows other pids than ours.
pub(super) fn foreign_processes(reading: &Reading, groups: &[&Group]) -> Option<u32> {
    let known = |group: &Group| {
        let tree_known = |engine: &Engine| !engine.alive() || engine.tree.last().is_some();
        group.pids_match && group.trees_seen.last().is_some() && group.engines.iter().all(tree_known)
    };
    if !groups.iter().all(|group| known(group)) {
        return None;
    }
    let is_server = |pid: &u32| groups.iter().any(|group| group.server.pid == Some(*pid));
    let mut beside: BTreeSet<u32> = reading.beside_mps().filter(|pid| !is_server(pid)).collect();
    if !beside.is_empty() {
        groups.iter().flat_map(|group| group.pids()).for_each(|pid| {
            beside.remove(&pid);
        });
    }
    u32::try_from(beside.len()).ok()
}
