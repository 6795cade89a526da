//! One engine's limits as they are: what its processes were told, what NVML shows them to hold, and which of
//! these faults a restart did not mend. What follows is decided in `detect`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{EngineKey, Fault, Known, Moment, MpsEnvironment, ProcessId};

use super::detect::Finding;
use super::domain::Domain;
use super::engine::{Engine, Stage};
use super::reading::Reading;

/// What NVML may show over a limit. On an H200 a client at its limit showed 2 MiB more, whatever the limit: the
/// limit counts the context too (docs/h200.md). The rest is for other GPUs and drivers.
const TOLERANCE: u64 = 64 << 20;
/// One reading may be of a moment in between.
const READINGS: u32 = 2;
/// An engine that is ready waits so long, at most, for the word on what it was told.
const WAITS: Duration = Duration::from_millis(500);

/// One engine's.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    /// What its processes were told, of this incarnation: as last seen before any of them overwrote it.
    pub told: Known<Vec<MpsEnvironment>>,
    /// Those of them of which it was never seen.
    overwritten: Vec<ProcessId>,
    /// When its processes changed last, and when they were last looked at.
    changed: Moment,
    looked: Option<Moment>,
    pub over: Option<Over>,
}

/// Faults of one engine's limits that a restart was tried for, and when each was last there.
#[derive(Clone, Debug, Default)]
pub(super) struct Tried(BTreeMap<Fault, Moment>);

/// It holds more device memory than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub since: Moment,
    readings: u32,
    /// Bytes that its whole tree holds.
    pub held: u64,
    /// Bytes that the largest of its processes holds: MPS limits each by itself.
    pub largest: u64,
}

impl Limits {
    /// What its processes were told, of those that show it; the others are as they were known to be.
    fn told(&mut self, mut processes: Vec<MpsEnvironment>, overwritten: Vec<ProcessId>, now: Moment) {
        let before = self.told.last().map_or(&[][..], Vec::as_slice);
        let known = |process: &ProcessId| before.iter().find(|told| told.process == *process).copied();
        processes.extend(overwritten.iter().filter_map(known));
        self.overwritten = overwritten.into_iter().filter(|process| known(process).is_none()).collect();
        self.told.saw(processes, now);
        self.looked = Some(now);
    }

    /// Our own start told it so, whatever it shows later. A wrapper may yet drop it: what can be read says more.
    pub fn started_with(&mut self, told: MpsEnvironment, now: Moment) {
        self.told.saw(vec![told], now);
    }

    /// Processes of which nobody knows what they were told.
    pub fn overwritten(&self) -> &[ProcessId] {
        &self.overwritten
    }

    /// It has other processes than before.
    pub fn processes_changed(&mut self, now: Moment) {
        self.changed = now;
    }

    /// It holds more than its limit, by more than one reading.
    pub fn exceeded(&self) -> Option<&Over> {
        self.over.as_ref().filter(|over| over.readings >= READINGS)
    }

    fn read(&mut self, over: Option<(u64, u64)>, now: Moment) {
        self.over = over.map(|(held, largest)| match self.over {
            Some(before) => Over { readings: before.readings.saturating_add(1), held, largest, ..before },
            None => Over { since: now, readings: 1, held, largest },
        });
    }
}

impl Tried {
    /// When a fault that a restart was tried for was last there; `None`: none was tried for it.
    pub fn last_there(&self, fault: Fault) -> Option<Moment> {
        self.0.get(&fault).copied()
    }

    /// A restart is tried for it.
    pub fn tries(&mut self, fault: Fault, now: Moment) {
        if matches!(fault, Fault::LimitMissing | Fault::LimitExceeded) {
            self.0.insert(fault, now);
        }
    }

    fn still_there(&mut self, fault: Fault, now: Moment) {
        if let Some(last) = self.0.get_mut(&fault) {
            *last = now;
        }
    }
}

impl Engine {
    /// It has limits that MPS enforces.
    pub fn is_limited(&self) -> bool {
        !self.instance.outside && (self.policy.device_memory_limit.is_some() || self.policy.sm_limited)
    }

    /// Whether a look at what its processes were told is wanted: it has limits, and none since they changed.
    pub fn wants_environment(&self) -> bool {
        self.is_limited()
            && self
                .instance
                .limits
                .looked
                .is_none_or(|looked| looked < self.instance.limits.changed.max(self.instance.process.started))
    }

    /// It is healthy, and the word on what it was told is still to come.
    pub fn awaits_environment(&self, now: Moment) -> bool {
        self.environment_due().is_some_and(|due| now < due)
    }

    /// When it serves without that word.
    pub fn environment_due(&self) -> Option<Moment> {
        let awaits = self.stage == Stage::Starting && self.wants_environment();
        self.instance.probes.good_since.filter(|_| awaits).map(|since| since.after(WAITS))
    }

    /// Bytes of device memory that MPS lets it have; outside MPS on purpose nobody limits it.
    pub fn device_memory_limit(&self) -> Option<u64> {
        self.policy.device_memory_limit.filter(|_| !self.instance.outside)
    }

    fn over_limit(&self, reading: &Reading) -> Option<(u64, u64)> {
        let limit = self.device_memory_limit().filter(|_| self.is_counted())?.saturating_add(TOLERANCE);
        let pids = self.instance.proven()?.map(|process| process.pid);
        let each: Option<Vec<u64>> =
            pids.filter(|pid| reading.lists(*pid)).map(|pid| reading.memory_of(&[pid].into())).collect();
        let each = each?;
        let held = each.iter().fold(0u64, |sum, held| sum.saturating_add(*held));
        (held > limit).then(|| (held, each.into_iter().max().unwrap_or(0)))
    }
}

impl Domain {
    /// Holds what NVML shows of each engine against its limit.
    pub fn note_limits(&mut self, reading: &Reading, now: Moment) {
        for engine in self.engines.iter_mut().filter(|engine| engine.alive()) {
            let over = engine.over_limit(reading);
            engine.instance.limits.read(over, now);
        }
    }

    /// What an engine's processes were told, and those that show it no more. One of an older incarnation is of no interest.
    pub fn environment(
        &mut self,
        key: &EngineKey,
        processes: Vec<MpsEnvironment>,
        overwritten: Vec<ProcessId>,
        now: Moment,
    ) {
        if let Some(engine) = self.engine_mut(&key.engine).filter(|engine| engine.instance.process.id.is_some()) {
            engine.instance.limits.told(processes, overwritten, now);
        }
    }

    /// Faults that a restart was tried for and that are still there: no other restart is tried for them.
    pub fn note_unmended(&mut self, found: &[Finding], now: Moment) {
        for finding in found {
            if let Some(engine) = finding.engine.as_ref().and_then(|name| self.engine_mut(name)) {
                engine.tried.still_there(finding.fault, now);
            }
        }
    }

    /// Whether the process is a client, of this server or of another, as far as is known.
    pub fn uses_the_gpu(&self, process: ProcessId, reading: Option<&Reading>) -> bool {
        let is_client = self.server.clients.last().is_some_and(|clients| clients.contains(&process.pid));
        is_client || reading.is_some_and(|reading| reading.lists(process.pid))
    }
}
