//! The statuses of `support::statuses` with every kind of trouble in them, and incidents.

use std::sync::Arc;
use std::time::Duration;

use mpswarden::model::gpu::GpuActivity;
use mpswarden::model::status::RecoveryStatus;
use mpswarden::model::{
    Advice, AdviceReason, EngineKey, EngineKind, EngineLoad, EngineSharing, EngineState, EngineStatus, Fault,
    GpuIdentity, GpuStatus, GroupState, GroupStatus, HeldReason, Hold, Incident, IncidentLine, Mode, Moment,
    OverlapStatus, ProbeState, ProcessId, RecoveryStep, ServerState, Source, SourceScope, SourceState, SourceStatus,
    Status, Strength, Suspicion, Tier,
};
use serde_json::{Value, json};

use crate::support::statuses;

/// 2026-11-22 23:05:02 UTC.
pub const NOW: f64 = 1_795_388_702.0;
const GIB: u64 = 1 << 30;
const GPU: &str = "GPU-daa6eae7";

pub fn at(seconds: u64) -> Moment {
    Moment::ZERO.after(Duration::from_secs(seconds))
}

/// An engine that serves.
pub fn engine(name: &str) -> EngineStatus {
    let load = EngineLoad { running: Some(12.0), waiting: Some(3.0), kv_cache: Some(0.45), ..EngineLoad::default() };
    EngineStatus {
        address: "http://127.0.0.1:8001".into(),
        device_memory_limit: Some(60 * GIB),
        resident_memory: Some(2_200 << 20),
        cpu: Duration::from_secs(90),
        kind: EngineKind::Other,
        doubted: Vec::new(),
        load: Some(load),
        main: Some(ProcessId { pid: 4711, started_at: 7 }),
        clients: vec![4712],
        ..statuses::engine(name, EngineState::Serving)
    }
}

/// A group that serves.
pub fn group(name: &str, engines: Vec<EngineStatus>) -> GroupStatus {
    GroupStatus {
        gpus: GPU.into(),
        control: Some(ProcessId { pid: 4700, started_at: 5 }),
        server_pid: Some(4701),
        server_since: Some(at(808)),
        clients: Some(3),
        clients_limit: Some(60),
        ..statuses::group(name, GroupState::Serving, engines)
    }
}

/// Groups at 1000 s after the boot.
pub fn status(groups: Vec<GroupStatus>) -> Status {
    let gpu = statuses::gpu();
    let identity = GpuIdentity { uuid: GPU.into(), memory_total: Some(140 * GIB), ..gpu.identity };
    let gpu = GpuStatus {
        identity,
        memory_used: Some(61 * GIB),
        busy: Some(0.93),
        activity: Some(GpuActivity { sm_active: Some(0.71), ..GpuActivity::default() }),
        foreign_processes: Some(0),
        recovery_action: None,
        ..gpu
    };
    Status { at: at(1000), ready: true, groups, gpus: vec![gpu], sources: Vec::new(), driver_let_go: false }
}

/// The document of a status, as `/api/v1/status` has it.
pub fn document(status: &Status) -> Value {
    let mut document = serde_json::to_value(status).unwrap();
    document["timestamp_seconds"] = json!(NOW);
    document["boot_timestamp_seconds"] = json!(NOW - 1000.0);
    document["build"] = json!({ "version": "0.1.0", "revision": "x", "rustc": "x" });
    document
}

/// All is well with three engines.
pub fn well() -> Status {
    status(vec![group("small-llms", vec![engine("qwen-a"), engine("qwen-b"), engine("qwen-c")])])
}

/// The kernel probe is there and baselines are known; sharing does not pay.
pub fn sharing() -> Status {
    let engines = [
        ("qwen-a", ProbeState::Working, Some(3.4), None),
        ("qwen-b", ProbeState::Unavailable, Some(1.1), Some("another\u{1b} injection")),
        ("qwen-c", ProbeState::Off, None, None),
    ];
    let engines = engines.map(|(name, probe, slowdown, note)| {
        let probe_note = note.map(str::to_owned);
        let sharing = EngineSharing { probe, probe_note, slowdown, ..EngineSharing::default() };
        EngineStatus { sharing, ..engine(name) }
    });
    let advice = [(AdviceReason::LowGain, None, 1.02), (AdviceReason::Slowdown, Some("qwen-a".into()), 3.4)];
    let overlap = OverlapStatus {
        windows: 120,
        sampled: Duration::from_secs(6),
        by_clients: [1_200, 2_340, 1_860, 600].map(Duration::from_millis).to_vec(),
        last_window: Some(at(988)),
        gain: Some(1.02),
        advice: advice.map(|(reason, engine, value)| Advice { reason, engine, since: at(1000 - 900), value }).to_vec(),
    };
    let waiting = EngineSharing { probe: ProbeState::Waiting, ..EngineSharing::default() };
    let waiting = group("big", vec![EngineStatus { sharing: waiting, ..engine("llama") }]);
    status(vec![GroupStatus { overlap, ..group("small-llms", engines.to_vec()) }, waiting])
}

/// What can be wrong, is.
pub fn troubled() -> Status {
    let recovering = GroupStatus {
        state: GroupState::Recovering,
        server: ServerState::Fault,
        unknown_clients: Some(1),
        recovery: Some(RecoveryStatus {
            tier: Tier::Clients,
            reason: Some(Fault::GpuFault.into()),
            step: RecoveryStep::Memory,
            since: at(997),
            next_try: None,
        }),
        faults: vec![(None, Fault::GpuFault), (Some("qwen-a".into()), Fault::Hang)],
        ..group("small-llms", vec![ended("qwen-a"), hostile("qwen-b"), quarantined("引擎-c")])
    };
    let held = GroupStatus {
        state: GroupState::Held,
        mode: Mode::Observe,
        control_up: None,
        server: ServerState::None,
        server_pid: None,
        server_since: None,
        clients: None,
        held: Some((HeldReason::ProcessStuck, "process 4711 does not die (state D): only a reboot ends it".to_owned())),
        budget_remaining: 0,
        ..group("big", vec![blind("llama")])
    };
    let hold = Hold { reason: "new model\u{1b}[2J".to_owned(), since: at(808), until: Some(at(7408)) };
    let on_hold = GroupStatus {
        hold: Some(hold),
        held: Some((HeldReason::Operator, "new model".to_owned())),
        ..group("quiet", vec![engine("phi")])
    };
    let mut status = status(vec![recovering, held, on_hold]);
    let engine = EngineKey { group: "big".into(), engine: "llama".into() };
    let scope = SourceScope::of_engine(Source::Engine, engine);
    status.sources = vec![SourceStatus {
        scope,
        state: SourceState::Silent,
        why: Some("no answer from its port".to_owned()),
        last_success: Some(at(900)),
        took: None,
    }];
    status
}

fn ended(name: &str) -> EngineStatus {
    EngineStatus {
        state: EngineState::Stopped,
        attached: None,
        device_memory: None,
        resident_memory: None,
        load: None,
        main: None,
        clients: Vec::new(),
        ..engine(name)
    }
}

fn hostile(name: &str) -> EngineStatus {
    EngineStatus {
        state: EngineState::Failing,
        attached: Some(false),
        device_memory: Some(59 * GIB),
        memory_time_to_limit: Some(Duration::from_secs(250)),
        load: Some(EngineLoad { running: Some(f64::NAN), ..EngineLoad::default() }),
        note: Some("said \u{1b}]0;owned\u{7}\u{202e} and\nmore".to_owned()),
        ..engine(name)
    }
}

fn quarantined(name: &str) -> EngineStatus {
    EngineStatus {
        state: EngineState::Quarantined,
        failures: 5,
        incarnation: 12,
        note: Some("failed too often".to_owned()),
        ..ended(name)
    }
}

fn blind(name: &str) -> EngineStatus {
    EngineStatus {
        state: EngineState::Unknown,
        attached: None,
        device_memory: None,
        device_memory_limit: None,
        resident_memory: None,
        load: None,
        ..engine(name)
    }
}

/// One that ended, and one that has not; newest first.
pub fn incidents() -> Vec<Arc<Incident>> {
    let line = |at: f64, engine: Option<&str>, word: &str, text: &str, took: Option<f64>| IncidentLine {
        at: NOW + at,
        engine: engine.map(Into::into),
        word: word.to_owned(),
        text: text.to_owned(),
        took,
    };
    let suspicion = |engine: &str, strength: Strength, why: &str| Suspicion {
        engine: engine.into(),
        strength,
        why: vec![why.to_owned()],
    };
    let recovered = Incident {
        id: "20261122T230502.000-small-llms-gpu_fault".to_owned(),
        group: "small-llms".into(),
        engine: None,
        fault: Fault::GpuFault,
        because: "server 4701 is handling a fatal GPU error; its log names client 4712, which is no proof".to_owned(),
        evidence_at: NOW,
        decided_at: NOW + 0.0004,
        ended_at: Some(NOW + 5.37),
        result: Some("serving".to_owned()),
        caused_by: None,
        requests_in_flight: Some(15.0),
        unavailable_seconds: [("qwen-a".into(), 1.98), ("qwen-b".into(), 5.37)].into(),
        verdict: Some(
            "not known: it was one of qwen-a, qwen-b; the server's log names qwen-a, which is no proof".to_owned(),
        ),
        suspects: vec![
            suspicion(
                "qwen-a",
                Strength::Weak,
                "12 requests running and 3 waiting when last read, 812 ms before the fault",
            ),
            suspicion("qwen-b", Strength::Weak, "it is not known whether it had work"),
            suspicion(
                "qwen-c",
                Strength::Cleared,
                "it had been idle for 62.0 s when last read, 1.1 s before the fault",
            ),
        ],
        evidence: vec![
            line(-0.812, Some("qwen-a"), "load", "12 requests running, 3 waiting", None),
            line(0.0, None, "server_log", "server 4701 is handling a fatal GPU error", None),
            line(0.0003, None, "xid", "Xid 31, its line names pid 4712", None),
        ],
        lines: vec![
            line(0.0004, None, "gpu_fault", "server 4701 is handling a fatal GPU error", None),
            line(0.0005, None, "restart", "restarting all clients because of gpu_fault", None),
            line(0.0036, None, "step", "kill took 3.1 ms", Some(0.0031)),
            line(0.22, Some("qwen-a"), "cuda_error", "output names CUDA error 700: \u{1b}[2J", None),
            line(5.37, None, "serving", "restart of all clients ended serving after 5.37 s", Some(5.37)),
        ],
        omitted: 7,
    };
    let open = Incident {
        id: "20261122T230402.000-small-llms-engine_died".to_owned(),
        engine: Some("qwen-b".into()),
        fault: Fault::EngineDied,
        because: "main process ended with signal 9".to_owned(),
        evidence_at: NOW - 60.0,
        decided_at: NOW - 60.0,
        ended_at: None,
        result: None,
        verdict: None,
        suspects: Vec::new(),
        evidence: Vec::new(),
        lines: Vec::new(),
        omitted: 0,
        ..recovered.clone()
    };
    vec![Arc::new(recovered), Arc::new(open)]
}
