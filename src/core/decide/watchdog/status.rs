//! The status: everything the core knows, made whole from its state each time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::detect::unknown_clients;
use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::attached::Attachment;
use crate::decide::facts::engine::{Engine, Sight};
use crate::decide::facts::reading::{READING_FRESH, Reading};
use crate::decide::facts::stage::{Ending, Stage};
use crate::decide::facts::{GpuFacts, SERVER_FRESH};
use crate::decide::group::Group;
use crate::decide::group::shown::one_of;
use crate::decide::watchdog::driver::DriverUse;
use crate::decide::watchdog::gpus::of as facts_of;
use crate::decide::watchdog::schedule::Schedule;
use crate::decide::watchdog::sources::{Logs, sources};
use crate::model::gpu::ComputeMode;
use crate::model::status::RecoveryStatus;
use crate::model::{
    EngineIsolation, EngineState, EngineStatus, GpuStatus, GpuUuid, GroupState, GroupStatus, HeldReason, Moment,
    MpsEnvironment, ServerState, Status,
};

/// Time for which a health answer is believed, over the time that it may take.
const HEALTH_FRESH: Duration = Duration::from_secs(6);

pub(crate) fn status(
    groups: &[Group],
    gpus: &BTreeMap<GpuUuid, GpuFacts>,
    looks: &Schedule,
    logs: &Logs,
    driver: DriverUse,
    now: Moment,
) -> Status {
    let domains: Vec<&Domain> = groups.iter().flat_map(Group::domains).collect();
    let mut on_gpu: BTreeMap<&GpuUuid, Vec<&Domain>> = BTreeMap::new();
    for domain in &domains {
        domain.scene.policy.gpus.iter().for_each(|gpu| on_gpu.entry(gpu).or_default().push(domain));
    }
    let groups_of = |gpu: &GpuFacts| on_gpu.get(&gpu.identity.uuid).map_or(&[][..], Vec::as_slice);
    let mut gpu_statuses: Vec<GpuStatus> = gpus.values().map(|gpu| gpu_status(gpu, groups_of(gpu), now)).collect();
    gpu_statuses.sort_by_key(|gpu| gpu.identity.index);
    let status_of = |domain: &Domain| {
        let gpu = facts_of(gpus, &domain.scene.policy.gpus);
        let reading = gpu.as_ref().and_then(|gpu| gpu.reading.fresh(READING_FRESH, now));
        domain.status(gpu.as_deref(), reading, now)
    };
    Status {
        at: now,
        ready: domains.iter().all(|domain| domain.every_source_reported()),
        groups: groups.iter().filter_map(|group| one_of(group, status_of)).collect(),
        gpus: gpu_statuses,
        sources: sources(&domains, gpus, looks, logs, now),
        driver_let_go: driver.is_let_go(),
    }
}

fn gpu_status(gpu: &GpuFacts, groups: &[&Domain], now: Moment) -> GpuStatus {
    let reading = gpu.reading.fresh(READING_FRESH, now);
    GpuStatus {
        identity: gpu.identity.clone(),
        memory_used: reading.and_then(|reading| reading.memory_used),
        busy: reading.and_then(|reading| reading.busy),
        compute_mode: if reading.is_some() { gpu.identity.compute_mode } else { ComputeMode::Unknown },
        activity: reading.and_then(|reading| reading.activity),
        foreign_processes: reading.and_then(|reading| count_foreign(groups, reading, now)),
        recovery_action: reading.and_then(|reading| reading.recovery_action),
    }
}

/// Number of foreign processes on one GPU; `None`: an engine's processes are not known, or NVML shows other pids than ours.
fn count_foreign(groups: &[&Domain], reading: &Reading, now: Moment) -> Option<u32> {
    let known = |group: &&Domain| group.scene.around.pids_match && group.trees_at(now).is_some();
    groups.iter().all(known).then(|| {
        let here = |group: &&Domain| group.scene.around.foreign.count_in(reading);
        groups.iter().map(here).max().unwrap_or(0)
    })
}

impl Domain {
    /// Whether it was stopped in order.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Whether it is stopped, and stays so until an operator has it started.
    pub(crate) fn stays_stopped(&self) -> bool {
        self.is_stopped() && self.down.kept_down
    }

    fn every_source_reported(&self) -> bool {
        let begun = !matches!(self.phase, Phase::Waiting);
        self.is_stopped()
            || begun
                && (self.scene.control.answered.last().is_some()
                    || self.scene.control.silent > 0
                    || self.budget.generation > 0)
    }

    pub(crate) fn status(&self, gpu: Option<&GpuFacts>, reading: Option<&Reading>, now: Moment) -> GroupStatus {
        let sight = self.sight(now);
        let blind = sight == Sight::Blind;
        GroupStatus {
            name: self.scene.policy.name.clone(),
            gpus: self.scene.policy.gpus.clone(),
            mode: self.scene.policy.mode,
            custody: self.scene.policy.custody,
            state: self.state(sight),
            generation: self.budget.generation,
            control_up: self.control_up(),
            control: self.scene.control.process,
            server: if blind { ServerState::Unknown } else { self.server_state() },
            server_pid: self.scene.server.pid,
            server_since: self.scene.server.since,
            clients: self.clients(sight),
            clients_limit: self.scene.clients_limit(),
            unknown_clients: if blind { None } else { self.count_unknown() },
            recovery: self.recovery(now),
            held: self.held(),
            hold: None,
            active: self.active.by_number(self.scene.engines.len().max(self.scene.policy.engines.len())),
            budget_remaining: self.budget_remaining(now),
            faults: self.scene.faults.keys().cloned().collect(),
            isolation: None,
            overlap: self.overlap_status(now),
            isolated: Duration::ZERO,
            time_sliced: Duration::ZERO,
            engines: self
                .scene
                .engines
                .iter()
                .map(|engine| self.engine_status(engine, gpu, reading, sight, now))
                .collect(),
        }
    }

    /// Whether the server's word is fresh. What ends by a pidfd or a line is known without it.
    fn sight(&self, now: Moment) -> Sight {
        let expects = matches!(self.phase, Phase::Running(_)) && self.scene.server.pid.is_some();
        let old = self.scene.server.state.fresh(SERVER_FRESH, now).is_none();
        if expects && old { Sight::Blind } else { Sight::Clear }
    }

    fn server_state(&self) -> ServerState {
        match self.phase {
            Phase::Waiting => ServerState::Unknown,
            Phase::Stopped => ServerState::None,
            Phase::Restart(_) | Phase::InRestart | Phase::Running(_) | Phase::Stopping(_) => {
                self.scene.server.state.last().copied().unwrap_or(ServerState::None)
            }
        }
    }

    /// Whether the control daemon is up; `None`: not known, or it is down on purpose: not started yet, or ended in order.
    fn control_up(&self) -> Option<bool> {
        match (&self.phase, self.scene.control.process) {
            (Phase::Waiting, _) => None,
            (Phase::Running(_), None) => Some(false),
            (Phase::Restart(_) | Phase::InRestart | Phase::Stopping(_) | Phase::Stopped, None) => None,
            (_, Some(_)) if self.scene.control.died.is_some() => Some(false),
            (_, Some(_)) => Some(self.scene.control.silent == 0),
        }
    }

    fn clients(&self, sight: Sight) -> Option<u32> {
        match &self.scene.server.pid {
            _ if sight == Sight::Blind => None,
            None => Some(0),
            Some(_) => self.scene.server.clients.last().map(|clients| u32::try_from(clients.len()).unwrap_or(u32::MAX)),
        }
    }

    fn count_unknown(&self) -> Option<u32> {
        if self.scene.server.pid.is_none() {
            return Some(0);
        }
        let unknown = unknown_clients(&self.scene)?;
        // A client that came after the last look at an engine's processes may be one of them.
        let may_own =
            |engine: &Engine| engine.alive() && engine.instance.tree.all.at() < self.scene.server.clients.at();
        if !unknown.is_empty() && self.scene.engines.iter().any(may_own) {
            return None;
        }
        u32::try_from(unknown.len()).ok()
    }

    fn budget_remaining(&self, now: Moment) -> u32 {
        let recovery = &self.scene.policy.recovery;
        recovery.budget.saturating_sub(self.budget.attempts.within(recovery.budget_window, now))
    }

    fn state(&self, sight: Sight) -> GroupState {
        match &self.phase {
            Phase::Waiting => GroupState::Unknown,
            Phase::Stopped => GroupState::Stopped,
            Phase::Restart(restart) if restart.held.is_some() => GroupState::Held,
            Phase::Restart(restart) if restart.reason.is_none() => GroupState::Starting,
            Phase::Restart(_) | Phase::InRestart => GroupState::Recovering,
            Phase::Running(_) if self.held().is_some() => GroupState::Held,
            Phase::Running(_) if sight == Sight::Blind => GroupState::Unknown,
            Phase::Running(Some(settling)) if settling.reason.is_none() => GroupState::Starting,
            Phase::Running(Some(_)) => GroupState::Recovering,
            Phase::Running(None) if self.all_serve() => GroupState::Serving,
            Phase::Running(None) | Phase::Stopping(_) => GroupState::Degraded,
        }
    }

    fn recovery(&self, now: Moment) -> Option<RecoveryStatus> {
        match &self.phase {
            Phase::Restart(restart) => Some(RecoveryStatus {
                tier: restart.tier,
                reason: restart.reason,
                step: restart.step.shown(),
                next_try: self.next_attempt(restart).filter(|at| *at > now),
                since: restart.since,
            }),
            Phase::Running(Some(settling)) => Some(RecoveryStatus {
                tier: settling.tier,
                reason: settling.reason,
                step: settling.step,
                next_try: None,
                since: settling.since,
            }),
            Phase::Waiting | Phase::InRestart | Phase::Running(_) | Phase::Stopping(_) | Phase::Stopped => None,
        }
    }

    fn held(&self) -> Option<(HeldReason, String)> {
        match &self.phase {
            Phase::Restart(restart) => restart.held.clone(),
            Phase::Running(_) => {
                let stuck = self.stuck().map(|why| (HeldReason::ProcessStuck, why));
                let owners = || self.asked.owners.clone().map(|why| (HeldReason::EnginesNotOurs, why));
                stuck.or_else(|| self.asked.control.absent().cloned()).or_else(owners)
            }
            Phase::Waiting | Phase::InRestart | Phase::Stopping(_) | Phase::Stopped => None,
        }
    }

    fn engine_status(
        &self,
        engine: &Engine,
        gpu: Option<&GpuFacts>,
        reading: Option<&Reading>,
        sight: Sight,
        now: Moment,
    ) -> EngineStatus {
        let heard = engine.instance.probes.last.fresh(HEALTH_FRESH + engine.policy.health_timeout, now);
        let of_it = if heard.is_some() || !engine.policy.is_asked() { sight } else { Sight::Blind };
        let seen = gpu
            .filter(|_| sight == Sight::Clear)
            .and_then(|gpu| engine.attachment_now(&self.scene.server, &gpu.reading, now));
        let processes = engine.instance.processes();
        let is_client = |pid: &u32| self.scene.server.clients.last().is_some_and(|clients| clients.contains(pid));
        EngineStatus {
            name: engine.name().clone(),
            custody: engine.policy.custody,
            container: engine.policy.container.clone(),
            address: engine.policy.address.clone(),
            state: self.engine_state(engine, of_it),
            attached: seen.and_then(|seen| match seen {
                Attachment::Attached => Some(true),
                Attachment::Outside(_) => Some(false),
                Attachment::Absent => None,
            }),
            device_memory: if engine.alive() { engine.device_memory(reading) } else { Some(0) },
            device_memory_limit: engine.device_memory_limit(),
            sm_limit: self.sm_limit(engine, reading),
            memory_time_to_limit: engine.memory_time_to_limit(reading),
            resident_memory: engine.resident_memory(now),
            cpu: engine.usage.cpu,
            load: engine.load(now).cloned(),
            kind: engine.kind(now),
            unknown: self.scene.unknown_of(engine, reading, now),
            doubted: engine.telling.counted(),
            main: engine.instance.process.id.filter(|_| engine.instance.process.ended.is_none()),
            clients: processes.iter().map(|process| process.pid).filter(is_client).collect(),
            incarnation: engine.instance.incarnation,
            failures: engine.failures.within(self.scene.policy.recovery.budget_window, now),
            next_try: self.next_try_of(engine).filter(|at| *at > now),
            isolation: EngineIsolation::None,
            sharing: engine.sharing_status(&self.scene.policy.overlap, now),
            note: engine.instance.note.clone().or_else(|| engine.waits_to_roll()),
            missing: engine.is_missing(),
        }
    }

    /// Share of the SMs that MPS lets an engine use: what its processes on the GPU were really told, the most of them.
    fn sm_limit(&self, engine: &Engine, reading: Option<&Reading>) -> Option<f64> {
        let told = engine.instance.limits.settings.last().filter(|_| engine.alive())?;
        let uses = told.iter().filter(|told| self.scene.uses_the_gpu(told.process, reading));
        let share = |told: &MpsEnvironment| match told.thread_percentage {
            true => told.percentage.map(|hundredths| f64::from(hundredths) / 10_000.0),
            false => Some(1.0),
        };
        // Before any of its processes is seen on the GPU: what it was started with.
        largest(uses.map(share)).or_else(|| largest(told.iter().map(share)))
    }

    /// When an engine's next start, or the next try to end it, is due.
    fn next_try_of(&self, engine: &Engine) -> Option<Moment> {
        match (&self.phase, &engine.stage) {
            (Phase::Running(_), Stage::Down { due }) => Some(*due),
            (Phase::Running(_), Stage::Ending(Ending::Stuck { again })) => Some(*again),
            _ => None,
        }
    }

    fn engine_state(&self, engine: &Engine, sight: Sight) -> EngineState {
        let has_process = engine.instance.process.id.is_some() && engine.instance.process.ended.is_none();
        match (&self.phase, &engine.stage) {
            (Phase::Restart(_) | Phase::Stopping(_), Stage::Fallen) if has_process => EngineState::Stopping,
            _ => engine.state(sight),
        }
    }
}

/// The largest of these shares; `None`: there is none, or one of them is not known.
fn largest(shares: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let known: Option<Vec<f64>> = shares.collect();
    known?.into_iter().reduce(f64::max)
}
