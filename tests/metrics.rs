//! The exporter from outside: what a scrape says, that it is well-formed, and how the server behaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use mpswarden::export::http;
use mpswarden::export::{NoPage, TooOld};
use mpswarden::model::gpu::GpuActivity;
use mpswarden::model::status::RecoveryStatus;
use mpswarden::model::{
    EngineLoad, EngineState, Event, Fault, GroupState, HeldReason, Hold, Moment, RecoveryStep, ServerState, Status,
    Tier, What,
};
use mpswarden::web::{Gate, Server};

use crate::support::statuses::{Exporting, at, event, exporter, incident, page_of, status};

fn scraped(status: &Status) -> Scrape {
    parse(&page_of(&exporter(status), status.at))
}

// ---- a strict reader of the exposition format ----

/// Values by series, spelled `name{label="value",...}` with labels in the order of the text.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series}"))
    }

    fn has(&self, series: &str) -> bool {
        self.0.contains_key(series)
    }

    /// The last label's value of the one series that is 1, of all that begin so.
    #[track_caller]
    fn the_one(&self, prefix: &str) -> String {
        let ones: Vec<&String> = self
            .0
            .iter()
            .filter(|(key, value)| key.starts_with(prefix) && **value == 1.0)
            .map(|(key, _)| key)
            .collect();
        assert_eq!(ones.len(), 1, "{prefix}: {ones:?}");
        ones[0].rsplit('"').nth(1).unwrap().to_owned()
    }
}

/// Fails on whatever a strict reader would refuse: HELP and TYPE once and before the samples, families in
/// one piece, no series twice, labels well-formed and escaped, histograms that add up.
fn parse(text: &str) -> Scrape {
    assert!(text.ends_with('\n'));
    let (mut types, mut helps, mut family) = (BTreeMap::new(), BTreeSet::new(), String::new());
    let mut series = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split_once(' ').expect("help has text").0.to_owned();
            assert!(helps.insert(family.clone()), "{family}: HELP twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type has a word");
            assert_eq!(name, family, "TYPE follows its HELP");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name}: TYPE twice");
        } else {
            let (name, labels, value) = parse_sample(line);
            let base = if types[&family] == "histogram" { without_suffix(&name) } else { &name };
            assert_eq!(base, family, "a sample belongs to the family above it");
            assert!(series.insert(format!("{name}{labels}"), value).is_none(), "{line}: twice");
        }
    }
    check_histograms(text);
    Scrape(series)
}

fn without_suffix(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).expect("a histogram's suffix")
}

/// Name, labels as written, value.
fn parse_sample(line: &str) -> (String, String, f64) {
    let name_end = line.find(['{', ' ']).expect("a name");
    let name = &line[..name_end];
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'), "{line}");
    let labels_end = if line[name_end..].starts_with('{') { labels_end(line, name_end) } else { name_end };
    let value = line[labels_end..].strip_prefix(' ').expect("one space before the value");
    (name.to_owned(), line[name_end..labels_end].to_owned(), value.parse().expect("a number and nothing after it"))
}

/// Just behind the closing brace of labels that begin at `start`.
fn labels_end(line: &str, start: usize) -> usize {
    let mut names = BTreeSet::new();
    let mut at = start + 1;
    loop {
        let equals = at + line[at..].find("=\"").expect("=\" after a label's name");
        let name = &line[at..equals];
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
        assert!(names.insert(name), "{line}: label twice");
        at = value_end(line, equals + 2);
        match line.as_bytes().get(at) {
            Some(b',') => at += 1,
            Some(b'}') => return at + 1,
            other => panic!("{line}: {other:?} after a label"),
        }
    }
}

/// Just behind the closing quote of a value that begins at `start`.
fn value_end(line: &str, start: usize) -> usize {
    let mut bytes = line.bytes().enumerate().skip(start);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return at + 1,
            b'\\' => assert!(matches!(bytes.next(), Some((_, b'\\' | b'"' | b'n'))), "{line}: no such escape"),
            _ => {}
        }
    }
    panic!("{line}: a value without an end")
}

/// Buckets never fall, and the last one is +Inf and equals the count.
fn check_histograms(text: &str) {
    let mut last: Option<f64> = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels, value) = parse_sample(line);
        if name.ends_with("_bucket") {
            assert!(last.is_none_or(|last| last <= value), "{line}: falls");
            last = Some(value);
            if labels.contains("le=\"+Inf\"") {
                continue;
            }
        } else if name.ends_with("_count") && last.is_some() {
            assert_eq!(last.take(), Some(value), "{line}: differs from +Inf");
        }
    }
    assert_eq!(last, None);
}

// ---- what a scrape says ----

#[test]
fn the_page_of_an_incident_is_as_reviewed() {
    let exporter = exporter(&status(15.0));
    for event in incident() {
        exporter.record(&event);
    }
    exporter.publish(status(22.0));
    let text = page_of(&exporter, at(22.1));
    parse(&text);
    // Buckets are left to the reader above; the own process differs with each run, the node with each machine.
    let varies = ["process_", "_bucket{", "mpswarden_node_info{"];
    let lines = text.lines().filter(|line| !varies.iter().any(|word| line.contains(word)));
    let told: String = lines.map(|line| format!("{line}\n")).collect();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics_incident.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(golden, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(golden).unwrap(), "UPDATE=1 rewrites it");
}

#[test]
fn every_state_is_exactly_one_series_of_its_enumeration() {
    let mut now = status(15.0);
    for state in GroupState::ALL {
        now.groups[0].state = *state;
        assert_eq!(scraped(&now).the_one("mps_group_state{group=\"small-llms\""), state.as_str());
    }
    for state in EngineState::ALL {
        now.groups[0].engines[1].state = *state;
        assert_eq!(scraped(&now).the_one("mps_engine_state{group=\"small-llms\",engine=\"qwen-b\""), state.as_str());
    }
    for state in ServerState::ALL {
        now.groups[0].server = *state;
        assert_eq!(scraped(&now).the_one("mps_server_state{"), state.as_str());
    }
    for reason in HeldReason::ALL {
        now.groups[0].held = Some((*reason, String::new()));
        assert_eq!(scraped(&now).the_one("mps_group_held{"), reason.as_str());
    }
    for step in RecoveryStep::ALL {
        let (tier, step) = (Tier::Clients, *step);
        let recovery = RecoveryStatus { tier, reason: None, step, since: at(14.0), next_try: None };
        now.groups[0].recovery = Some(recovery);
        assert_eq!(scraped(&now).the_one("mps_recovery_step{"), step.as_str());
    }
}

#[test]
fn a_blind_watchdog_says_unknown_and_gives_no_number() {
    let mut blind = status(15.0);
    let group = &mut blind.groups[0];
    (group.state, group.server, group.control_up) = (GroupState::Unknown, ServerState::Unknown, None);
    (group.clients, group.unknown_clients) = (None, None);
    let engine = &mut group.engines[0];
    (engine.state, engine.attached, engine.device_memory) = (EngineState::Unknown, None, None);
    (blind.gpus[0].memory_used, blind.gpus[0].busy, blind.gpus[0].recovery_action) = (None, None, None);
    let scrape = scraped(&blind);
    assert_eq!(scrape.the_one("mps_group_state{"), "unknown");
    assert_eq!(scrape.the_one("mps_server_state{"), "unknown");
    assert_eq!(scrape.the_one("mps_engine_state{group=\"small-llms\",engine=\"qwen-a\""), "unknown");
    assert_eq!(scrape.the_one("mps_gpu_recovery_action{"), "unknown");
    for absent in ["mps_control_up", "mps_clients", "mps_unknown_clients"] {
        assert!(!scrape.has(&format!("{absent}{{group=\"small-llms\"}}")), "{absent}");
    }
    assert!(!scrape.has("mps_engine_attached{group=\"small-llms\",engine=\"qwen-a\"}"));
    assert!(!scrape.has("mps_gpu_memory_used_bytes{gpu=\"0\"}") && !scrape.has("mps_gpu_busy_ratio{gpu=\"0\"}"));
}

#[test]
fn series_known_in_advance_start_at_zero_and_timestamps_with_their_event() {
    let exporter = exporter(&status(15.0));
    let fault = "{group=\"small-llms\",engine=\"\",fault=\"gpu_fault\"}";
    let before = parse(&page_of(&exporter, at(15.0)));
    assert_eq!(before.value(&format!("mps_faults_total{fault}")), 0.0);
    assert_eq!(before.value("mps_engine_exits_total{group=\"small-llms\",engine=\"qwen-b\",cause=\"host_oom\"}"), 0.0);
    assert_eq!(before.value("mps_fault_detection_seconds_count{group=\"small-llms\",fault=\"server_died\"}"), 0.0);
    assert!(!before.has(&format!("mps_fault_last_timestamp_seconds{fault}")));
    incident().iter().for_each(|event| exporter.record(event));
    let after = parse(&page_of(&exporter, at(15.0)));
    assert_eq!(after.value(&format!("mps_faults_total{fault}")), 1.0);
    assert_eq!(after.value(&format!("mps_fault_last_timestamp_seconds{fault}")), 1_000_000_020.000_5);
    let half_a_millisecond =
        "mps_fault_detection_seconds_bucket{group=\"small-llms\",fault=\"gpu_fault\",le=\"0.0005\"}";
    assert_eq!(after.value(half_a_millisecond), 1.0);
    assert_eq!(after.value("mps_gpu_xid_errors_total{gpu=\"0\",xid=\"31\"}"), 1.0);
}

#[test]
fn what_left_the_status_leaves_the_metrics() {
    let exporter = exporter(&status(15.0));
    incident().iter().for_each(|event| exporter.record(event));
    let mut without = status(16.0);
    without.groups[0].engines.remove(0);
    without.sources.pop();
    exporter.publish(without.clone());
    let text = page_of(&exporter, at(16.0));
    assert!(!text.contains("qwen-a") && text.contains("qwen-b"));
    (without.groups, without.sources) = (Vec::new(), Vec::new());
    exporter.publish(without);
    exporter.record(&incident()[3]);
    assert!(!page_of(&exporter, at(16.0)).contains("small-llms"));
}

#[test]
fn a_fault_of_a_later_version_is_shown_beside_those_known_in_advance() {
    let mut now = status(15.0);
    now.groups[0].faults = vec![(None, Fault::GpuFault), (Some("qwen-a".into()), Fault::Hang)];
    let scrape = scraped(&now);
    assert_eq!(scrape.value("mps_fault_active{group=\"small-llms\",engine=\"\",fault=\"gpu_fault\"}"), 1.0);
    assert_eq!(scrape.value("mps_fault_active{group=\"small-llms\",engine=\"qwen-a\",fault=\"hang\"}"), 1.0);
    assert_eq!(scrape.value("mps_fault_active{group=\"small-llms\",engine=\"\",fault=\"server_died\"}"), 0.0);
}

#[test]
fn names_with_quotes_newlines_and_backslashes_come_out_valid() {
    let mut now = status(15.0);
    now.groups[0].name = "a\"b\\c\nd".into();
    now.groups[0].engines[0].name = "\\\"\n{}=,é".into();
    let scrape = scraped(&now);
    assert!(scrape.has("mps_clients{group=\"a\\\"b\\\\c\\nd\"}"));
    assert!(scrape.has("mps_engine_attached{group=\"a\\\"b\\\\c\\nd\",engine=\"\\\\\\\"\\n{}=,é\"}"));
}

#[test]
fn an_engines_own_figures_are_told_and_missing_ones_are_absent() {
    let mut now = status(15.0);
    let engine = &mut now.groups[0].engines[0];
    engine.resident_memory = Some(3 << 30);
    engine.cpu = Duration::from_millis(12_500);
    engine.memory_time_to_limit = Some(Duration::from_secs(600));
    let load = EngineLoad {
        running: Some(3.0),
        generation_tokens: Some(67.0),
        model: Some("Qwen".to_owned()),
        ..EngineLoad::default()
    };
    engine.load = Some(load);
    let scrape = scraped(&now);
    let of = |name: &str| format!("{name}{{group=\"small-llms\",engine=\"qwen-a\"}}");
    assert_eq!(scrape.value(&of("mps_engine_resident_memory_bytes")), f64::from(3u32 << 30));
    assert_eq!(scrape.value(&of("mps_engine_cpu_seconds_total")), 12.5);
    assert_eq!(scrape.value(&of("mps_engine_memory_time_to_limit_seconds")), 600.0);
    assert_eq!(scrape.value(&of("mps_engine_requests_running")), 3.0);
    assert!(!scrape.has(&of("mps_engine_requests_waiting")) && !scrape.has(&of("mps_engine_kv_cache_usage_ratio")));
    let tokens = "mps_engine_tokens_total{group=\"small-llms\",engine=\"qwen-a\",kind=";
    assert_eq!(scrape.value(&format!("{tokens}\"generation\"}}")), 67.0);
    assert!(!scrape.has(&format!("{tokens}\"prompt\"}}")));
    assert!(page_of(&exporter(&now), at(15.0)).contains("engine=\"qwen-a\",model_name=\"Qwen\","));
    assert!(!scrape.has("mps_engine_requests_running{group=\"small-llms\",engine=\"qwen-b\"}"));
    assert!(!scrape.has("mps_load_imbalance_ratio{group=\"small-llms\"}"), "one load is unknown");
}

#[test]
fn a_name_that_an_engine_made_up_is_bounded() {
    let mut now = status(15.0);
    let load = EngineLoad { model: Some("é\u{0}".repeat(1 << 20)), ..EngineLoad::default() };
    now.groups[0].engines[0].load = Some(load);
    let page = page_of(&exporter(&now), at(15.0));
    parse(&page);
    assert!(page.lines().all(|line| line.len() < 1500));
}

#[test]
fn a_gpus_parts_and_foreign_processes_are_told_where_they_are_known() {
    let mut now = status(15.0);
    now.gpus[0].activity = Some(GpuActivity { sm_active: Some(0.116), ..GpuActivity::default() });
    now.gpus[0].foreign_processes = Some(2);
    let scrape = scraped(&now);
    assert_eq!(scrape.value("mps_gpu_sm_active_ratio{gpu=\"0\"}"), 0.116);
    assert_eq!(scrape.value("mps_foreign_processes{gpu=\"0\"}"), 2.0);
    assert!(!scrape.has("mps_gpu_dram_active_ratio{gpu=\"0\"}"));
    assert!(!scraped(&status(15.0)).has("mps_foreign_processes{gpu=\"0\"}"));
}

#[test]
fn a_hold_has_its_times_while_it_lasts() {
    let mut now = status(15.0);
    let (began, until) = (
        "mps_group_hold_timestamp_seconds{group=\"small-llms\"}",
        "mps_group_hold_until_timestamp_seconds{group=\"small-llms\"}",
    );
    assert!(!scraped(&now).has(began));
    now.groups[0].hold = Some(Hold { reason: String::new(), since: at(10.0), until: None });
    let endless = scraped(&now);
    assert_eq!(endless.value(began), 1_000_000_010.0);
    assert!(!endless.has(until));
    now.groups[0].hold = Some(Hold { reason: String::new(), since: at(10.0), until: Some(at(99.0)) });
    assert_eq!(scraped(&now).value(until), 1_000_000_099.0);
}

#[test]
fn a_reload_that_failed_is_shown_until_one_succeeds() {
    let exporter = exporter(&status(15.0));
    let tell = |seconds: f64, what: What| {
        exporter.record(&Event { at: at(seconds), group: None, engine: None, what });
        let scrape = parse(&page_of(&exporter, at(15.0)));
        let time = scrape.value("mpswarden_config_last_reload_success_timestamp_seconds");
        (scrape.value("mpswarden_config_last_reload_successful"), time - 1_000_000_000.0)
    };
    assert_eq!(tell(16.0, What::Stopped), (1.0, 15.0));
    assert_eq!(tell(17.0, What::ReloadFailed { why: String::new() }), (0.0, 15.0));
    assert_eq!(tell(18.0, What::Reloaded { detail: String::new() }), (1.0, 18.0));
}

#[test]
fn every_fault_and_every_xid_that_matters_begins_at_0() {
    let scrape = scraped(&status(15.0));
    for fault in Fault::ALL {
        let of = |engine: &str| format!("{{group=\"small-llms\",engine=\"{engine}\",fault=\"{fault}\"}}");
        let owner = if scrape.has(&format!("mps_fault_active{}", of(""))) { of("") } else { of("qwen-b") };
        assert_eq!(scrape.value(&format!("mps_fault_active{owner}")), 0.0);
        assert_eq!(scrape.value(&format!("mps_faults_total{owner}")), 0.0);
    }
    for xid in [31, 43, 79, 154] {
        assert_eq!(scrape.value(&format!("mps_gpu_xid_errors_total{{gpu=\"0\",xid=\"{xid}\"}}")), 0.0);
    }
}

#[test]
fn what_comes_back_counts_on() {
    let exporter = exporter(&status(15.0));
    incident().iter().for_each(|event| exporter.record(event));
    let mut without = status(16.0);
    without.groups.clear();
    exporter.publish(without);
    assert!(!page_of(&exporter, at(16.0)).contains("mps_faults_total"));
    exporter.publish(status(17.0));
    let scrape = parse(&page_of(&exporter, at(17.0)));
    assert_eq!(scrape.value("mps_faults_total{group=\"small-llms\",engine=\"\",fault=\"gpu_fault\"}"), 1.0);
}

#[test]
fn incidents_are_told_as_json_newest_first() {
    let exporter = exporter(&status(15.0));
    assert_eq!(exporter.incidents_json().unwrap(), "{\"incidents\":[]}");
    incident().iter().for_each(|event| exporter.record(event));
    let over = What::FaultEnded { fault: Fault::GpuFault, lasted: Duration::from_secs(2) };
    exporter.record(&event(21.9, None, over));
    let told: serde_json::Value = serde_json::from_slice(&exporter.incidents_json().unwrap()).unwrap();
    assert_eq!(told["incidents"][0]["fault"], "gpu_fault");
    assert_eq!(told["incidents"][0]["result"], "serving");
    assert_eq!(told["incidents"][0]["lines"][0]["word"], "gpu_fault");
    assert_eq!(exporter.incidents().len(), 1);
}

#[test]
fn a_readings_duration_is_counted_once_for_each_new_success() {
    let exporter = exporter(&status(15.0));
    exporter.publish(status(16.0));
    exporter.publish(status(16.0));
    let scrape = parse(&page_of(&exporter, at(16.0)));
    assert_eq!(scrape.value("mpswarden_source_duration_seconds_count{source=\"nvml\"}"), 1.0);
}

#[test]
fn scrapes_share_one_rendering_until_something_happens() {
    let exporter = exporter(&status(15.0));
    let first = exporter.scrape(at(15.0)).unwrap();
    assert_eq!(exporter.scrape(at(15.1)).unwrap().as_ptr(), first.as_ptr());
    exporter.record(&incident()[0]);
    assert_ne!(exporter.scrape(at(15.2)).unwrap(), first);
}

#[test]
fn scrapes_at_once_after_a_change_share_one_rendering() {
    let exporter = exporter(&status(15.0));
    let before = exporter.scrape(at(15.0)).unwrap();
    exporter.publish(status(16.0));
    let together = Barrier::new(8);
    let scrape = || {
        together.wait();
        exporter.scrape(at(16.0)).unwrap()
    };
    let pages: Vec<_> = thread::scope(|scope| {
        let scraping: Vec<_> = (0..8).map(|_| scope.spawn(scrape)).collect();
        scraping.into_iter().map(|scraping| scraping.join().unwrap()).collect()
    });
    assert!(pages.iter().all(|page| page.as_ptr() == pages[0].as_ptr()), "one rendering for all");
    assert_ne!(pages[0], before);
}

#[test]
fn a_page_made_between_counting_a_status_and_sending_it_is_not_kept() {
    let exporter = exporter(&status(15.0));
    let next = status(16.0);
    exporter.exporter.count(&next);
    let between = parse(&page_of(&exporter, at(16.0)));
    exporter.statuses.send_replace(Arc::new(next));
    let after = parse(&page_of(&exporter, at(16.0)));
    let told = |page: &Scrape| page.value("mpswarden_status_timestamp_seconds") - 1_000_000_000.0;
    assert_eq!((told(&between), told(&after)), (15.0, 16.0));
}

#[test]
fn a_status_over_30_s_old_is_not_served() {
    let exporter = exporter(&status(15.0));
    assert!(exporter.scrape(at(45.0)).is_ok());
    let refused = exporter.scrape(at(46.0)).unwrap_err();
    assert!(matches!(refused, NoPage::TooOld(TooOld { age }) if age == Duration::from_secs(31)), "{refused}");
}

#[test]
fn the_own_process_is_told_of() {
    let scrape = scraped(&status(15.0));
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(scrape.value(name) > 0.0, "{name}");
    }
    assert!(scrape.has("process_cpu_seconds_total"));
}

// ---- the server ----

struct Web {
    server: Server,
    exporter: Exporting,
    alive: Arc<AtomicBool>,
}

/// A server over `status`, whose clock stands still.
fn web(status: &Status) -> Web {
    let (exporter, alive, now) = (exporter(status), Arc::new(AtomicBool::new(true)), at(15.0));
    let turns = Arc::clone(&alive);
    let liveness = Arc::new(move || turns.load(Ordering::Relaxed));
    let any = "127.0.0.1:0".parse().unwrap();
    let server = http::serve(
        Gate::new(None).unwrap(),
        &[any],
        "/metrics",
        Arc::clone(&exporter.exporter),
        liveness,
        Arc::new(move || now),
    )
    .unwrap();
    Web { server, exporter, alive }
}

impl Web {
    fn address(&self) -> SocketAddr {
        self.server.local_addresses[0]
    }

    /// Status, head and body of one request.
    fn ask(&self, method: &str, target: &str) -> (u16, String, String) {
        let mut stream = connect(self.address());
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    fn get(&self, target: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", target);
        (status, body)
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn metrics_are_served_in_the_exposition_format() {
    let web = web(&status(15.0));
    let (code, head, body) = web.ask("GET", "/metrics");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert_eq!(parse(&body).the_one("mps_group_state{"), "serving");
}

#[test]
fn a_head_is_answered_like_its_get_without_a_body() {
    let web = web(&status(15.0));
    let (code, head, body) = web.ask("HEAD", "/metrics");
    assert_eq!((code, body.as_str()), (200, ""));
    assert!(head.contains("content-length: ") && !head.contains("content-length: 0"), "{head}");
}

#[test]
fn other_methods_and_paths_are_refused() {
    let web = web(&status(15.0));
    let (code, head, _) = web.ask("POST", "/metrics");
    assert_eq!(code, 405);
    assert!(head.contains("allow: get, head"), "{head}");
    assert_eq!(web.get("/nothing").0, 404);
    assert!(web.get("/").1.contains("href=\"./metrics\""));
}

#[test]
fn the_status_is_json_with_wall_times() {
    let (code, body) = web(&status(15.0)).get("/api/v1/status");
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(code, 200);
    assert_eq!(
        (&told["time"], &told["timestamp_seconds"]),
        (&"2001-09-09T01:46:55.000Z".into(), &1_000_000_015.0.into())
    );
    assert_eq!(told["groups"][0]["engines"][0]["address"], "http://127.0.0.1:8001");
    assert_eq!(told["groups"][0]["engines"][1]["state"], "serving");
}

#[test]
fn a_status_that_is_too_old_fails_the_scrape_and_readiness_but_not_liveness() {
    let mut old = status(15.0);
    old.at = Moment::ZERO;
    let now = at(31.0);
    let exporter = exporter(&old);
    let any = "127.0.0.1:0".parse().unwrap();
    let server = http::serve(
        Gate::new(None).unwrap(),
        &[any],
        "/metrics",
        Arc::clone(&exporter.exporter),
        Arc::new(|| true),
        Arc::new(move || now),
    )
    .unwrap();
    let web = Web { server, exporter, alive: Arc::default() };
    assert_eq!(web.get("/metrics").0, 503);
    assert_eq!(web.get("/-/ready").0, 503);
    assert_eq!(web.get("/-/healthy").0, 200);
}

#[test]
fn liveness_is_the_core_loops_alone() {
    let web = web(&status(15.0));
    assert_eq!(web.get("/-/healthy").0, 200);
    web.alive.store(false, Ordering::Relaxed);
    assert_eq!(web.get("/-/healthy").0, 503);
}

#[test]
fn readiness_names_the_source_that_is_missing() {
    let mut early = status(15.0);
    (early.ready, early.sources[0].last_success) = (false, None);
    let web = web(&early);
    let (code, why) = web.get("/-/ready");
    assert_eq!(code, 503);
    assert!(why.contains("nvml"), "{why}");
    web.exporter.publish(status(15.0));
    assert_eq!(web.get("/-/ready").0, 200);
}

#[test]
fn a_group_is_ready_only_while_all_its_engines_serve() {
    let mut now = status(15.0);
    let web = web(&now);
    assert_eq!(web.get("/-/ready?group=small-llms").0, 200);
    now.groups[0].engines[1].state = EngineState::Quarantined;
    now.groups[0].engines[1].note = Some("it failed 5 times".to_owned());
    web.exporter.publish(now);
    let (code, why) = web.get("/-/ready?group=small%2Dllms");
    assert_eq!((code, why.as_str()), (503, "small-llms is serving: engine qwen-b is quarantined, it failed 5 times\n"));
    assert_eq!(web.get("/-/ready?group=small-llms&engine=qwen-a").0, 200);
    assert_eq!(web.get("/-/ready?group=small-llms&engine=qwen-b").0, 503);
}

#[test]
fn readiness_of_what_is_not_there_is_not_found() {
    let web = web(&status(15.0));
    assert_eq!(web.get("/-/ready?group=large-llms").0, 404);
    assert_eq!(web.get("/-/ready?group=small-llms&engine=gpt").0, 404);
    assert_eq!(web.get("/-/ready?engine=qwen-a").0, 400);
}

#[test]
fn a_client_that_hangs_blocks_nobody() {
    let web = web(&status(15.0));
    let mut hung: Vec<TcpStream> = (0..50).map(|_| connect(web.address())).collect();
    for stream in &mut hung {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
    }
    assert_eq!(web.get("/metrics").0, 200);
}

#[test]
fn garbage_is_refused_and_the_next_client_served() {
    let web = web(&status(15.0));
    let mut stream = connect(web.address());
    stream.write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A reset instead of an answer is as good.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));
    assert_eq!(web.get("/metrics").0, 200);
}

#[test]
fn an_address_in_use_is_refused_by_naming_who_holds_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let exporter = exporter(&status(15.0)).exporter;
    let clock = Arc::new(|| Moment::ZERO);
    let error = http::serve(Gate::new(None).unwrap(), &[address], "/metrics", exporter, Arc::new(|| true), clock)
        .unwrap_err()
        .to_string();
    assert!(error.contains(&address.to_string()) && error.contains("--web.listen-address"), "{error}");
    assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
}
