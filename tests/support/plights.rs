//! States that a person may be woken for, each with its history: all went well, and then it was so for a minute.

use std::sync::Arc;
use std::time::Duration;

use mpswarden::export::history::History;
use mpswarden::model::gpu::RecoveryAction;
use mpswarden::model::status::{IsolationStatus, RecoveryStatus};
use mpswarden::model::{
    EngineIsolation, EngineLoad, EngineState, EngineStatus, Fault, GroupState, GroupStatus, HeldReason, Hold, Incident,
    Mode, Moment, ProcessId, Reason, RecoveryStep, ServerState, Source, SourceState, Status, Tier,
};

use super::statuses::{self, at};

/// Seconds since 1970 of the boot: 2026-11-22 23:00:00 UTC.
pub const BOOT: f64 = 1_795_388_400.0;
/// Seconds since boot at which each state is looked at: 23:50:00.
pub const LOOKED_AT: f64 = 3000.0;
/// Seconds since boot from which on it is so: 23:49:00.
pub const SINCE: f64 = 2940.0;

/// A state and what was before it.
pub struct Plight {
    pub name: &'static str,
    pub status: Status,
    pub history: History,
    pub incidents: Vec<Arc<Incident>>,
}

/// The steps of a recovery that is at this one.
fn recovery(step: RecoveryStep, next_try: Option<f64>) -> Option<RecoveryStatus> {
    let reason = Some(Reason::Fault(Fault::GpuFault));
    Some(RecoveryStatus { tier: Tier::Clients, reason, step, since: at(SINCE), next_try: next_try.map(at) })
}

fn engine(name: &str) -> EngineStatus {
    let load = EngineLoad {
        running: Some(4.0),
        waiting: Some(1.0),
        kv_cache: Some(0.42),
        model: Some("Qwen/Qwen2.5-7B-Instruct".to_owned()),
        ..EngineLoad::default()
    };
    EngineStatus { load: Some(load), doubted: Vec::new(), ..statuses::engine(name, EngineState::Serving) }
}

fn down(name: &str, state: EngineState) -> EngineStatus {
    EngineStatus {
        state,
        attached: None,
        device_memory: Some(0),
        load: None,
        main: None,
        clients: Vec::new(),
        ..engine(name)
    }
}

fn group(name: &str) -> GroupStatus {
    let engines = vec![engine("qwen-a"), engine("qwen-b"), engine("qwen-c")];
    let group = statuses::group(name, GroupState::Serving, engines);
    GroupStatus { clients: Some(3), server_since: Some(at(100.0)), ..group }
}

fn well(seconds: f64) -> Status {
    let gpu = statuses::gpu();
    Status {
        at: at(seconds),
        ready: true,
        groups: vec![group("small-llms")],
        gpus: vec![gpu],
        sources: Vec::new(),
        driver_let_go: false,
    }
}

/// A state that differs from a good one by `change`.
fn plight(name: &'static str, change: impl FnOnce(&mut Status)) -> Plight {
    let mut status = well(LOOKED_AT);
    change(&mut status);
    let mut history = History::default();
    for second in 100..SINCE as u32 {
        let mut before = well(f64::from(second));
        if second < 150 {
            before.groups[0].state = GroupState::Starting;
            before.groups[0].engines =
                ["qwen-a", "qwen-b", "qwen-c"].map(|name| down(name, EngineState::Starting)).to_vec();
        }
        for (place, engine) in before.groups[0].engines.iter_mut().enumerate() {
            let wave = f64::from(second) / (90.0 + 40.0 * place as f64);
            if let Some(load) = &mut engine.load {
                load.running = Some((4.0 + 4.0 * wave.sin()).round());
            }
        }
        history.look(&before);
    }
    for second in SINCE as u32..=LOOKED_AT as u32 {
        history.look(&Status { at: at(f64::from(second)), ..status.clone() });
    }
    Plight { name, status, history, incidents: Vec::new() }
}

/// One in which only the group changes.
fn in_group(name: &'static str, change: impl FnOnce(&mut GroupStatus)) -> Plight {
    plight(name, |status| change(&mut status.groups[0]))
}

fn all_down(group: &mut GroupStatus, state: EngineState) {
    group.engines = ["qwen-a", "qwen-b", "qwen-c"].map(|name| down(name, state)).to_vec();
    (group.clients, group.server_since) = (Some(0), None);
}

fn held(group: &mut GroupStatus, reason: HeldReason, detail: &str) {
    all_down(group, EngineState::Stopped);
    group.state = GroupState::Held;
    group.held = Some((reason, detail.to_owned()));
    group.recovery = recovery(RecoveryStep::Memory, None);
    (group.server, group.server_pid) = (ServerState::None, None);
}

/// Every state of the soak, and those that it has no time for.
pub fn all() -> Vec<Plight> {
    let parts = [of_groups(), of_held_groups(), of_engines(), of_isolation(), of_the_rest()];
    parts.into_iter().flatten().collect()
}

fn of_groups() -> Vec<Plight> {
    vec![
        plight("well", |_| {}),
        in_group("starting", |group| {
            group.engines =
                vec![engine("qwen-a"), down("qwen-b", EngineState::Starting), down("qwen-c", EngineState::Stopped)];
            group.state = GroupState::Starting;
            group.engines[1].note = Some("its health endpoint does not answer 200 yet".to_owned());
            group.recovery = recovery(RecoveryStep::Ready, None);
            if let Some(recovery) = &mut group.recovery {
                recovery.reason = None;
            }
        }),
        in_group("restarting", |group| {
            all_down(group, EngineState::Stopped);
            group.state = GroupState::Recovering;
            group.recovery = recovery(RecoveryStep::Memory, None);
            group.faults = vec![(None, Fault::GpuFault)];
            group.server = ServerState::Fault;
        }),
        in_group("back-off", |group| {
            all_down(group, EngineState::Stopped);
            group.state = GroupState::Recovering;
            group.budget_remaining = 0;
            group.recovery = recovery(RecoveryStep::Backoff, Some(LOOKED_AT + 240.0));
        }),
        in_group("on-hold", |group| {
            let reason = "driver upgrade".to_owned();
            group.hold = Some(Hold { reason, since: at(SINCE), until: Some(at(LOOKED_AT + 3600.0)) });
        }),
        in_group("left-alone", |group| {
            group.hold = Some(Hold { reason: "debugging".to_owned(), since: at(2000.0), until: None });
            group.state = GroupState::Degraded;
            all_down(group, EngineState::Stopped);
            group.faults = vec![(None, Fault::ServerDied)];
        }),
        in_group("observed", |group| {
            group.mode = Mode::Observe;
            group.state = GroupState::Degraded;
            all_down(group, EngineState::Failing);
            group.faults = vec![(None, Fault::GpuFault)];
        }),
        in_group("stopped", |group| {
            all_down(group, EngineState::Stopped);
            group.state = GroupState::Stopped;
            (group.control, group.control_up, group.server) = (None, None, ServerState::None);
        }),
        in_group("budget-spent", |group| group.budget_remaining = 0),
    ]
}

fn of_held_groups() -> Vec<Plight> {
    let gone = "the driver wants gpu_reset";
    vec![
        in_group("held-budget", |group| {
            held(group, HeldReason::BudgetSpent, "5 restarts within 3600 s are the budget, and it is spent");
            group.budget_remaining = 0;
        }),
        in_group("held-memory", |group| {
            held(group, HeldReason::MemoryNotBack, "12 GiB are still held by process 99");
        }),
        in_group("held-process", |group| {
            group.state = GroupState::Held;
            group.engines[1] = down("qwen-b", EngineState::Stopping);
            let detail = "a process of qwen-b does not die: 4711 is in the driver (state D)".to_owned();
            group.held = Some((HeldReason::ProcessStuck, detail));
        }),
        in_group("held-server", |group| {
            held(group, HeldReason::ServerCannotStart, "MPS server 701 ended with status 1 before it was ever ready");
            group.recovery = recovery(RecoveryStep::Active, Some(LOOKED_AT + 30.0));
        }),
        plight("gpu-reset", |status| {
            status.groups.push(group("embedders"));
            for group in &mut status.groups {
                held(group, HeldReason::GpuResetNeeded, gone);
                group.recovery = recovery(RecoveryStep::Gpu, None);
                group.faults = vec![(None, Fault::GpuResetNeeded)];
                (group.control, group.control_up) = (None, None);
            }
            status.gpus[0].recovery_action = Some(RecoveryAction::GpuReset);
        }),
        plight("gpu-lost", |status| {
            held(&mut status.groups[0], HeldReason::GpuLost, "the GPU is off the bus, by Xid 79");
            status.groups[0].faults = vec![(None, Fault::GpuLost)];
            (status.gpus[0].memory_used, status.gpus[0].busy) = (None, None);
        }),
    ]
}

fn of_engines() -> Vec<Plight> {
    let qwen_b = || Some("qwen-b".into());
    vec![
        in_group("engine-back-off", |group| {
            group.state = GroupState::Degraded;
            let note = Some("main process ended with signal 9".to_owned());
            let next_try = Some(at(LOOKED_AT + 45.0));
            group.engines[1] = EngineStatus { note, next_try, failures: 3, ..down("qwen-b", EngineState::Failing) };
            group.faults = vec![(qwen_b(), Fault::EngineDied)];
        }),
        in_group("engine-quarantined", |group| {
            let note = Some("main process ended with status 1".to_owned());
            group.engines[1] = EngineStatus { note, failures: 5, ..down("qwen-b", EngineState::Quarantined) };
            group.faults = vec![(qwen_b(), Fault::CrashLoop)];
        }),
        in_group("engine-hangs", |group| group.faults = vec![(qwen_b(), Fault::Hang)]),
        in_group("engine-stopped", |group| {
            let note = Some("an operator stopped it".to_owned());
            group.engines[1] = EngineStatus { note, ..down("qwen-b", EngineState::Stopped) };
        }),
        in_group("engine-leaks", |group| {
            group.faults = vec![(qwen_b(), Fault::MemoryLeak)];
            group.engines[1].memory_time_to_limit = Some(Duration::from_secs(900));
        }),
    ]
}

fn of_isolation() -> Vec<Plight> {
    let isolation = |since: Option<Moment>| IsolationStatus {
        since,
        suspects: vec!["qwen-b".into(), "qwen-c".into()],
        apart: vec!["qwen-b".into()],
        guilty: Vec::new(),
        faults: 2,
        server: ServerState::Active,
        server_pid: Some(702),
        control: Some(ProcessId { pid: 701, started_at: 9 }),
    };
    let apart = "runs apart from the others: its group's faults repeat, and it may be the cause";
    vec![
        in_group("isolation", |group| {
            group.isolation = Some(isolation(Some(at(SINCE))));
            group.engines[1].isolation = EngineIsolation::Apart;
            group.engines[1].note = Some(apart.to_owned());
            group.engines[2].isolation = EngineIsolation::Suspect;
        }),
        in_group("guilty", |group| {
            let guilty = vec!["qwen-b".into()];
            group.isolation = Some(IsolationStatus { guilty, suspects: Vec::new(), ..isolation(None) });
            group.engines[1].isolation = EngineIsolation::Guilty;
            group.engines[1].note =
                Some("proven guilty of its group's repeated faults; kept from the others until released".to_owned());
        }),
    ]
}

fn of_the_rest() -> Vec<Plight> {
    vec![
        plight("blind", |status| {
            let mut nvml = statuses::source(Source::Nvml, None, Some(at(SINCE)));
            (nvml.state, nvml.why) = (SourceState::Silent, Some("the driver hangs".to_owned()));
            status.sources.push(nvml);
        }),
        in_group("foreign-process", |group| group.faults = vec![(None, Fault::ForeignProcess)]),
        plight("driver-wants", |status| {
            status.gpus[0].recovery_action = Some(RecoveryAction::RecoverImexDomain);
        }),
        plight("beginning", |status| {
            status.ready = false;
            let group = &mut status.groups[0];
            all_down(group, EngineState::Stopped);
            (group.state, group.server, group.control, group.control_up) =
                (GroupState::Unknown, ServerState::Unknown, None, None);
        }),
    ]
}
