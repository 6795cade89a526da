//! Gauges of the watchdog's sources, of groups and their engines, from one status: what left it has no sample,
//! and neither has what is unknown. GPUs have a file of their own.

use super::catalogue::{self as metric, Metric};
use super::engine_gauges;
use super::families::Families;
use super::gpu_gauges::{self, gpu_label};
use super::imbalance::imbalance;
use super::known_series::{ENGINE_FAULTS, GROUP_FAULTS};
use super::sharing_gauges;
use crate::export::needed::needed;
use crate::model::{
    EngineName, Fault, GroupState, GroupStatus, HeldReason, Moment, NeededAction, RecoveryStep, ServerState,
    SourceState, SourceStatus, Status,
};

/// What gauges are made from.
pub(super) struct Readings<'a> {
    /// What the core knows.
    pub status: &'a Status,
    /// Wall time of the boot, in seconds since 1970.
    pub boot: f64,
}

impl Readings<'_> {
    /// Adds every gauge.
    pub(super) fn write(&self, families: &mut Families) {
        families.number(&metric::STATUS_TIMESTAMP, &[], self.wall(self.status.at));
        for source in &self.status.sources {
            self.write_source(families, source);
        }
        for gpu in &self.status.gpus {
            gpu_gauges::write(families, gpu);
        }
        for group in &self.status.groups {
            self.write_group(families, group);
            for engine in &group.engines {
                engine_gauges::write(families, &group.name, engine);
            }
            sharing_gauges::write(families, group, self.boot);
        }
    }

    fn write_source(&self, families: &mut Families, source: &SourceStatus) {
        let scope = &source.scope;
        let engine = scope.engine.as_ref();
        let group = scope.group.as_ref().or(engine.map(|key| &key.group));
        let gpu = gpu_label(self.status, scope.gpu.as_ref());
        let labels = &[
            scope.source.as_str(),
            group.map_or("", |group| group.as_str()),
            engine.map_or("", |key| key.engine.as_str()),
            &gpu,
            scope.domain.map_or("", |domain| domain.as_str()),
        ];
        write_known(families, &metric::SOURCE_UP, labels, source.up().map(flag));
        for state in SourceState::ALL {
            let labels = &[labels[0], labels[1], labels[2], labels[3], labels[4], state.as_str()];
            families.number(&metric::SOURCE_STATE, labels, flag(*state == source.state));
        }
        self.write_time(families, &metric::SOURCE_LAST_SUCCESS, labels, source.last_success);
    }

    fn write_group(&self, families: &mut Families, group: &GroupStatus) {
        let name = group.name.as_str();
        for uuid in group.gpus.iter() {
            let gpu = gpu_label(self.status, Some(uuid));
            let info = [name, &gpu, uuid.as_str(), group.mode.as_str(), group.custody.managed_by().as_str()];
            families.number(&metric::GROUP_INFO, &info, 1.0);
        }
        write_known(families, &metric::CONTROL_UP, &[name], group.control_up.map(flag));
        self.write_time(families, &metric::SERVER_START_TIME, &[name], group.server_since);
        write_known(families, &metric::CLIENTS, &[name], group.clients.map(f64::from));
        write_known(families, &metric::CLIENTS_LIMIT, &[name], group.clients_limit.map(f64::from));
        write_known(families, &metric::UNKNOWN_CLIENTS, &[name], group.unknown_clients.map(f64::from));
        families.number(&metric::GROUP_GENERATION, &[name], f64::from(group.generation));
        families.number(&metric::BUDGET_REMAINING, &[name], f64::from(group.budget_remaining));
        let hold = group.hold.as_ref();
        self.write_time(families, &metric::HOLD_BEGAN, &[name], hold.map(|hold| hold.since));
        self.write_time(families, &metric::HOLD_UNTIL, &[name], hold.and_then(|hold| hold.until));
        write_known(families, &metric::LOAD_IMBALANCE, &[name], imbalance(group));
        for (active, time) in group.active.iter().enumerate() {
            families.number(&metric::ENGINES_ACTIVE, &[name, &active.to_string()], time.as_secs_f64());
        }
        let searched = group.isolation.as_ref().is_some_and(|isolation| isolation.since.is_some());
        families.number(&metric::ISOLATION_ACTIVE, &[name], flag(searched));
        families.number(&metric::ISOLATION_SECONDS, &[name], group.isolated.as_secs_f64());
        families.number(&metric::ISOLATION_TIME_SLICED, &[name], group.time_sliced.as_secs_f64());
        write_states(families, group);
        write_faults(families, group);
        let needed = needed(self.status, group);
        for action in NeededAction::ALL {
            let labels = &[name, action.by().as_str(), action.as_str()];
            families.number(&metric::ACTION_NEEDED, labels, flag(needed.contains(action)));
        }
    }

    fn write_time(&self, families: &mut Families, metric: &'static Metric, labels: &[&str], at: Option<Moment>) {
        write_known(families, metric, labels, at.map(|at| self.wall(at)));
    }

    fn wall(&self, at: Moment) -> f64 {
        self.boot + at.as_secs_f64()
    }
}

fn write_states(families: &mut Families, group: &GroupStatus) {
    let name = &[group.name.as_str()];
    let servers = ServerState::ALL.iter().map(|state| state.as_str());
    families.states(&metric::SERVER_STATE, name, servers, Some(group.server.as_str()));
    let states = GroupState::ALL.iter().map(|state| state.as_str());
    families.states(&metric::GROUP_STATE, name, states, Some(group.state.as_str()));
    let steps = RecoveryStep::ALL.iter().map(|step| step.as_str());
    families.states(&metric::RECOVERY_STEP, name, steps, group.recovery.map(|recovery| recovery.step.as_str()));
    let reasons = HeldReason::ALL.iter().map(|reason| reason.as_str());
    families.states(&metric::GROUP_HELD, name, reasons, group.held.as_ref().map(|(reason, _)| reason.as_str()));
}

/// Every fault known in advance, and whatever else is there now.
fn write_faults(families: &mut Families, group: &GroupStatus) {
    write_faults_of(families, group, None, GROUP_FAULTS);
    for engine in &group.engines {
        write_faults_of(families, group, Some(&engine.name), ENGINE_FAULTS);
    }
}

fn write_faults_of(families: &mut Families, group: &GroupStatus, engine: Option<&EngineName>, known: &[Fault]) {
    let labels = [group.name.as_str(), engine.map_or("", |engine| engine.as_str())];
    let is_here =
        |fault: &Fault| group.faults.iter().any(|(owner, active)| owner.as_ref() == engine && active == fault);
    let others = Fault::ALL.iter().filter(|fault| !known.contains(fault) && is_here(fault));
    for fault in known.iter().chain(others) {
        families.number(&metric::FAULT_ACTIVE, &[labels[0], labels[1], fault.as_str()], flag(is_here(fault)));
    }
}

/// No sample for what is not known: 0 would be a lie.
pub(super) fn write_known(families: &mut Families, metric: &'static Metric, labels: &[&str], value: Option<f64>) {
    if let Some(value) = value {
        families.number(metric, labels, value);
    }
}

/// 1 for yes.
pub(super) fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}
