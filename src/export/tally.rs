//! Counters and histograms from events and from readings that ended. It keeps them; it renders nothing.

use super::catalogue as metric;
use super::gauges::{ENGINE_FAULTS, GROUP_FAULTS, gpu_label};
use super::samples::Samples;
use crate::model::{
    CommandResult, Event, ExitCause, GroupStatus, RecoveryResult, RecoveryStep, SourceStatus, Status, Tier, What,
};

/// Whole-group tiers, for series that one engine's restart has no part in.
const GROUP_TIERS: &[Tier] = &[Tier::Clients, Tier::Daemon];
/// What `Suppressed` may name in this version.
const VERBS: &[&str] = &["restart_clients", "restart_daemon", "restart_engine", "kill_unknown_client"];

/// Counts one event. `wall` is the event's time in seconds since 1970.
pub fn record(samples: &mut Samples, event: &Event, status: &Status, wall: f64) {
    let group = event.group.as_ref().map_or("", |group| group.as_str());
    let engine = event.engine.as_ref().map_or("", |engine| engine.as_str());
    match &event.what {
        What::FaultBegan { fault, evidence_at, .. } => {
            let fault = fault.as_str();
            samples.add(&metric::FAULTS, &[group, engine, fault], 1.0);
            samples.set(&metric::FAULT_LAST, &[group, engine, fault], wall);
            let seconds = event.at.since(*evidence_at).as_secs_f64();
            samples.observe(&metric::FAULT_DETECTION, &[group, fault], seconds);
        }
        What::RestartBegan { tier, reason, .. } => {
            samples.add(&metric::RESTARTS, &[group, engine, tier.as_str(), reason.as_str()], 1.0);
        }
        What::StepEnded { step, took } => {
            samples.observe(&metric::RECOVERY_STEP_SECONDS, &[group, step.as_str()], took.as_secs_f64());
        }
        What::RestartEnded { tier, result, took } => {
            samples.add(&metric::RECOVERIES, &[group, tier.as_str(), result.as_str()], 1.0);
            samples.observe(&metric::RECOVERY_SECONDS, &[group, tier.as_str()], took.as_secs_f64());
        }
        What::Suppressed { action, reason, .. } => {
            samples.add(&metric::ACTIONS_SUPPRESSED, &[group, action, reason], 1.0);
        }
        What::ServerStarted { .. } => samples.add(&metric::SERVER_STARTS, &[group], 1.0),
        What::EngineExited { cause, .. } => {
            samples.add(&metric::ENGINE_EXITS, &[group, engine, cause.as_str()], 1.0);
        }
        What::Xid { gpu, xid, .. } => {
            let labels = &[gpu_label(status, gpu.as_ref()), xid.to_string()];
            samples.add(&metric::XID_ERRORS, &[&labels[0], &labels[1]], 1.0);
            samples.set(&metric::XID_LAST, &[&labels[0], &labels[1]], wall);
        }
        What::Command { result } => samples.add(&metric::CONTROL_COMMANDS, &[group, result.as_str()], 1.0),
        What::FaultEnded { .. }
        | What::Held { .. }
        | What::Released { .. }
        | What::ControlStarted { .. }
        | What::EngineStarted { .. }
        | What::EngineServing { .. }
        | What::EngineFailing { .. }
        | What::EngineBackoff { .. }
        | What::EngineQuarantined { .. }
        | What::CudaError { .. }
        | What::SourceDown { .. }
        | What::SourceUp { .. }
        | What::ActionFailed { .. }
        | What::Stopped
        | What::Ordered { .. }
        | What::HoldBegan { .. }
        | What::HoldEnded { .. }
        | What::Reloaded { .. }
        | What::ReloadFailed { .. }
        | What::HookEnded { .. } => {}
    }
}

/// Counts the readings that ended between two statuses: at most one for each source, its latest.
pub fn record_readings(samples: &mut Samples, before: &Status, after: &Status) {
    for source in &after.sources {
        let seen = before.sources.iter().find(|old| old.scope == source.scope).and_then(|old| old.last_success);
        if source.last_success != seen
            && let Some(took) = source.took
        {
            samples.observe(&metric::SOURCE_DURATION, &[source.scope.source.as_str()], took.as_secs_f64());
        }
    }
}

/// Begins at 0 whatever can be counted of the groups, engines and sources in `status`.
pub fn expect(samples: &mut Samples, status: &Status) {
    for SourceStatus { scope, .. } in &status.sources {
        samples.expect(&metric::SOURCE_DURATION, &[scope.source.as_str()]);
    }
    for group in &status.groups {
        expect_group(samples, group.name.as_str());
        for engine in &group.engines {
            expect_engine(samples, group.name.as_str(), engine.name.as_str());
        }
    }
}

/// Drops the series of groups, engines and GPUs that are not in `status`. The tally itself keeps them:
/// an event may come after its group left, and a group that returns must count on.
pub fn keep_present(samples: &mut Samples, status: &Status) {
    samples.retain(|names, values| belongs(status, names, values));
}

/// Whether `status` has what the labels name; an empty label names nothing.
fn belongs(status: &Status, names: &[&str], values: &[String]) -> bool {
    let label = |wanted: &str| {
        let found = names.iter().zip(values).find(|(name, _)| **name == wanted).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    };
    let group_there =
        |group: &GroupStatus, engine: Option<&str>| engine.is_none_or(|name| group.engine(name).is_some());
    let group =
        label("group").is_none_or(|name| status.group(name).is_some_and(|group| group_there(group, label("engine"))));
    let gpu = label("gpu").is_none_or(|index| status.gpus.iter().any(|gpu| gpu.identity.index.to_string() == index));
    group && gpu
}

fn expect_group(samples: &mut Samples, group: &str) {
    for fault in GROUP_FAULTS {
        let fault = fault.as_str();
        samples.expect(&metric::FAULTS, &[group, "", fault]);
        samples.expect(&metric::FAULT_DETECTION, &[group, fault]);
        for tier in GROUP_TIERS {
            samples.expect(&metric::RESTARTS, &[group, "", tier.as_str(), fault]);
        }
    }
    for fault in ENGINE_FAULTS {
        samples.expect(&metric::FAULT_DETECTION, &[group, fault.as_str()]);
    }
    for tier in Tier::ALL {
        samples.expect(&metric::RECOVERY_SECONDS, &[group, tier.as_str()]);
        for result in RecoveryResult::ALL {
            samples.expect(&metric::RECOVERIES, &[group, tier.as_str(), result.as_str()]);
        }
    }
    for step in RecoveryStep::ALL {
        samples.expect(&metric::RECOVERY_STEP_SECONDS, &[group, step.as_str()]);
    }
    for verb in VERBS {
        samples.expect(&metric::ACTIONS_SUPPRESSED, &[group, verb, "observe"]);
    }
    for result in CommandResult::ALL {
        samples.expect(&metric::CONTROL_COMMANDS, &[group, result.as_str()]);
    }
    samples.expect(&metric::SERVER_STARTS, &[group]);
}

fn expect_engine(samples: &mut Samples, group: &str, engine: &str) {
    for fault in ENGINE_FAULTS {
        samples.expect(&metric::FAULTS, &[group, engine, fault.as_str()]);
    }
    samples.expect(&metric::RESTARTS, &[group, engine, Tier::Engine.as_str(), ENGINE_FAULTS[0].as_str()]);
    for cause in ExitCause::ALL {
        samples.expect(&metric::ENGINE_EXITS, &[group, engine, cause.as_str()]);
    }
}
