//! The page from hand-made statuses: what is there, what is escaped, what unknown looks like.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::export::history::History;
use crate::export::{BuildInfo, testing};
use crate::model::gpu::{ComputeMode, GpuActivity, RecoveryAction};
use crate::model::status::RecoveryStatus;
use crate::model::{
    Advice, AdviceReason, Baseline, BaselineSource, EngineLoad, EngineSharing, EngineState, EngineStatus, Fault,
    GpuIdentity, GpuStatus, GroupState, GroupStatus, HeldReason, Hold, Incident, IncidentLine, Moment, OverlapStatus,
    ProbeState, ProcessId, RecoveryStep, Source, SourceScope, SourceState, SourceStatus, Status, Strength, Suspicion,
    Taken, Tier,
};

const GPU: &str = "GPU-daa6eae7-01a7-671e-20e2-f7a899778d3c";
const BOOT: f64 = 1_795_389_000.0;

fn at(seconds: f64) -> Moment {
    Moment::from_nanos((seconds * 1e9) as u64)
}

fn engine(name: &str, gib: u64, state: EngineState) -> EngineStatus {
    let load = EngineLoad {
        running: Some(3.0),
        waiting: Some(1.0),
        kv_cache: Some(0.42),
        model: Some("Qwen/Qwen2.5-0.5B-Instruct".to_owned()),
        ..EngineLoad::default()
    };
    EngineStatus {
        state,
        attached: Some(true),
        device_memory: Some(gib << 30),
        device_memory_limit: Some(40 << 30),
        load: Some(load),
        main: Some(ProcessId { pid: 600, started_at: 9 }),
        ..testing::engine(name)
    }
}

fn group(engines: Vec<EngineStatus>) -> GroupStatus {
    GroupStatus {
        gpus: GPU.into(),
        generation: 2,
        control_up: Some(true),
        control: Some(ProcessId { pid: 610, started_at: 9 }),
        server_pid: Some(624),
        server_since: Some(at(12.5)),
        clients: Some(3),
        unknown_clients: Some(0),
        budget_remaining: 4,
        engines,
        ..testing::group("small-llms")
    }
}

fn gpu_status() -> GpuStatus {
    GpuStatus {
        identity: GpuIdentity {
            uuid: GPU.into(),
            index: Some(0),
            pci_bus_id: Some("00000000:00:06.0".to_owned()),
            name: Some("NVIDIA H200".to_owned()),
            memory_total: Some(140 << 30),
            compute_mode: ComputeMode::Default,
            driver_version: Some("580.159.04".to_owned()),
            absent: false,
        },
        memory_used: Some(90 << 30),
        busy: Some(0.48),
        activity: Some(GpuActivity { sm_active: Some(0.116), ..GpuActivity::default() }),
        foreign_processes: Some(0),
        compute_mode: ComputeMode::Default,
        recovery_action: Some(RecoveryAction::None),
    }
}

fn serving() -> Status {
    let engines = vec![engine("qwen-a", 30, EngineState::Serving), engine("qwen-b", 20, EngineState::Serving)];
    Status { at: at(60.0), gpus: vec![gpu_status()], ..testing::status(vec![group(engines)]) }
}

fn line(after: f64, word: &str, text: &str, took: Option<f64>) -> IncidentLine {
    IncidentLine { at: BOOT + 30.0 + after, engine: None, word: word.to_owned(), text: text.to_owned(), took }
}

fn incident() -> Incident {
    Incident {
        id: "20261122T231030.000-small-llms-gpu_fault".to_owned(),
        group: "small-llms".into(),
        engine: None,
        fault: Fault::GpuFault,
        because: "server 624 is handling a fatal GPU error".to_owned(),
        evidence_at: BOOT + 30.0,
        decided_at: BOOT + 30.0002,
        ended_at: Some(BOOT + 35.37),
        result: Some("serving".to_owned()),
        caused_by: None,
        requests_in_flight: None,
        unavailable_seconds: std::collections::BTreeMap::new(),
        verdict: Some("not known: it was one of qwen-a, qwen-b".to_owned()),
        suspects: vec![Suspicion {
            engine: "qwen-a".into(),
            strength: Strength::Weak,
            why: vec!["its load was <unknown>".to_owned()],
        }],
        evidence: vec![line(0.001, "xid", "Xid 31, its line names pid 630", None)],
        lines: vec![
            line(0.003, "step", "kill took 3.1 ms", Some(0.0031)),
            line(0.218, "step", "gone took 215 ms", Some(0.215)),
            line(5.37, "serving", "restart of all clients ended serving after 5.37 s", Some(5.37)),
        ],
        omitted: 0,
    }
}

fn page(status: &Status, incidents: &[Incident]) -> String {
    let incidents: Vec<Arc<Incident>> = incidents.iter().cloned().map(Arc::new).collect();
    document(&view(status, &incidents, &History::default()))
}

fn view<'a>(status: &'a Status, incidents: &'a [Arc<Incident>], history: &'a History) -> View<'a> {
    View {
        status,
        since: history.since(status),
        history,
        incidents,
        build: BuildInfo { version: "0.1.0", revision: "", rustc: "" },
        host: "gpu-node-7",
        telemetry_path: "/metrics",
        boot: BOOT,
        zone: TimeZone::UTC,
        now: at(60.5),
    }
}

/// What a reader sees: the text without tags, style and script.
fn text(page: &str) -> String {
    let body = page.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
    let mut inside = false;
    let visible = |c: char| {
        let was = inside;
        inside = (inside || c == '<') && c != '>';
        if was || inside { ' ' } else { c }
    };
    let text: String = body.chars().map(visible).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn shows(page: &str, parts: &[&str]) {
    let text = text(page);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn a_group_that_serves_is_shown_with_gpu_server_and_engines() {
    let page = page(&serving(), &[]);
    shows(
        &page,
        &[
            "All 2 engines serve",
            "2 of 2 engines serve · 0 faults · 4 restarts left",
            "GPU 0 NVIDIA H200",
            "memory: 90.0 GiB of 140.0 GiB",
            "busy 48 %",
            "SM active 12 %",
            "small-llms serving",
            "control daemon answers",
            "MPS server active 3 of 48 clients",
            "qwen-a serving",
            "Qwen/Qwen2.5-0.5B-Instruct",
            "30.0 GiB of 40.0 GiB",
            "running 3",
            "KV 42 %",
            "None is remembered.",
        ],
    );
}

fn shared() -> Status {
    let mut status = serving();
    let group = &mut status.groups[0];
    let advice = Advice { reason: AdviceReason::LowGain, engine: None, since: at(0.0), value: 1.02 };
    group.overlap = OverlapStatus {
        windows: 120,
        sampled: Duration::from_secs(6),
        by_clients: [1_200, 2_340, 2_460].map(Duration::from_millis).to_vec(),
        last_window: Some(at(57.0)),
        gain: Some(1.02),
        advice: vec![advice],
    };
    let baseline = Baseline {
        engine: "qwen-a".into(),
        running: 8.0,
        prompt_tokens: 512.0,
        generation_tokens: 128.0,
        tokens_per_second: 2600.4,
        samples: 12,
        source: BaselineSource::Study,
        taken: Taken::Unix((BOOT + 60.0) as u64 - 7200),
    };
    group.engines[0].sharing = EngineSharing {
        probe: ProbeState::Working,
        probe_note: None,
        kernel_busy: Duration::from_secs(3),
        slowdown: Some(1.5),
        baseline: Some(baseline),
        baselines: 1,
    };
    let note = Some("another injection".to_owned());
    let probe = ProbeState::Unavailable;
    group.engines[1].sharing = EngineSharing { probe, probe_note: note, ..EngineSharing::default() };
    status
}

#[test]
fn what_is_simulated_is_said_to_be_so() {
    const BANNER: &str = "simulated: no GPU or engine here is real";
    let mut status = serving();
    assert!(!page(&status, &[]).contains(BANNER));
    status.gpus[0].identity.name = Some("NVIDIA H200 (simulated)".to_owned());
    assert!(page(&status, &[]).contains(BANNER));
}

#[test]
fn overlap_gain_and_advice_are_shown_and_nothing_of_them_where_nobody_asked() {
    shows(
        &page(&shared(), &[]),
        &[
            "sharing does not pay: gain 1.02, since 1 min · Runbook MpsSharingDoesNotPay",
            "kernels on the GPU: none 20 % · 1 client 39 % · 2 clients 41 %",
            "gain 1.02 120 windows, the last 3 s ago",
            "kernels 50 % of sampled time slowed 1.50×",
            "kernel probe working",
            "baseline study: 2600 tokens/s, 12 samples, 2 h old",
            "kernel probe unavailable: another injection",
        ],
    );
    assert!(!text(&page(&shared(), &[])).contains("kernels 0 %"), "nobody knows what qwen-b ran");
    let plain = text(&page(&serving(), &[]));
    assert!(!["probe", "gain", "baseline", "kernels"].iter().any(|word| plain.contains(word)), "{plain}");
}

#[test]
fn an_incident_is_told_with_its_evidence_decision_and_steps() {
    let page = page(&serving(), &[incident()]);
    shows(
        &page,
        &[
            "gpu_fault small-llms",
            "Evidence: server 624 is handling a fatal GPU error",
            "Decided 0.2 ms after it",
            "kill 3.1 ms",
            "gone 215 ms",
            "serving after 5.37 s",
        ],
    );
}

#[test]
fn a_restart_on_its_way_shows_the_step_that_it_is_in() {
    let mut status = serving();
    status.groups[0].state = GroupState::Recovering;
    let step = RecoveryStep::Gone;
    let reason = Some(Fault::GpuFault.into());
    status.groups[0].recovery =
        Some(RecoveryStatus { tier: Tier::Clients, reason, step, since: at(58.0), next_try: None });
    let page = page(&status, &[]);
    shows(&page, &["small-llms restarts all its engines", "Restart of the clients tier, for 2 s: step 3 of 8, gone"]);
    assert!(page.contains("<li class=\"done\">kill</li><li class=\"now\">gone</li><li class=\"todo\">memory</li>"));
}

#[test]
fn what_is_not_known_is_called_unknown_and_never_zero() {
    let mut status = serving();
    status.gpus[0].memory_used = None;
    status.gpus[0].busy = None;
    status.groups[0].control_up = None;
    status.groups[0].clients = None;
    status.groups[0].engines[0].device_memory = None;
    status.groups[0].engines[0].load = None;
    status.sources.push(SourceStatus {
        scope: SourceScope::of_gpu(Source::Nvml, GPU.into()),
        state: SourceState::Silent,
        why: Some("the driver hangs".to_owned()),
        last_success: Some(at(30.0)),
        took: None,
    });
    let page = page(&status, &[]);
    shows(&page, &["memory: unknown", "control daemon unknown", "? of 48 clients", "device memory: unknown"]);
    shows(
        &page,
        &["mpswarden is blind: nvml of GPU 0 does not answer", ", since 23:10:30 UTC (30 s) : the driver hangs"],
    );
}

#[test]
fn a_held_group_and_a_hold_say_why() {
    let mut status = serving();
    status.groups[0].state = GroupState::Held;
    status.groups[0].held = Some((HeldReason::MemoryNotBack, "12 GiB are still held by pid 99".to_owned()));
    status.groups[0].hold = Some(Hold { reason: "driver upgrade".to_owned(), since: at(0.0), until: Some(at(180.0)) });
    shows(
        &page(&status, &[]),
        &[
            "small-llms is held, 2 of 2 engines serve",
            "Held, memory_not_back: 12 GiB are still held by pid 99",
            "On hold for 1 min: driver upgrade",
        ],
    );
}

#[test]
fn nothing_that_an_engine_says_can_become_markup() {
    let nasty = "</style><script>alert(1)</script>\"'&";
    let mut status = serving();
    status.groups[0].name = nasty.into();
    status.groups[0].engines[0].name = nasty.into();
    status.groups[0].engines[0].note = Some(nasty.to_owned());
    status.groups[0].engines[0].load.as_mut().unwrap().model = Some(nasty.to_owned());
    let evil = Incident { id: nasty.to_owned(), because: nasty.to_owned(), group: nasty.into(), ..incident() };
    let page = page(&status, &[evil]);
    assert!(!page.contains("alert(1)</script>"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn nothing_that_drives_a_terminal_or_turns_a_line_reaches_the_page() {
    let nasty = "a\u{1b}[2J\u{9b}\u{202e}b\u{200b}\nc";
    for state in [GroupState::Degraded, GroupState::Held, GroupState::Recovering] {
        let mut status = serving();
        let group = &mut status.groups[0];
        (group.name, group.state) = (nasty.into(), state);
        group.held = (state == GroupState::Held).then(|| (HeldReason::MemoryNotBack, nasty.to_owned()));
        group.hold = Some(Hold { reason: nasty.to_owned(), since: at(0.0), until: None });
        group.engines[0].name = nasty.into();
        group.engines[0].state = EngineState::Failing;
        group.engines[0].note = Some(nasty.to_owned());
        status.sources.push(SourceStatus {
            scope: SourceScope::of_group(Source::Mps, nasty.into()),
            state: SourceState::Silent,
            why: Some(nasty.to_owned()),
            last_success: None,
            took: None,
        });
        let mut history = History::default();
        history.look(&status);
        let evil = Arc::new(Incident { group: nasty.into(), because: nasty.to_owned(), ..incident() });
        let page = document(&view(&status, &[evil], &history));
        let driving = page.chars().find(|c| *c != '\n' && plain::is_order(*c));
        assert_eq!(driving, None, "{state}");
    }
}

#[test]
fn an_old_status_is_said_to_be_old() {
    let status = Status { at: at(10.0), ..serving() };
    shows(&page(&status, &[]), &["mpswarden itself is stuck", "its core loop last published a status 50 s ago"]);
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    let mut status = serving();
    status.groups[0].held = Some((HeldReason::MemoryNotBack, String::new()));
    let page = page(&status, &[incident()]);
    for elsewhere in ["http://", "src=", "//cdn", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    // Links to runbooks are followed by people alone.
    let away = page.split("https://").skip(1).collect::<Vec<_>>();
    assert!(!away.is_empty());
    assert_eq!(page.matches("<a class=\"runbook\" rel=\"noreferrer\" href=\"https://").count(), away.len());
}

#[test]
fn what_is_fetched_again_is_what_the_page_holds_at_first() {
    let status = serving();
    let history = History::default();
    let view = view(&status, &[], &history);
    assert!(document(&view).contains(&fragment(&view)));
}

#[test]
fn the_tab_says_the_worst_and_where() {
    let title = |page: &str| page.split("<title>").nth(1).unwrap().split("</title>").next().unwrap().to_owned();
    assert_eq!(title(&page(&serving(), &[])), "All 2 engines serve · gpu-node-7 · mpswarden");
    let mut status = serving();
    status.groups[0].held = Some((HeldReason::MemoryNotBack, String::new()));
    assert!(title(&page(&status, &[])).starts_with("⚠ small-llms is held"));
    assert!(page(&status, &[]).contains("data-title=\"⚠ small-llms is held"), "for the script");
}

#[test]
fn two_servers_are_drawn_where_two_run() {
    let mut status = serving();
    assert!(!text(&page(&status, &[])).contains("second MPS server"));
    status.groups[0].isolation = Some(crate::model::IsolationStatus {
        since: Some(at(50.0)),
        suspects: vec!["qwen-a".into(), "qwen-b".into()],
        apart: vec!["qwen-b".into()],
        guilty: Vec::new(),
        faults: 2,
        server: crate::model::ServerState::Active,
        server_pid: Some(702),
        control: Some(ProcessId { pid: 701, started_at: 9 }),
    });
    let text = text(&page(&status, &[]));
    let (first, second) = text.split_once("second MPS server active isolation · pid 702").unwrap();
    assert!(first.contains("qwen-a serving") && second.contains("qwen-b serving"), "{text}");
}

#[test]
fn a_page_of_many_long_incidents_stays_small_and_says_where_the_rest_is() {
    let long = |number: usize| {
        let lines: Vec<IncidentLine> =
            (0..200).map(|at| line(f64::from(at), "failing", &"x".repeat(500), None)).collect();
        Incident { id: format!("incident-{number}"), evidence: lines.clone(), lines, ..incident() }
    };
    let page = page(&serving(), &(0..100).map(long).collect::<Vec<_>>());
    assert!(page.len() < 100_000, "{}", page.len());
    shows(&page, &["200 lines are not here: mpswarden incidents incident-19"]);
}
