//! Whether the old generation's device memory is back. Unknown is not back: it fails closed.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::GpuReading;

/// What a GPU may hold over what is accounted for: contexts that the driver keeps and rounds.
const TOLERANCE: u64 = 256 << 20;

/// The GPU before the kill. What NVML did not say then is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    used: Option<u64>,
    /// Which of the two lists there were.
    lists: [bool; 2],
    old: BTreeMap<u32, u64>,
    others: BTreeMap<u32, u64>,
}

/// Why the memory is not back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotBack {
    /// Something of it is still there.
    Held(String),
    /// A figure that was there before the kill is not there now.
    Unknown(String),
}

/// Whether the GPU says how much of its memory is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryFigure {
    /// It has said so, at least once.
    Known,
    /// The GPU has never said so.
    Never,
}

/// Takes the last reading before the kill; `old` are the pids that will be killed.
pub(crate) fn baseline(reading: &GpuReading, old: &BTreeSet<u32>) -> Baseline {
    let (old, others) = by_pid(reading).into_iter().partition(|(pid, _)| old.contains(pid));
    Baseline { used: reading.memory_used, lists: lists(reading), old, others }
}

impl Baseline {
    /// `Ok` when everything is back; else what is still missing. On a GPU that never had a figure of its memory (GB10),
    /// and where NVML lists no processes, the processes' end is the proof.
    pub(crate) fn back(&self, reading: &GpuReading, old: &BTreeSet<u32>, figure: MemoryFigure) -> Result<(), NotBack> {
        let lost = self.lists.iter().zip(lists(reading)).any(|(before, now)| *before && !now);
        if lost {
            return Err(NotBack::Unknown("NVML lists the GPU's processes no more".to_owned()));
        }
        let now = by_pid(reading);
        if let Some(pid) = now.keys().find(|pid| self.old.contains_key(pid) || old.contains(pid)) {
            return Err(NotBack::Held(format!("NVML still lists process {pid} of the old generation")));
        }
        let (before, used) = match (self.used, reading.memory_used) {
            (Some(before), Some(used)) => (before, used),
            (None, None) if figure == MemoryFigure::Never => return Ok(()),
            _ => return Err(NotBack::Unknown("NVML does not say how much of the GPU's memory is in use".to_owned())),
        };
        let sum = |processes: &BTreeMap<u32, u64>| processes.values().fold(0u64, |sum, held| sum.saturating_add(*held));
        // What others gave back since counts too: it must not cover for what the old still hold.
        let given = sum(&self.old).saturating_add(sum(&self.others));
        let allowed = before.saturating_add(sum(&now)).saturating_sub(given).saturating_add(TOLERANCE);
        if used <= allowed {
            return Ok(());
        }
        Err(NotBack::Held(format!("{} MiB are in use, {} MiB are accounted for", used >> 20, allowed >> 20)))
    }
}

fn lists(reading: &GpuReading) -> [bool; 2] {
    [reading.compute.is_some(), reading.mps.is_some()]
}

/// Each process once, with the larger figure of the two lists.
fn by_pid(reading: &GpuReading) -> BTreeMap<u32, u64> {
    let mut memory = BTreeMap::new();
    for process in reading.compute.iter().chain(&reading.mps).flatten() {
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
            memory_used: Some(used_gib * GIB),
            memory_total: Some(140 * GIB),
            busy: None,
            compute: Some(list),
            mps: Some(vec![]),
            recovery_action: None,
        }
    }

    fn old() -> BTreeSet<u32> {
        BTreeSet::from([10, 11])
    }

    #[test]
    fn memory_is_back_when_the_old_are_gone_and_so_is_what_they_held() {
        let before = baseline(&reading(61, &[(10, 20), (11, 20), (7, 20)]), &old());
        assert_eq!(before.back(&reading(21, &[(7, 20)]), &old(), MemoryFigure::Known), Ok(()));
    }

    #[test]
    fn an_old_process_in_a_list_is_not_back() {
        let before = baseline(&reading(61, &[(10, 20), (11, 20)]), &old());
        assert!(before.back(&reading(21, &[(11, 0)]), &old(), MemoryFigure::Known).is_err());
    }

    #[test]
    fn memory_without_an_owner_is_not_back() {
        let before = baseline(&reading(41, &[(10, 20), (11, 20)]), &old());
        assert!(before.back(&reading(3, &[]), &old(), MemoryFigure::Known).is_err());
    }

    #[test]
    fn what_others_took_since_is_theirs() {
        let before = baseline(&reading(41, &[(10, 20), (11, 20)]), &old());
        assert_eq!(before.back(&reading(31, &[(99, 30)]), &old(), MemoryFigure::Known), Ok(()));
    }

    #[test]
    fn what_others_gave_back_hides_nothing() {
        let before = baseline(&reading(81, &[(10, 20), (11, 20), (7, 40)]), &old());
        assert_eq!(before.back(&reading(1, &[]), &old(), MemoryFigure::Known), Ok(()));
        assert!(before.back(&reading(41, &[]), &old(), MemoryFigure::Known).is_err());
    }

    fn is_unknown(result: Result<(), NotBack>) -> bool {
        matches!(result, Err(NotBack::Unknown(_)))
    }

    #[test]
    fn a_figure_that_was_there_before_the_kill_is_unknown_without_it() {
        let whole = reading(41, &[(10, 20), (11, 20)]);
        let before = baseline(&whole, &old());
        let after = reading(1, &[]);
        assert!(is_unknown(before.back(
            &GpuReading { memory_used: None, ..after.clone() },
            &old(),
            MemoryFigure::Known
        )));
        assert!(is_unknown(before.back(&GpuReading { compute: None, ..after.clone() }, &old(), MemoryFigure::Known)));
        assert!(is_unknown(before.back(&GpuReading { mps: None, ..after.clone() }, &old(), MemoryFigure::Known)));
        let blind = baseline(&GpuReading { memory_used: None, ..whole }, &old());
        assert!(is_unknown(blind.back(&after, &old(), MemoryFigure::Known)), "it had a figure once");
    }

    #[test]
    fn on_a_gpu_that_never_had_a_figure_the_processes_end_is_the_proof() {
        let without = |processes: &[(u32, u64)]| GpuReading { memory_used: None, ..reading(0, processes) };
        let before = baseline(&without(&[(10, 20), (11, 20)]), &old());
        assert_eq!(before.back(&without(&[]), &old(), MemoryFigure::Never), Ok(()));
        assert!(matches!(before.back(&without(&[(11, 20)]), &old(), MemoryFigure::Never), Err(NotBack::Held(_))));
    }

    #[test]
    fn where_nvml_has_no_lists_the_sum_decides() {
        let nothing = |used| GpuReading { compute: None, mps: None, ..reading(used, &[]) };
        let before = baseline(&nothing(41), &old());
        assert_eq!(before.back(&nothing(1), &old(), MemoryFigure::Known), Ok(()));
        assert!(before.back(&nothing(42), &old(), MemoryFigure::Known).is_err());
    }
}
