//! Figures of engines: load, usage, the trends of device and host memory. They are told; `detect` and `suspects` read them.

use std::time::Duration;

use crate::model::{EngineKey, EngineLoad, Health, Known, Moment, ProcessId, ProcessUsage, Traffic};

use super::active_time::Level;
use super::detect::Room;
use super::domain::Domain;
use super::engine::{Engine, Stage};
use super::growth::Work;
use super::looks::{LOAD, TREES};
use super::memory_trend::MemoryTrend;
use super::reading::Reading;
use super::suspects::IdleRow;

/// A load is believed for so long: three of its intervals.
pub(super) const LOAD_FRESH: Duration = Duration::from_secs(3 * LOAD.as_secs());
/// What processes use is believed for so long: three of its intervals, and a second for the look itself.
const USAGE_FRESH: Duration = Duration::from_secs(3 * TREES.as_secs() + 1);

/// One engine's.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    load: Known<EngineLoad>,
    /// Readings without work, in a row.
    pub idle: IdleRow,
    memory: MemoryTrend,
    resident: MemoryTrend,
    /// Bytes of host memory of all its processes that live.
    held: Known<u64>,
    frozen: Vec<(ProcessId, char)>,
}

impl Figures {
    /// Requests that it works on, as last read.
    pub fn running(&self) -> Option<f64> {
        self.load.last()?.running
    }

    /// Requests that it works on and that wait in its queue, by a load that was read at `moment` or later; `None`: none
    /// was, or it does not say.
    pub fn in_flight_since(&self, moment: Moment) -> Option<f64> {
        let load = self.load.since(moment)?;
        Some(load.running? + load.waiting.unwrap_or(0.0))
    }

    /// Its processes that were stopped or in uninterruptible sleep when last seen, with their state's letter.
    pub fn frozen(&self) -> &[(ProcessId, char)] {
        &self.frozen
    }

    /// Requests running and waiting as last read, and when; `None`: unknown.
    pub fn requests(&self, now: Moment) -> Option<(f64, f64, Moment)> {
        let load = self.load.fresh(LOAD_FRESH, now)?;
        Some((load.running?, load.waiting?, self.load.at()?))
    }

    /// Its model is loaded: what it took to get there says nothing about what comes.
    pub fn ready(&mut self) {
        self.memory.forget();
        self.resident.forget();
    }
}

impl Engine {
    /// Its load; `None`: it has none, or too old a one.
    pub fn load(&self, now: Moment) -> Option<&EngineLoad> {
        self.instance.figures.load.fresh(LOAD_FRESH + self.policy.health_timeout, now).filter(|_| self.alive())
    }

    /// Bytes of host memory of its whole tree; `None`: unknown.
    pub fn resident_memory(&self, now: Moment) -> Option<u64> {
        if self.alive() { self.instance.figures.held.fresh(USAGE_FRESH, now).copied() } else { Some(0) }
    }

    /// Until its device memory meets its limit, else the end of the GPU, at the pace of late.
    pub fn memory_time_to_limit(&self, reading: Option<&Reading>) -> Option<Duration> {
        let (held, limit) = self.device_memory_and_end(reading.filter(|_| self.alive())?)?;
        self.instance.figures.memory.time_to(limit, held)
    }

    /// Its device memory that grows without a reason; `None`: it does not, or its size is not known.
    pub fn device_room(&self, reading: Option<&Reading>) -> Option<Room<'_>> {
        let growth = self.instance.figures.memory.unexplained()?;
        let (held, limit) = self.device_memory_and_end(reading?)?;
        Some(Room { kind: "device", growth, held, limit })
    }

    /// Its host memory that grows without a reason. `available`: what the host has left; its cgroup may end it sooner.
    pub fn host_room(&self, available: Option<u64>, now: Moment) -> Option<Room<'_>> {
        let growth = self.instance.figures.resident.unexplained()?;
        let held = self.resident_memory(now)?;
        let host = available.map(|available| held.saturating_add(available));
        let limit = [host, self.policy.memory_max].into_iter().flatten().min()?;
        Some(Room { kind: "host", growth, held, limit })
    }

    /// What it holds of the device, and where that ends: at its limit, else with the GPU; `None`: one of them is unknown.
    pub fn device_memory_and_end(&self, reading: &Reading) -> Option<(u64, u64)> {
        let held = self.device_memory(Some(reading))?;
        let left = reading
            .memory_total
            .zip(reading.memory_used)
            .map(|(total, used)| total.saturating_sub(used.saturating_sub(held)));
        Some((held, [left, self.device_memory_limit()].into_iter().flatten().min()?))
    }

    /// Whether a load without requests can be believed: some engines write their gauges now and then only, and then a
    /// client that waits says more.
    fn may_be_idle(&self, load: &EngineLoad) -> bool {
        let kind = load.kind.unwrap_or(self.policy.kind);
        let waits = self.instance.progress.passage.waited().is_some();
        !waits
            && (!kind.gauges_lag()
                || self.instance.progress.passage.seen_at().is_some()
                    && !self.instance.progress.passage.may_have_clients())
    }

    fn work(&self, now: Moment) -> Work {
        self.load(now).map(Work::from).unwrap_or_default()
    }

    fn has_requests(&self, now: Moment) -> Option<bool> {
        self.load(now)?.running.map(|running| running > 0.0)
    }
}

impl Domain {
    /// What an engine says of its load.
    pub fn load(&mut self, key: &EngineKey, load: EngineLoad, now: Moment) {
        let Some(engine) = self.engine_mut(&key.engine) else { return };
        if matches!(engine.stage, Stage::Serving | Stage::Failing) || engine.drains() {
            let load = engine.instance.progress.passage.corrected(load, engine.instance.figures.load.last(), now);
            engine.instance.progress.tokens.saw(&load, engine.gap(), now);
            engine.instance.progress.answers.heard(now);
            engine.instance.figures.idle.saw(&load, engine.may_be_idle(&load), now);
            engine.instance.beside.read(&load, now);
            engine.instance.figures.load.saw(load, now);
            self.count_active_time(now);
        }
    }

    /// The connections to an engine's port.
    pub fn traffic(&mut self, key: &EngineKey, traffic: Result<Traffic, String>, now: Moment) {
        let Some(engine) = self.engine_mut(&key.engine) else { return };
        if engine.alive() {
            let running = engine.instance.figures.running();
            engine.instance.progress.passage.saw(traffic, running, engine.gap(), now);
        }
    }

    /// An engine was asked for a token.
    pub fn token(&mut self, key: &EngineKey, given: bool, now: Moment) {
        let Some(engine) = self.engine_mut(&key.engine) else { return };
        let answer = if given { Health::Ok } else { Health::NoAnswer };
        let gap = engine.gap() + engine.policy.hang_after;
        if engine.alive() {
            engine.instance.progress.asked_token.probed(answer, gap, now);
        }
    }

    /// What an engine's processes use.
    pub fn usage(&mut self, key: &EngineKey, processes: &[ProcessUsage], now: Moment) {
        let Some(engine) = self.engine_mut(&key.engine) else { return };
        engine.usage.saw(processes);
        engine
            .instance
            .figures
            .held
            .saw(processes.iter().fold(0u64, |sum, process| sum.saturating_add(process.resident)), now);
        let frozen = |process: &&ProcessUsage| matches!(process.state, 'T' | 't' | 'D');
        engine.instance.figures.frozen = processes.iter().filter(frozen).map(|p| (p.process, p.state)).collect();
        let resident =
            engine.resident_memory(now).filter(|_| engine.instance.figures.resident.due(now) && engine.alive());
        if let Some(resident) = resident {
            let work = engine.work(now);
            engine.instance.figures.resident.sample(resident, work, now);
            if engine.instance.figures.resident.unexplained().is_some() {
                self.stir();
            }
        }
    }

    /// Samples what each engine holds, where it is time to.
    pub fn sample_memory(&mut self, reading: &Reading, now: Moment) {
        for engine in self.engines.iter_mut().filter(|engine| engine.alive() && engine.instance.figures.memory.due(now))
        {
            if let Some(held) = engine.device_memory(Some(reading)) {
                let work = engine.work(now);
                engine.instance.figures.memory.sample(held, work, now);
            }
        }
    }

    /// Counts the time since the last count, by the engines that had requests. To be called when a load was
    /// read and when an engine may have begun or ceased to serve.
    pub fn count_active_time(&mut self, now: Moment) {
        self.active.goes_on(active_level(self.engines.iter(), now), now);
    }
}

/// How many of these engines have requests; `None`: none serves, or of one that does nobody knows.
pub(super) fn active_level<'e>(engines: impl Iterator<Item = &'e Engine>, now: Moment) -> Option<Level> {
    let mut level: Option<Level> = None;
    for engine in engines.filter(|engine| engine.stage == Stage::Serving) {
        let until = engine.instance.figures.load.at()?.after(LOAD_FRESH);
        let so_far = level.unwrap_or(Level { active: 0, until });
        let active = so_far.active + usize::from(engine.has_requests(now)?);
        level = Some(Level { active, until: until.min(so_far.until) });
    }
    level
}
