//! One GPU: its readings, its own health, whether its SMs are taken; and several as one, for a group over them.

use super::gpu_health::GpuHealth;
use super::reading::Reading;
use super::taken::Taken;
use crate::model::gpu::{ComputeMode, RecoveryAction};
use crate::model::{GpuIdentity, Known, Moment};

/// A GPU.
#[derive(Clone, Debug)]
pub(crate) struct GpuFacts {
    pub identity: GpuIdentity,
    pub reading: Known<Reading>,
    pub taken: Taken,
    pub health: GpuHealth,
    /// Action of the driver that was last reported.
    pub emitted_action: Option<RecoveryAction>,
    /// Time since which every reading has failed, and why the last did.
    pub unread: Option<(Moment, String)>,
    /// It had a figure of its memory once.
    pub has_memory: bool,
    /// Where this is of several GPUs as one: each of them.
    pub parts: Vec<GpuFacts>,
}

impl GpuFacts {
    /// A GPU of which nothing was seen yet.
    pub(crate) fn new(identity: GpuIdentity) -> Self {
        GpuFacts {
            identity,
            reading: Known::Unknown,
            taken: Taken::default(),
            health: GpuHealth::default(),
            emitted_action: None,
            unread: None,
            has_memory: false,
            parts: Vec::new(),
        }
    }

    /// What is known of several GPUs as one: what is known of all of them, as old as the oldest, and the worst health of
    /// any. One of them is itself; `None`: there is none.
    pub(crate) fn joined(parts: &[&GpuFacts]) -> Option<GpuFacts> {
        let [first, others @ ..] = parts else { return None };
        if others.is_empty() {
            return Some((*first).clone());
        }
        let sick = parts.iter().find(|gpu| gpu.health.ailment().is_some());
        let absent = || parts.iter().find(|gpu| gpu.identity.absent);
        let exclusive = parts.iter().any(|gpu| gpu.identity.compute_mode == ComputeMode::ExclusiveProcess);
        let of = sick.or_else(absent).unwrap_or(first);
        let mut identity = of.identity.clone();
        if exclusive {
            identity.compute_mode = ComputeMode::ExclusiveProcess;
        }
        Some(GpuFacts {
            identity,
            reading: joined_reading(parts),
            taken: Taken::of_all(parts.iter().map(|gpu| &gpu.taken)),
            health: GpuHealth::worst(parts.iter().map(|gpu| &gpu.health)),
            emitted_action: None,
            unread: parts.iter().filter_map(|gpu| gpu.unread.clone()).min_by_key(|(since, _)| *since),
            has_memory: parts.iter().any(|gpu| gpu.has_memory),
            parts: parts.iter().map(|gpu| (*gpu).clone()).collect(),
        })
    }

    /// Each GPU by itself.
    pub(crate) fn each(&self) -> impl Iterator<Item = &GpuFacts> {
        self.parts.iter().chain(self.parts.is_empty().then_some(self))
    }

    /// The GPU that these processes use: the one of several on which NVML shows them; all as one, where that is not one.
    pub(crate) fn used_by(&self, mut pids: impl FnMut(&Reading) -> bool) -> &GpuFacts {
        let mut used = self.parts.iter().filter(|gpu| gpu.reading.last().is_some_and(&mut pids));
        match (used.next(), used.next()) {
            (Some(only), None) => only,
            _ => self,
        }
    }

    /// A look at it failed.
    pub(crate) fn is_unread(&mut self, why: String, now: Moment) {
        let since = self.unread.as_ref().map_or(now, |(since, _)| *since);
        self.unread = Some((since, why));
    }

    /// NVML read it.
    pub(crate) fn saw(&mut self, reading: Reading, now: Moment) {
        self.taken.saw(reading.activity.and_then(|activity| activity.sm_active), now);
        self.has_memory |= reading.memory_used.is_some();
        self.identity.memory_total = self.identity.memory_total.or(reading.memory_total);
        self.unread = None;
        self.reading.saw(reading, now);
    }
}

/// The readings of several GPUs as one, as old as the oldest; unknown until each was read.
fn joined_reading(parts: &[&GpuFacts]) -> Known<Reading> {
    let oldest = parts.iter().map(|gpu| gpu.reading.at()).min().flatten();
    let all: Option<Vec<&Reading>> = parts.iter().map(|gpu| gpu.reading.last()).collect();
    match (all.and_then(|all| Reading::joined(&all)), oldest) {
        (Some(value), Some(at)) => Known::Seen { value, at },
        _ => Known::Unknown,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::model::{GpuProcess, GpuReading, GpuUuid};

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    fn gpu(index: u32, pids: &[(u32, u64)], read_at: u64) -> GpuFacts {
        let mut gpu = GpuFacts::new(GpuIdentity::absent(GpuUuid::of_index(index), Some(index)));
        gpu.identity.absent = false;
        gpu.identity.compute_mode = ComputeMode::Default;
        let list: Vec<GpuProcess> =
            pids.iter().map(|(pid, memory)| GpuProcess { pid: *pid, memory: Some(*memory) }).collect();
        let reading = GpuReading {
            activity: None,
            memory_used: Some(10),
            memory_total: Some(100),
            busy: None,
            compute: Some(list.clone()),
            mps: Some(list),
            recovery_action: None,
        };
        gpu.saw(Reading::from(reading), at(read_at));
        gpu
    }

    #[test]
    fn several_as_one_are_read_when_each_was_and_a_process_on_two_holds_what_it_has_on_both() {
        let (one, two) = (gpu(0, &[(11, 3), (12, 4)], 100), gpu(1, &[(12, 5)], 70));
        let joined = GpuFacts::joined(&[&one, &two]).unwrap();
        let reading = joined.reading.last().unwrap();
        assert_eq!(joined.reading.at(), Some(at(70)));
        assert_eq!(reading.memory_of(&BTreeSet::from([11, 12])), Some(12));
        assert_eq!((reading.memory_used, reading.memory_total), (Some(20), Some(200)));
        let unread = GpuFacts::new(GpuIdentity::absent(GpuUuid::of_index(2), Some(2)));
        assert_eq!(GpuFacts::joined(&[&one, &unread]).unwrap().reading.at(), None);
    }

    #[test]
    fn one_that_is_lost_makes_all_of_them_unfit() {
        let (one, mut two) = (gpu(0, &[], 1), gpu(1, &[], 1));
        two.health.lost("it is off the bus".to_owned(), at(2));
        let joined = GpuFacts::joined(&[&one, &two]).unwrap();
        assert_eq!((joined.health.ailment().is_some(), joined.identity.index), (true, Some(1)));
    }

    #[test]
    fn a_process_on_one_of_several_uses_that_one() {
        let (one, two) = (gpu(0, &[(11, 1), (12, 1)], 1), gpu(1, &[(12, 1)], 1));
        let joined = GpuFacts::joined(&[&one, &two]).unwrap();
        let used = |pid| joined.used_by(|reading| reading.lists(pid)).parts.len();
        assert_eq!((used(11), used(12), used(13)), (0, 2, 2));
    }
}
