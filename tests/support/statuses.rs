//! Statuses and events that the tests of metrics look at, and the exporter over them.
#![allow(dead_code, reason = "each test uses a part")]

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use mpswarden::export::{BuildInfo, Exporter};
use mpswarden::model::gpu::{ComputeMode, RecoveryAction};
use mpswarden::model::{
    Advice, AdviceReason, Baseline, BaselineSource, CommandResult, EngineIsolation, EngineKey, EngineName,
    EngineSharing, EngineState, EngineStatus, Event, Exit, ExitCause, Fault, GpuIdentity, GpuStatus, GroupState,
    GroupStatus, Mode, Moment, OverlapStatus, ProbeState, ProcessId, RecoveryResult, RecoveryStep, Refusal,
    ServerState, Slot, Source, SourceScope, SourceState, SourceStatus, Status, SuppressedAction, Taken, Tier, What,
};
use tokio::sync::watch;

pub const GPU: &str = "GPU-daa6eae7-01a7-671e-20e2-f7a899778d3c";

pub fn at(seconds: f64) -> Moment {
    Moment::from_nanos((seconds * 1e9) as u64)
}

pub fn engine(name: &str, state: EngineState) -> EngineStatus {
    EngineStatus {
        name: name.into(),
        address: if name == "qwen-a" { "http://127.0.0.1:8001" } else { "" }.into(),
        custody: Default::default(),
        container: Default::default(),
        state,
        attached: Some(true),
        device_memory: Some(20 << 30),
        device_memory_limit: Some(40 << 30),
        memory_time_to_limit: None,
        sm_limit: Some(0.5),
        resident_memory: None,
        cpu: Duration::ZERO,
        kind: mpswarden::model::EngineKind::Vllm,
        unknown: Vec::new(),
        doubted: vec![(700, mpswarden::model::Doubt::Refuted, 3)],
        load: None,
        main: Some(ProcessId { pid: 600, started_at: 9 }),
        clients: vec![630],
        incarnation: 1,
        failures: 0,
        next_try: None,
        isolation: EngineIsolation::None,
        sharing: EngineSharing::default(),
        note: None,
        missing: false,
    }
}

pub fn group(name: &str, state: GroupState, engines: Vec<EngineStatus>) -> GroupStatus {
    GroupStatus {
        name: name.into(),
        gpus: GPU.into(),
        mode: Mode::Enforce,
        custody: Default::default(),
        state,
        generation: 2,
        control_up: Some(true),
        control: Some(ProcessId { pid: 610, started_at: 9 }),
        server: ServerState::Active,
        server_pid: Some(624),
        server_since: Some(at(12.5)),
        clients: Some(2),
        clients_limit: Some(48),
        unknown_clients: Some(0),
        recovery: None,
        held: None,
        hold: None,
        active: Vec::new(),
        budget_remaining: 4,
        faults: Vec::new(),
        isolation: None,
        isolated: Duration::ZERO,
        time_sliced: Duration::ZERO,
        overlap: OverlapStatus::default(),
        engines,
    }
}

pub fn gpu() -> GpuStatus {
    let identity = GpuIdentity {
        uuid: GPU.into(),
        index: Some(0),
        pci_bus_id: Some("00000000:00:06.0".to_owned()),
        name: Some("NVIDIA H200".to_owned()),
        memory_total: Some(150_754_820_096),
        compute_mode: ComputeMode::Default,
        driver_version: Some("580.159.04".to_owned()),
        absent: false,
    };
    GpuStatus {
        identity,
        memory_used: Some(41 << 30),
        busy: Some(0.48),
        activity: None,
        foreign_processes: None,
        compute_mode: ComputeMode::Default,
        recovery_action: Some(RecoveryAction::None),
    }
}

pub fn source(source: Source, engine: Option<EngineKey>, last_success: Option<Moment>) -> SourceStatus {
    let gpu = (source == Source::Nvml).then(|| GPU.into());
    let group = (source == Source::Mps).then(|| "small-llms".into());
    let took = last_success.map(|_| Duration::from_micros(80));
    let state = if last_success.is_some() { SourceState::Answers } else { SourceState::Silent };
    let why = last_success.is_none().then(|| "no answer in its time".to_owned());
    let domain = (source == Source::Mps).then_some(Slot::Main);
    SourceStatus { scope: SourceScope { source, group, domain, engine, gpu }, state, why, last_success, took }
}

pub fn qwen_a() -> EngineKey {
    EngineKey { group: "small-llms".into(), engine: "qwen-a".into() }
}

/// One group of two engines that serves, at `seconds`.
pub fn status(seconds: f64) -> Status {
    let engines = vec![engine("qwen-a", EngineState::Serving), engine("qwen-b", EngineState::Serving)];
    let seen = Some(at(seconds - 0.25));
    Status {
        at: at(seconds),
        ready: true,
        groups: vec![group("small-llms", GroupState::Serving, engines)],
        gpus: vec![gpu()],
        driver_let_go: false,
        sources: vec![
            source(Source::Nvml, None, seen),
            source(Source::Mps, None, seen),
            source(Source::Engine, Some(qwen_a()), seen),
        ],
    }
}

/// The same, its engines probed and compared with their baselines: sharing does not pay. Its sums grow with time.
pub fn sharing(seconds: f64) -> Status {
    let mut status = status(seconds);
    let part = |share: f64| Duration::from_secs_f64(seconds / 300.0 * share);
    let of = |reason, engine, value| Advice { reason, engine, since: at(1.0), value };
    let group = &mut status.groups[0];
    group.overlap = OverlapStatus {
        windows: seconds as u64 / 15,
        sampled: part(1.0),
        by_clients: vec![part(0.25), part(0.5), part(0.25)],
        last_window: Some(at(seconds - 1.0)),
        gain: Some(1.02),
        advice: vec![of(AdviceReason::LowGain, None, 1.02), of(AdviceReason::Slowdown, Some("qwen-b".into()), 2.5)],
    };
    for (engine, busy) in group.engines.iter_mut().zip([0.6, 0.4]) {
        engine.sharing = EngineSharing {
            probe: ProbeState::Working,
            probe_note: None,
            kernel_busy: part(busy),
            slowdown: Some(1.0 / busy),
            baseline: Some(baseline(&engine.name)),
            baselines: 2,
        };
    }
    status
}

fn baseline(engine: &EngineName) -> Baseline {
    Baseline {
        engine: engine.clone(),
        running: 8.0,
        prompt_tokens: 512.0,
        generation_tokens: 128.0,
        tokens_per_second: 2600.0,
        samples: 12,
        source: BaselineSource::Study,
        taken: Taken::Unix(999_900_000),
    }
}

pub fn event(seconds: f64, engine: Option<&str>, what: What) -> Event {
    Event { at: at(seconds), group: Some("small-llms".into()), engine: engine.map(Into::into), what }
}

/// A fault of the group from its evidence to its end, an engine's death and what goes with them.
pub fn incident() -> Vec<Event> {
    let because = "server 624 is handling a fatal GPU error".to_owned();
    let xid = What::Xid { gpu: Some(GPU.into()), xid: 31, pid: Some(630) };
    let began = What::FaultBegan { fault: Fault::GpuFault, evidence_at: at(20.0), because };
    let restart =
        What::RestartBegan { tier: Tier::Clients, reason: Fault::GpuFault.into(), attempt: 1, budget_left: 4 };
    let exited = What::EngineExited { exit: Exit::Signal(9), cause: ExitCause::GroupRestart };
    let gone = What::StepEnded { step: RecoveryStep::Gone, took: Duration::from_millis(161) };
    let took = Duration::from_millis(1_834);
    let ended = What::RestartEnded { tier: Tier::Clients, result: RecoveryResult::Serving, took };
    let suppressed = What::Suppressed {
        action: SuppressedAction::KillUnknownClient,
        reason: Refusal::Observe,
        detail: String::new(),
    };
    vec![
        event(19.99, None, xid),
        event(20.0005, None, began),
        event(20.0005, None, restart),
        event(20.2, Some("qwen-a"), exited),
        event(20.2, None, gone),
        event(20.3, None, What::ServerStarted { server: 701 }),
        event(20.3, None, What::Command { result: CommandResult::Timeout }),
        event(21.0, None, suppressed),
        event(21.8345, None, ended),
    ]
}

/// An exporter, and the core loop's end of its statuses.
pub struct Exporting {
    pub exporter: Arc<Exporter>,
    pub statuses: watch::Sender<Arc<Status>>,
}

impl Exporting {
    /// Publishes a status as the core loop does it.
    pub fn publish(&self, status: Status) {
        self.exporter.count(&status);
        self.statuses.send_replace(Arc::new(status));
    }
}

impl Deref for Exporting {
    type Target = Exporter;

    fn deref(&self) -> &Exporter {
        &self.exporter
    }
}

pub fn exporter(known: &Status) -> Exporting {
    let build = BuildInfo { version: "0.1.0", revision: "abc1234", rustc: "1.90.0" };
    let (statuses, receiver) = watch::channel(Arc::new(known.clone()));
    let exporter = Exporter::new(build, || UNIX_EPOCH + Duration::from_secs(1_000_000_000), receiver);
    Exporting { exporter: Arc::new(exporter), statuses }
}

pub fn page_of(exporter: &Exporter, now: Moment) -> String {
    String::from_utf8(exporter.scrape(now).unwrap().to_vec()).unwrap()
}
