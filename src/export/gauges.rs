//! Gauges from one status, made whole each time: what left the status has no sample.

use std::collections::BTreeMap;

use super::catalogue::{self as metric, Metric};
use super::samples::Samples;
use super::wall::WallClock;
use crate::model::gpu::{ComputeMode, RecoveryAction};
use crate::model::{
    EngineKey, EngineState, EngineStatus, Fault, GpuStatus, GpuUuid, GroupState, GroupStatus, HeldReason, Moment,
    RecoveryStep, ServerState, SourceStatus, Status,
};

/// Findings of a whole group that this version can make.
pub const GROUP_FAULTS: &[Fault] = &[
    Fault::GpuFault,
    Fault::ServerDied,
    Fault::ControlDied,
    Fault::ControlWedged,
    Fault::ServerStuck,
    Fault::UnknownClient,
];
/// Findings of one engine that this version can make.
pub const ENGINE_FAULTS: &[Fault] = &[Fault::EngineDied, Fault::CrashLoop];

/// What gauges are made from.
pub struct Readings<'a> {
    /// What the core knows.
    pub status: &'a Status,
    /// Where engines are reached, as configured.
    pub endpoints: &'a BTreeMap<EngineKey, String>,
    /// For timestamps.
    pub wall: &'a WallClock,
}

/// The `gpu` label of a GPU: its index; empty for one that is not known.
pub fn gpu_label(status: &Status, uuid: Option<&GpuUuid>) -> String {
    let known = status.gpus.iter().find(|gpu| Some(&gpu.identity.uuid) == uuid);
    known.map(|gpu| gpu.identity.index.to_string()).unwrap_or_default()
}

impl Readings<'_> {
    /// Adds every gauge.
    pub fn add_to(&self, samples: &mut Samples) {
        samples.set(&metric::STATUS_TIMESTAMP, &[], self.wall.seconds(self.status.at));
        for source in &self.status.sources {
            self.add_source(samples, source);
        }
        for gpu in &self.status.gpus {
            add_gpu(samples, gpu);
        }
        for group in &self.status.groups {
            self.add_group(samples, group);
            for engine in &group.engines {
                self.add_engine(samples, group, engine);
            }
        }
    }

    fn add_source(&self, samples: &mut Samples, source: &SourceStatus) {
        let scope = &source.scope;
        let engine = scope.engine.as_ref();
        let group = scope.group.as_ref().or(engine.map(|key| &key.group));
        let gpu = gpu_label(self.status, scope.gpu.as_ref());
        let labels = &[
            scope.source.as_str(),
            group.map_or("", |group| group.as_str()),
            engine.map_or("", |key| key.engine.as_str()),
            &gpu,
        ];
        samples.set(&metric::SOURCE_UP, labels, flag(source.up));
        self.set_time(samples, &metric::SOURCE_LAST_SUCCESS, labels, source.last_success);
    }

    fn add_group(&self, samples: &mut Samples, group: &GroupStatus) {
        let name = group.name.as_str();
        let gpu = gpu_label(self.status, Some(&group.gpu));
        samples.set(&metric::GROUP_INFO, &[name, &gpu, group.gpu.as_str(), group.mode.as_str()], 1.0);
        set_known(samples, &metric::CONTROL_UP, &[name], group.control_up.map(flag));
        for state in ServerState::ALL {
            samples.set(&metric::SERVER_STATE, &[name, state.as_str()], flag(*state == group.server));
        }
        self.set_time(samples, &metric::SERVER_START_TIME, &[name], group.server_since);
        set_known(samples, &metric::CLIENTS, &[name], group.clients.map(f64::from));
        samples.set(&metric::CLIENTS_LIMIT, &[name], f64::from(group.clients_limit));
        set_known(samples, &metric::UNKNOWN_CLIENTS, &[name], group.unknown_clients.map(f64::from));
        for state in GroupState::ALL {
            samples.set(&metric::GROUP_STATE, &[name, state.as_str()], flag(*state == group.state));
        }
        samples.set(&metric::GROUP_GENERATION, &[name], f64::from(group.generation));
        samples.set(&metric::BUDGET_REMAINING, &[name], f64::from(group.budget_remaining));
        add_recovery(samples, group);
        add_faults(samples, group);
    }

    fn add_engine(&self, samples: &mut Samples, group: &GroupStatus, engine: &EngineStatus) {
        let labels = &[group.name.as_str(), engine.name.as_str()];
        for state in EngineState::ALL {
            let labels = &[labels[0], labels[1], state.as_str()];
            samples.set(&metric::ENGINE_STATE, labels, flag(*state == engine.state));
        }
        set_known(samples, &metric::ENGINE_ATTACHED, labels, engine.attached.map(flag));
        set_known(samples, &metric::ENGINE_DEVICE_MEMORY, labels, engine.device_memory.map(|bytes| bytes as f64));
        let limit = engine.device_memory_limit.map(|bytes| bytes as f64);
        set_known(samples, &metric::ENGINE_DEVICE_MEMORY_LIMIT, labels, limit);
        self.add_engine_info(samples, group, engine);
    }

    /// One series however many clients it has: a join on group and engine must find one.
    fn add_engine_info(&self, samples: &mut Samples, group: &GroupStatus, engine: &EngineStatus) {
        let endpoint = self.endpoints.get(&EngineKey::new(&group.name, &engine.name));
        let main = engine.main.map(|process| process.pid.to_string()).unwrap_or_default();
        let clients: Vec<String> = engine.clients.iter().map(u32::to_string).collect();
        let endpoint = endpoint.map_or("", String::as_str);
        let labels = &[group.name.as_str(), engine.name.as_str(), "", endpoint, &main, &clients.join(",")];
        samples.set(&metric::ENGINE_INFO, labels, 1.0);
    }

    fn set_time(&self, samples: &mut Samples, metric: &'static Metric, labels: &[&str], at: Option<Moment>) {
        set_known(samples, metric, labels, at.map(|at| self.wall.seconds(at)));
    }
}

fn add_recovery(samples: &mut Samples, group: &GroupStatus) {
    let name = group.name.as_str();
    let step = group.recovery.map(|recovery| recovery.step);
    for known in RecoveryStep::ALL {
        samples.set(&metric::RECOVERY_STEP, &[name, known.as_str()], flag(step == Some(*known)));
    }
    let held = group.held.as_ref().map(|(reason, _)| *reason);
    for reason in HeldReason::ALL {
        samples.set(&metric::GROUP_HELD, &[name, reason.as_str()], flag(held == Some(*reason)));
    }
}

fn add_faults(samples: &mut Samples, group: &GroupStatus) {
    let name = group.name.as_str();
    for fault in GROUP_FAULTS {
        samples.set(&metric::FAULT_ACTIVE, &[name, "", fault.as_str()], 0.0);
    }
    for engine in &group.engines {
        for fault in ENGINE_FAULTS {
            samples.set(&metric::FAULT_ACTIVE, &[name, engine.name.as_str(), fault.as_str()], 0.0);
        }
    }
    for (engine, fault) in &group.faults {
        let engine = engine.as_ref().map_or("", |engine| engine.as_str());
        samples.set(&metric::FAULT_ACTIVE, &[name, engine, fault.as_str()], 1.0);
    }
}

fn add_gpu(samples: &mut Samples, gpu: &GpuStatus) {
    let identity = &gpu.identity;
    let index = identity.index.to_string();
    let info = &[index.as_str(), identity.uuid.as_str(), &identity.pci_bus_id, &identity.name];
    samples.set(&metric::GPU_INFO, info, 1.0);
    set_known(samples, &metric::GPU_MEMORY_USED, &[&index], gpu.memory_used.map(|bytes| bytes as f64));
    samples.set(&metric::GPU_MEMORY_TOTAL, &[&index], identity.memory_total as f64);
    set_known(samples, &metric::GPU_BUSY, &[&index], gpu.busy);
    for mode in ComputeMode::ALL {
        samples.set(&metric::GPU_COMPUTE_MODE, &[&index, mode.as_str()], flag(*mode == gpu.compute_mode));
    }
    let wanted = gpu.recovery_action.unwrap_or(RecoveryAction::Unknown);
    for action in RecoveryAction::ALL {
        samples.set(&metric::GPU_RECOVERY_ACTION, &[&index, action.as_str()], flag(*action == wanted));
    }
}

/// No sample for what is not known: 0 would be a lie.
fn set_known(samples: &mut Samples, metric: &'static Metric, labels: &[&str], value: Option<f64>) {
    if let Some(value) = value {
        samples.set(metric, labels, value);
    }
}

fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}
