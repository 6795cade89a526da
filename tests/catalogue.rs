//! The catalogue as people and Prometheus' own tools see it: docs/metrics.md, and a page with every metric.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use mpswarden::export::catalogue::{self, Kind, Metric};
use mpswarden::model::gpu::GpuActivity;
use mpswarden::model::{EngineLoad, Hold, Status};

use crate::support::needs;
use crate::support::statuses::{at, exporter, incident, page_of, sharing};

/// Everything is known, and much is the matter.
fn full(seconds: f64) -> Status {
    let mut full = sharing(seconds);
    let share = Some(0.25);
    full.gpus[0].activity =
        Some(GpuActivity { sm_active: share, sm_occupancy: share, dram_active: share, tensor_active: share });
    full.gpus[0].foreign_processes = Some(1);
    let group = &mut full.groups[0];
    group.active = vec![Duration::from_millis(1500), Duration::ZERO, Duration::from_secs(3)];
    group.hold = Some(Hold { reason: "maintenance".to_owned(), since: at(10.0), until: Some(at(99.0)) });
    for engine in &mut group.engines {
        engine.memory_time_to_limit = Some(Duration::from_secs(600));
        engine.resident_memory = Some(3 << 30);
        engine.load = Some(EngineLoad {
            running: Some(3.0),
            waiting: Some(1.0),
            kv_cache: Some(0.5),
            prompt_tokens: Some(12_345.0),
            generation_tokens: Some(67.0),
            requests: Some(8.0),
            model: Some("Qwen/Qwen2.5-0.5B \"chat\"\n\\".to_owned()),
            ..EngineLoad::default()
        });
    }
    full
}

fn full_page() -> String {
    let exporter = exporter(&full(15.0));
    incident().iter().for_each(|event| exporter.record(event));
    exporter.publish(full(22.0));
    page_of(&exporter, at(22.1))
}

fn names(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn every_row_is_on_the_page() {
    let page = full_page();
    let all: BTreeSet<&str> = catalogue::ALL.iter().map(|metric| metric.name).collect();
    let missing: Vec<&str> = all.difference(&names(&page)).copied().collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn promtool_finds_nothing_to_say_about_a_page_with_every_metric() {
    let Some(promtool) = needs::program("promtool", "prometheus") else { return };
    let page = full_page();
    let mut check = Command::new(promtool);
    let piped = check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = piped.spawn().unwrap();
    check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let told = check.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_document_of_metrics_is_made_from_the_catalogue() {
    let mut told = String::from(
        "# Metrics\n\n\
         Made from `src/export/metrics/catalogue.rs` by `UPDATE=1 cargo test --test main catalogue`; change it there.\n\n\
         - `group` and `engine` are names of the configuration, `gpu` is NVML's index. What changes with a restart \
         (pids, the model) is only in `_info` series, to join with.\n\
         - An enumeration is one series a value: 1 for the one that holds, 0 for the others, `unknown` among them while \
         the watchdog is blind.\n\
         - A value that is not known has no sample. A fault stays 1 in `mps_fault_active` until the watchdog saw it go.\n\
         - Counters known in advance begin at 0 with the watchdog. Those that an engine keeps \
         (`mps_engine_tokens_total`) begin anew with the engine.\n\
         - What leaves the configuration leaves the metrics; what comes back counts on.\n\
         - A fault of the whole group, its server or its GPU has `engine=\"\"`.\n\n\
         | metric | type | unit | labels | |\n|---|---|---|---|---|\n",
    );
    for metric in catalogue::ALL {
        let Metric { name, kind, help, labels, .. } = metric;
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (unit, labels) = (metric.unit().unwrap_or_default(), labels.join(" "));
        writeln!(told, "| `{name}` | {} | {unit} | {labels} | {help} |", kind.as_str()).unwrap();
    }
    told.push_str("\n## Buckets\n\nUpper bounds in seconds.\n\n");
    for metric in catalogue::ALL {
        if let Kind::Histogram(bounds) = metric.kind {
            let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
            writeln!(told, "- `{}`: {}", metric.name, bounds.join(", ")).unwrap();
        }
    }
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(document, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(document).unwrap_or_default(), "UPDATE=1 rewrites it");
}
