//! What limits an engine, and whether the look at its processes' settings is still to come.

use std::time::Duration;

use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::stage::Stage;
use crate::decide::policy::MpsUse;
use crate::model::Moment;

impl Engine {
    /// It has limits that MPS enforces.
    pub(crate) fn is_limited(&self) -> bool {
        self.instance.mps == MpsUse::Client && (self.policy.device_memory_limit.is_some() || self.policy.sm_limited)
    }

    /// Whether a look at its processes' settings is wanted: it has limits, and none since they changed.
    pub(crate) fn wants_environment(&self) -> bool {
        self.is_limited()
            && self
                .instance
                .limits
                .looked
                .is_none_or(|looked| looked < self.instance.limits.changed.max(self.instance.process.started))
    }

    /// Whether it is healthy, and the look at its settings is still to come.
    pub(crate) fn awaits_environment(&self, now: Moment) -> bool {
        self.environment_due().is_some_and(|due| now < due)
    }

    /// When it serves without that word.
    pub(crate) fn environment_due(&self) -> Option<Moment> {
        let awaits = self.stage == Stage::Starting && self.wants_environment();
        self.instance.probes.good_since.filter(|_| awaits).map(|since| since.after(WAITS))
    }

    /// Bytes of device memory that MPS lets it have; outside MPS on purpose nothing limits it.
    pub(crate) fn device_memory_limit(&self) -> Option<u64> {
        self.policy.device_memory_limit.filter(|_| self.instance.mps == MpsUse::Client)
    }

    pub(crate) fn over_limit(&self, reading: &Reading) -> Option<(u64, u64)> {
        let limit = self.device_memory_limit().filter(|_| self.is_counted())?.saturating_add(TOLERANCE);
        let pids = self.instance.proven()?.map(|process| process.pid);
        let each: Option<Vec<u64>> =
            pids.filter(|pid| reading.lists(*pid)).map(|pid| reading.memory_of(&[pid].into())).collect();
        let each = each?;
        let held = each.iter().fold(0u64, |sum, held| sum.saturating_add(*held));
        (held > limit).then(|| (held, each.into_iter().max().unwrap_or(0)))
    }
}

/// What NVML may show over a limit. On an H200 a client at its limit showed 2 MiB more, whatever the limit: the
/// limit counts the context too (docs/h200.md). The rest is for other GPUs and drivers.
const TOLERANCE: u64 = 64 << 20;

/// Longest time for which an engine that is ready waits for the look at its settings.
const WAITS: Duration = Duration::from_millis(500);
