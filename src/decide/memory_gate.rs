//! Whether the old generation's device memory is back. Unknown is not back: it fails closed.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::GpuReading;

/// What a GPU may hold over what is accounted for: contexts that the driver keeps and rounds.
const TOLERANCE: u64 = 256 << 20;

/// The GPU before the kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Baseline {
    used: u64,
    old: BTreeMap<u32, u64>,
    others: BTreeMap<u32, u64>,
}

/// Takes the last reading before the kill; `old` are the pids that will be killed.
pub(super) fn baseline(reading: &GpuReading, old: &BTreeSet<u32>) -> Baseline {
    let (old, others) = by_pid(reading).into_iter().partition(|(pid, _)| old.contains(pid));
    Baseline { used: reading.memory_used, old, others }
}

impl Baseline {
    /// `Ok` when everything is back; `Err` says what is still missing.
    pub fn back(&self, reading: &GpuReading, old: &BTreeSet<u32>) -> Result<(), String> {
        let now = by_pid(reading);
        if let Some(pid) = now.keys().find(|pid| self.old.contains_key(pid) || old.contains(pid)) {
            return Err(format!("NVML still lists process {pid} of the old generation"));
        }
        let sum = |processes: &BTreeMap<u32, u64>| processes.values().fold(0u64, |sum, held| sum.saturating_add(*held));
        // What others gave back since counts too: it must not cover for what the old still hold.
        let given = sum(&self.old).saturating_add(sum(&self.others));
        let allowed = self.used.saturating_add(sum(&now)).saturating_sub(given).saturating_add(TOLERANCE);
        if reading.memory_used <= allowed {
            return Ok(());
        }
        Err(format!("{} MiB are in use, {} MiB are accounted for", reading.memory_used >> 20, allowed >> 20))
    }
}

/// Each process once, with the larger figure of the two lists.
fn by_pid(reading: &GpuReading) -> BTreeMap<u32, u64> {
    let mut memory = BTreeMap::new();
    for process in reading.compute.iter().chain(&reading.mps) {
        let held = memory.entry(process.pid).or_insert(0);
        *held = process.memory.unwrap_or(0).max(*held);
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GpuProcess;

    const GIB: u64 = 1 << 30;

    fn reading(used_gib: u64, processes: &[(u32, u64)]) -> GpuReading {
        let list = processes.iter().map(|(pid, gib)| GpuProcess { pid: *pid, memory: Some(gib * GIB) }).collect();
        GpuReading {
            activity: None,
            memory_used: used_gib * GIB,
            memory_total: 140 * GIB,
            busy: None,
            compute: list,
            mps: vec![],
            recovery_action: None,
        }
    }

    fn old() -> BTreeSet<u32> {
        BTreeSet::from([10, 11])
    }

    #[test]
    fn memory_is_back_when_the_old_are_gone_and_so_is_what_they_held() {
        let before = baseline(&reading(61, &[(10, 20), (11, 20), (7, 20)]), &old());
        assert_eq!(before.back(&reading(21, &[(7, 20)]), &old()), Ok(()));
    }

    #[test]
    fn an_old_process_in_a_list_is_not_back() {
        let before = baseline(&reading(61, &[(10, 20), (11, 20)]), &old());
        assert!(before.back(&reading(21, &[(11, 0)]), &old()).is_err());
    }

    #[test]
    fn memory_without_an_owner_is_not_back() {
        let before = baseline(&reading(41, &[(10, 20), (11, 20)]), &old());
        assert!(before.back(&reading(3, &[]), &old()).is_err());
    }

    #[test]
    fn what_others_took_since_is_theirs() {
        let before = baseline(&reading(41, &[(10, 20), (11, 20)]), &old());
        assert_eq!(before.back(&reading(31, &[(99, 30)]), &old()), Ok(()));
    }

    #[test]
    fn what_others_gave_back_hides_nothing() {
        let before = baseline(&reading(81, &[(10, 20), (11, 20), (7, 40)]), &old());
        assert_eq!(before.back(&reading(1, &[]), &old()), Ok(()));
        assert!(before.back(&reading(41, &[]), &old()).is_err());
    }
}
