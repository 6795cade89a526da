//! One engine's limits as they are: what its processes were started with, what NVML shows them to hold, and which of
//! these faults a restart did not mend.

use std::collections::BTreeMap;

use crate::model::{Fault, Known, Moment, MpsEnvironment, ProcessId};

/// Readings that must agree: one may be of a moment in between.
const READINGS: u32 = 2;

/// One engine's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    /// Settings of its processes, of this incarnation: as last seen before any of them overwrote it.
    pub settings: Known<Vec<MpsEnvironment>>,
    /// Those of them of which it was never seen.
    overwritten: Vec<ProcessId>,
    /// When its processes changed last, and when they were last looked at.
    pub changed: Moment,
    pub looked: Option<Moment>,
    pub over: Option<Over>,
}

/// Faults of one engine's limits that a restart was tried for, and when each was last there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tried(BTreeMap<Fault, Moment>);

/// It holds more device memory than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    pub since: Moment,
    readings: u32,
    /// Bytes that its whole tree holds.
    pub held: u64,
    /// Bytes that the largest of its processes holds: MPS limits each by itself.
    pub largest: u64,
}

impl Limits {
    /// The settings of its processes, of those that show it; the others are as they were known to be.
    pub(crate) fn saw_settings(
        &mut self,
        mut processes: Vec<MpsEnvironment>,
        overwritten: Vec<ProcessId>,
        now: Moment,
    ) {
        let before = self.settings.last().map_or(&[][..], Vec::as_slice);
        let known = |process: &ProcessId| before.iter().find(|seen| seen.process == *process).copied();
        processes.extend(overwritten.iter().filter_map(known));
        self.overwritten = overwritten.into_iter().filter(|process| known(process).is_none()).collect();
        self.settings.saw(processes, now);
        self.looked = Some(now);
    }

    /// Our own start set it so, whatever it shows later. A wrapper may yet drop it: what can be read says more.
    pub(crate) fn started_with(&mut self, settings: MpsEnvironment, now: Moment) {
        self.settings.saw(vec![settings], now);
    }

    /// Processes whose settings are not known.
    pub(crate) fn overwritten(&self) -> &[ProcessId] {
        &self.overwritten
    }

    /// It has other processes than before.
    pub(crate) fn processes_changed(&mut self, now: Moment) {
        self.changed = now;
    }

    /// It holds more than its limit, by more than one reading.
    pub(crate) fn exceeded(&self) -> Option<&Over> {
        self.over.as_ref().filter(|over| over.readings >= READINGS)
    }

    pub(crate) fn read(&mut self, over: Option<(u64, u64)>, now: Moment) {
        self.over = over.map(|(held, largest)| match self.over {
            Some(before) => Over { readings: before.readings.saturating_add(1), held, largest, ..before },
            None => Over { since: now, readings: 1, held, largest },
        });
    }
}

impl Tried {
    /// When a fault that a restart was tried for was last there; `None`: none was tried for it.
    pub(crate) fn last_there(&self, fault: Fault) -> Option<Moment> {
        self.0.get(&fault).copied()
    }

    /// A restart is tried for it.
    pub(crate) fn tries(&mut self, fault: Fault, now: Moment) {
        if matches!(fault, Fault::LimitMissing | Fault::LimitExceeded) {
            self.0.insert(fault, now);
        }
    }

    pub(crate) fn still_there(&mut self, fault: Fault, now: Moment) {
        if let Some(last) = self.0.get_mut(&fault) {
            *last = now;
        }
    }
}
