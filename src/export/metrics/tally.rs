//! Counters and histograms from events and from readings that ended, by what they belong to. It renders nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::{self as metric, Metric};
use super::families::Families;
use super::gpu_gauges::gpu_label;
use super::known_series::{ENGINE_FAULTS, GROUP_FAULTS, MENDED_FAULTS, XIDS};
use super::samples::{Samples, Value};
use super::unavailable::{counted, known_reasons, why_unavailable};
use crate::model::{
    CommandResult, EngineKey, EngineName, Event, ExitCause, Fault, GroupName, Hook, HookResult, IsolationResult,
    Moment, Reason, RecoveryResult, RecoveryStep, Refusal, Source, Status, SuppressedAction, Tier, What, Written,
};

/// The rows whose values are counted here; every other one is a gauge of the status or of the own process.
pub(super) const ROWS: &[&Metric] = &[
    &metric::ACTIONS_SUPPRESSED,
    &metric::CONTROL_COMMANDS,
    &metric::ENGINE_EXITS,
    &metric::ENGINE_UNAVAILABLE,
    &metric::FAULTS,
    &metric::FAULT_DETECTION,
    &metric::FAULT_LAST,
    &metric::HOOK_RUNS,
    &metric::INCIDENT_WRITES,
    &metric::ISOLATIONS,
    &metric::RECOVERIES,
    &metric::RECOVERY_SECONDS,
    &metric::RECOVERY_STEP_SECONDS,
    &metric::RELOAD_SUCCESSFUL,
    &metric::RELOAD_SUCCESS_TIME,
    &metric::RESTARTS,
    &metric::SERVER_STARTS,
    &metric::SOURCE_DURATION,
    &metric::XID_ERRORS,
    &metric::XID_LAST,
];
/// Whole-group tiers, for series that one engine's restart has no part in.
const GROUP_TIERS: &[Tier] = &[Tier::Clients, Tier::Daemon];

/// Everything counted since the start. A clone is cheap: places are shared until they change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    places: BTreeMap<Place, Arc<Samples>>,
    /// Durations of readings.
    readings: BTreeMap<Source, Value>,
    /// When engines that others run were taken away: what was counted of them is shown for a while longer, or their end
    /// would be in no scrape.
    departed: BTreeMap<EngineKey, Moment>,
}

/// Time for which that is shown: several scrapes, and an alert's evaluations.
const SHOWN_LONGER: Duration = Duration::from_secs(300);

/// What samples belong to: they are shown while it is in the status, and kept when it leaves, since an event may
/// come after it, and a group that returns must count on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Watchdog,
    /// A GPU by its `gpu` label.
    Gpu(String),
    Group(GroupName),
    Engine(EngineKey),
}

impl Tally {
    /// Counts one event. `wall` is the event's time in seconds since 1970.
    #[expect(clippy::too_many_lines, reason = "one exhaustive match: a new event leads here")]
    pub(crate) fn record(&mut self, event: &Event, status: &Status, wall: f64) {
        let group = event.group.as_ref().map_or("", |group| group.as_str());
        let engine = event.engine.as_ref().map_or("", |engine| engine.as_str());
        let place = place(event.group.as_ref(), event.engine.as_ref());
        match &event.what {
            What::FaultBegan { fault, evidence_at, .. } => {
                let samples = self.at(place);
                samples.count(&metric::FAULTS, &[group, engine, fault.as_str()]);
                samples.set(&metric::FAULT_LAST, &[group, engine, fault.as_str()], wall);
                let seconds = event.at.since(*evidence_at).as_secs_f64();
                self.of_group(event).observe(&metric::FAULT_DETECTION, &[group, fault.as_str()], seconds);
            }
            What::RestartBegan { tier, reason, .. } => {
                self.at(place).count(&metric::RESTARTS, &[group, engine, tier.as_str(), reason.as_str()]);
            }
            What::StepEnded { step, took } => {
                self.of_group(event).observe(
                    &metric::RECOVERY_STEP_SECONDS,
                    &[group, step.as_str()],
                    took.as_secs_f64(),
                );
            }
            What::RestartEnded { tier, result, took } => {
                let samples = self.of_group(event);
                samples.count(&metric::RECOVERIES, &[group, tier.as_str(), result.as_str()]);
                samples.observe(&metric::RECOVERY_SECONDS, &[group, tier.as_str()], took.as_secs_f64());
            }
            What::Suppressed { action, reason, .. } => {
                self.of_group(event).count(&metric::ACTIONS_SUPPRESSED, &[group, action.as_str(), reason.as_str()]);
            }
            What::ServerStarted { .. } => self.of_group(event).count(&metric::SERVER_STARTS, &[group]),
            What::EngineExited { cause, .. } => {
                self.at(place).count(&metric::ENGINE_EXITS, &[group, engine, cause.as_str()]);
                self.note_departed(event, *cause);
            }
            What::Xid { gpu, xid, .. } => self.count_xid(gpu_label(status, gpu.as_ref()), *xid, wall),
            What::Command { result } => {
                self.of_group(event).count(&metric::CONTROL_COMMANDS, &[group, result.as_str()]);
            }
            What::Reloaded { .. } => self.reloaded(wall),
            What::ReloadFailed { .. } => self.at(Place::Watchdog).set(&metric::RELOAD_SUCCESSFUL, &[], 0.0),
            What::HookEnded { hook, result, .. } => {
                self.at(Place::Watchdog).count(&metric::HOOK_RUNS, &[hook.as_str(), result.as_str()]);
            }
            What::IsolationEnded { result, .. } => {
                self.of_group(event).count(&metric::ISOLATIONS, &[group, result.as_str()]);
            }
            What::FaultChanged { .. }
            | What::FaultEnded { .. }
            | What::Suspected { .. }
            | What::Isolating { .. }
            | What::Proven { .. }
            | What::AdviceBegan { .. }
            | What::AdviceEnded { .. }
            | What::Held { .. }
            | What::Released { .. }
            | What::ControlStarted { .. }
            | What::EngineStarted { .. }
            | What::EngineFound { .. }
            | What::EngineServing { .. }
            | What::EngineFailing { .. }
            | What::Draining { .. }
            | What::Drained { .. }
            | What::BackoffBegan { .. }
            | What::EngineQuarantined { .. }
            | What::CudaError { .. }
            | What::Doubted { .. }
            | What::DriverWants { .. }
            | What::SourceDown { .. }
            | What::SourceUp { .. }
            | What::ActionFailed { .. }
            | What::Stopped
            | What::WorkDone
            | What::DriverLetGo
            | What::Ordered { .. }
            | What::HttpDown { .. }
            | What::HttpUp { .. }
            | What::HoldBegan { .. }
            | What::HoldEnded { .. } => {}
        }
    }

    /// An incident was written, or not.
    pub(crate) fn incident_written(&mut self, result: Written) {
        self.at(Place::Watchdog).count(&metric::INCIDENT_WRITES, &[result.as_str()]);
    }

    /// A configuration was applied, at `wall`; the first one at the start.
    pub(crate) fn reloaded(&mut self, wall: f64) {
        let samples = self.at(Place::Watchdog);
        samples.set(&metric::RELOAD_SUCCESSFUL, &[], 1.0);
        samples.set(&metric::RELOAD_SUCCESS_TIME, &[], wall);
    }

    /// Counts the readings that ended between two statuses with the same sources: at most one for each, its
    /// latest.
    pub(crate) fn record_readings(&mut self, before: &Status, after: &Status) {
        for (old, new) in before.sources.iter().zip(&after.sources) {
            if new.last_success != old.last_success
                && let Some(took) = new.took
            {
                self.reading(new.scope.source).observe(metric::SOURCE_DURATION.kind, took.as_secs_f64());
            }
        }
    }

    /// Counts the time between two statuses in which engines did not serve, by what the first of them says.
    pub(crate) fn record_time(&mut self, before: &Status, after: &Status) {
        let seconds = counted(after.at.since(before.at)).as_secs_f64();
        for group in &before.groups {
            for engine in &group.engines {
                let Some(why) = why_unavailable(group, engine) else { continue };
                let samples = self.at(Place::Engine(EngineKey::new(&group.name, &engine.name)));
                samples.add(&metric::ENGINE_UNAVAILABLE, &[group.name.as_str(), engine.name.as_str(), why], seconds);
            }
        }
    }

    /// Begins at 0 whatever can be counted of the groups, engines, GPUs and sources in `status`.
    pub(crate) fn expect(&mut self, status: &Status) {
        let watchdog = self.at(Place::Watchdog);
        Written::ALL.iter().for_each(|result| watchdog.expect(&metric::INCIDENT_WRITES, &[result.as_str()]));
        for hook in Hook::ALL {
            HookResult::ALL
                .iter()
                .for_each(|result| watchdog.expect(&metric::HOOK_RUNS, &[hook.as_str(), result.as_str()]));
        }
        for source in &status.sources {
            self.reading(source.scope.source);
        }
        for gpu in &status.gpus {
            let index = gpu.identity.label();
            let samples = self.at(Place::Gpu(index.clone()));
            XIDS.iter().for_each(|xid| samples.expect(&metric::XID_ERRORS, &[&index, &xid.to_string()]));
        }
        for group in &status.groups {
            expect_group(self.at(Place::Group(group.name.clone())), group.name.as_str());
            for engine in &group.engines {
                let key = EngineKey::new(&group.name, &engine.name);
                expect_engine(self.at(Place::Engine(key)), group.name.as_str(), engine.name.as_str());
            }
        }
    }

    /// Adds the series of all that is in `status` to their families.
    pub(crate) fn write(&self, status: &Status, families: &mut Families) {
        let mut write = |place: &Place| {
            if let Some(samples) = self.places.get(place) {
                samples.write(families);
            }
        };
        write(&Place::Watchdog);
        write(&Place::Gpu(String::new()));
        status.gpus.iter().for_each(|gpu| write(&Place::Gpu(gpu.identity.label())));
        for group in &status.groups {
            write(&Place::Group(group.name.clone()));
            for engine in &group.engines {
                write(&Place::Engine(EngineKey::new(&group.name, &engine.name)));
            }
        }
        let in_status = |key: &EngineKey| {
            status.group(key.group.as_str()).is_some_and(|group| group.engine(key.engine.as_str()).is_some())
        };
        for (key, at) in &self.departed {
            if status.at.since(*at) < SHOWN_LONGER && !in_status(key) {
                write(&Place::Engine(key.clone()));
            }
        }
        for (source, value) in &self.readings {
            if status.sources.iter().any(|known| known.scope.source == *source) {
                families.value(&metric::SOURCE_DURATION, std::iter::once(source.as_str()), value);
            }
        }
    }

    fn note_departed(&mut self, event: &Event, cause: ExitCause) {
        self.departed.retain(|_, at| event.at.since(*at) < SHOWN_LONGER);
        if let (ExitCause::Removed, Some(group), Some(engine)) = (cause, &event.group, &event.engine) {
            self.departed.insert(EngineKey::new(group, engine), event.at);
        }
    }

    fn count_xid(&mut self, gpu: String, xid: u32, wall: f64) {
        let labels = [gpu.as_str(), &xid.to_string()];
        let samples = self.at(Place::Gpu(gpu.clone()));
        samples.count(&metric::XID_ERRORS, &labels);
        samples.set(&metric::XID_LAST, &labels, wall);
    }

    fn at(&mut self, place: Place) -> &mut Samples {
        Arc::make_mut(self.places.entry(place).or_default())
    }

    fn of_group(&mut self, event: &Event) -> &mut Samples {
        self.at(place(event.group.as_ref(), None))
    }

    fn reading(&mut self, source: Source) -> &mut Value {
        self.readings.entry(source).or_insert_with(|| Value::zero(metric::SOURCE_DURATION.kind))
    }
}

fn place(group: Option<&GroupName>, engine: Option<&EngineName>) -> Place {
    match (group, engine) {
        (Some(group), Some(engine)) => Place::Engine(EngineKey::new(group, engine)),
        (Some(group), None) => Place::Group(group.clone()),
        (None, _) => Place::Watchdog,
    }
}

fn expect_group(samples: &mut Samples, group: &str) {
    for fault in GROUP_FAULTS {
        samples.expect(&metric::FAULTS, &[group, "", fault.as_str()]);
    }
    for fault in MENDED_FAULTS {
        samples.expect(&metric::FAULT_DETECTION, &[group, fault.as_str()]);
    }
    for tier in GROUP_TIERS {
        for reason in MENDED_FAULTS.iter().map(|fault| fault.as_str()).chain([Reason::Operator.as_str()]) {
            samples.expect(&metric::RESTARTS, &[group, "", tier.as_str(), reason]);
        }
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
    for result in IsolationResult::ALL {
        samples.expect(&metric::ISOLATIONS, &[group, result.as_str()]);
    }
    for action in SuppressedAction::ALL {
        let labels = [group, action.as_str(), Refusal::Observe.as_str()];
        samples.expect(&metric::ACTIONS_SUPPRESSED, &labels);
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
    for reason in [Fault::EngineDied.as_str(), Reason::Operator.as_str()] {
        samples.expect(&metric::RESTARTS, &[group, engine, Tier::Engine.as_str(), reason]);
    }
    for reason in known_reasons() {
        samples.expect(&metric::ENGINE_UNAVAILABLE, &[group, engine, reason]);
    }
    for cause in ExitCause::ALL {
        samples.expect(&metric::ENGINE_EXITS, &[group, engine, cause.as_str()]);
    }
}
