//! Figures of engines. They are reported; `detect` and `evidence` read them.

use std::time::Duration;

use crate::decide::facts::active_time::Level;
use crate::decide::facts::cadence::TREES;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::figures::{LOAD_FRESH, Room};
use crate::decide::facts::growth::Work;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::stage::Stage;
use crate::model::{EngineLoad, Moment};

impl Engine {
    /// The engine's load; `None`: it has none, or too old a one.
    pub(crate) fn load(&self, now: Moment) -> Option<&EngineLoad> {
        self.instance.figures.load.fresh(LOAD_FRESH + self.policy.health_timeout, now).filter(|_| self.alive())
    }

    /// Bytes of host memory of its whole tree; `None`: unknown.
    pub(crate) fn resident_memory(&self, now: Moment) -> Option<u64> {
        if self.alive() { self.instance.figures.held.fresh(USAGE_FRESH, now).copied() } else { Some(0) }
    }

    /// Time until its device memory meets its limit, else the end of the GPU, at the pace of late.
    pub(crate) fn memory_time_to_limit(&self, reading: Option<&Reading>) -> Option<Duration> {
        let (held, limit) = self.device_memory_and_end(reading.filter(|_| self.alive())?)?;
        self.instance.figures.memory.time_to(limit, held)
    }

    /// Its device memory that grows without a reason; `None`: it does not, or its size is not known.
    pub(crate) fn device_room(&self, reading: Option<&Reading>) -> Option<Room<'_>> {
        let growth = self.instance.figures.memory.unexplained()?;
        let (held, limit) = self.device_memory_and_end(reading?)?;
        Some(Room { kind: "device", growth, held, limit })
    }

    /// Its host memory that grows without a reason. `available`: what the host has left; its cgroup may end it sooner.
    pub(crate) fn host_room(&self, available: Option<u64>, now: Moment) -> Option<Room<'_>> {
        let growth = self.instance.figures.resident.unexplained()?;
        let held = self.resident_memory(now)?;
        let host = available.map(|available| held.saturating_add(available));
        let limit = [host, self.policy.memory_max].into_iter().flatten().min()?;
        Some(Room { kind: "host", growth, held, limit })
    }

    /// What it holds of the device, and where that ends: at its limit, else with the GPU; `None`: one of them is unknown.
    pub(crate) fn device_memory_and_end(&self, reading: &Reading) -> Option<(u64, u64)> {
        let held = self.device_memory(Some(reading))?;
        let left = reading
            .memory_total
            .zip(reading.memory_used)
            .map(|(total, used)| total.saturating_sub(used.saturating_sub(held)));
        Some((held, [left, self.device_memory_limit()].into_iter().flatten().min()?))
    }

    /// Whether a load without requests can be believed: some engines write their gauges now and then only, and then a
    /// client that waits says more.
    pub(crate) fn may_be_idle(&self, load: &EngineLoad) -> bool {
        let kind = load.kind.unwrap_or(self.policy.kind);
        let waits = self.instance.progress.passage.waited().is_some();
        !waits
            && (!kind.gauges_lag()
                || self.instance.progress.passage.seen_at().is_some()
                    && !self.instance.progress.passage.may_have_clients())
    }

    pub(crate) fn work(&self, now: Moment) -> Work {
        self.load(now).map(Work::from).unwrap_or_default()
    }

    fn has_requests(&self, now: Moment) -> Option<bool> {
        self.load(now)?.running.map(|running| running > 0.0)
    }
}

/// What processes use is believed for so long: three of its intervals, and a second for the look itself.
const USAGE_FRESH: Duration = Duration::from_secs(3 * TREES.as_secs() + 1);

/// How many of these engines have requests; `None`: none serves, or of one that does that is not known.
pub(crate) fn active_level<'e>(engines: impl Iterator<Item = &'e Engine>, now: Moment) -> Option<Level> {
    let mut level: Option<Level> = None;
    for engine in engines.filter(|engine| engine.stage == Stage::Serving) {
        let until = engine.instance.figures.load.at()?.after(LOAD_FRESH);
        let so_far = level.unwrap_or(Level { active: 0, until });
        let active = so_far.active + usize::from(engine.has_requests(now)?);
        level = Some(Level { active, until: until.min(so_far.until) });
    }
    level
}
