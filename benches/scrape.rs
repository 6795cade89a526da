//! What metrics cost: an event, a status, a page, and whole scrapes side by side with other exporters.
//!
//! `cargo bench --bench scrape` for the pieces, in process and by size.
//! `cargo bench --bench scrape -- pages` for pages alone, in seconds: made anew by the `prometheus` crate after each
//! new status, and from the cache.
//! `cargo bench --bench scrape -- side-by-side [--seconds N]` for scrapes over loopback, beside Debian's
//! prometheus-node-exporter and prometheus-process-exporter. Ends with status 1 where a promise is not kept.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

mod side_by_side;
mod stand;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::Criterion;
use mpswarden::export::{BuildInfo, Exporter};
use mpswarden::model::gpu::GpuActivity;
use mpswarden::model::{EngineLoad, Event, Fault, Moment, Status, What};
use nix::time::ClockId;
use tokio::sync::watch;

use stand::Stand;

/// Groups and engines in each: from the least to all that a host with eight GPUs can have, and more.
const SIZES: [(usize, usize); 5] = [(1, 1), (1, 4), (1, 48), (8, 48), (10, 48)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let option = |name: &str| {
        let value = arguments.iter().skip_while(|argument| *argument != name).nth(1)?;
        Some(value.parse().expect("a number"))
    };
    if has("stand-in") {
        side_by_side::stand_in(option("--every-ms").unwrap_or(1000));
    } else if has("pages") {
        return pages();
    } else if has("side-by-side") {
        return side_by_side::run(Duration::from_secs(option("--seconds").unwrap_or(10)));
    } else if has("--bench") {
        let mut criterion = Criterion::default().configure_from_args();
        pieces(&mut criterion);
        criterion.final_summary();
    }
    ExitCode::SUCCESS
}

fn pieces(c: &mut Criterion) {
    for (groups, engines) in SIZES {
        let status = full_status(groups, engines);
        let now = status.at;
        let (exporting, status) = (exporting(&status), Arc::new(status));
        let exporter = &exporting.exporter;
        let later = Arc::new(later(&status, now.after(Duration::from_secs(1))));
        let page = exporter.scrape(now).unwrap();
        println!("export/{groups}x{engines}: {} series, {} bytes", series(&page), page.len());
        let mut group = c.benchmark_group(format!("export/{groups}x{engines}"));
        group.sample_size(30).measurement_time(Duration::from_secs(3));
        let mut turn = 0;
        // Each reading is a new one.
        let mut publish = || {
            turn += 1;
            exporting.publish(Arc::clone(if turn % 2 == 0 { &status } else { &later }));
        };
        group.bench_function("publish", |bencher| bencher.iter(&mut publish));
        group.bench_function("publish_and_scrape", |bencher| {
            bencher.iter(|| {
                publish();
                black_box(exporter.scrape(now).unwrap())
            });
        });
        group.bench_function("scrape_again", |bencher| bencher.iter(|| black_box(exporter.scrape(now).unwrap())));
        let fault = fault_of(&status);
        group.bench_function("record_a_fault", |bencher| bencher.iter(|| exporter.record(black_box(&fault))));
        group.finish();
    }
}

/// Pages that are made anew, each after another status, of each size.
const PAGES: usize = 30;
/// Pages that are given again, of each size.
const AGAIN: u32 = 10_000;
/// What a page may take that is made anew: groups, engines in each, milliseconds of a core at the median.
const PROMISES: [(usize, usize, f64); 2] = [(1, 4, 3.0), (8, 48, 60.0)];

fn pages() -> ExitCode {
    let mut kept = true;
    println!(
        "| engines | series | bytes | anew: ms of a core | least ms | again: us | peak MiB |\n|---|---|---|---|---|---|---|"
    );
    for (groups, engines) in SIZES {
        let status = full_status(groups, engines);
        let now = status.at;
        let exporting = exporting(&status);
        let statuses = [Arc::new(later(&status, now.after(Duration::from_secs(1)))), Arc::new(status)];
        let anew = (0..PAGES).map(|turn| page_anew(&exporting, &statuses[turn % 2], now));
        let (mut of_core, mut took): (Vec<f64>, Vec<f64>) = anew.unzip();
        of_core.sort_by(f64::total_cmp);
        took.sort_by(f64::total_cmp);
        let (of_core, least) = (of_core[PAGES / 2], took[0]);
        let began = Instant::now();
        (0..AGAIN).for_each(|_| drop(black_box(exporting.exporter.scrape(now).unwrap())));
        let again = began.elapsed().as_secs_f64() * 1e6 / f64::from(AGAIN);
        let page = exporting.exporter.scrape(now).unwrap();
        let (series, bytes, peak) = (series(&page), page.len(), peak_memory());
        println!("| {groups} x {engines} | {series} | {bytes} | {of_core:.2} | {least:.2} | {again:.3} | {peak:.1} |");
        let promise = PROMISES.iter().find(|promise| (promise.0, promise.1) == (groups, engines));
        kept &= promise.is_none_or(|(_, _, most)| of_core < *most);
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many milliseconds the first scrape after a status takes: of a core, and until it is there.
fn page_anew(exporting: &Exporting, status: &Arc<Status>, now: Moment) -> (f64, f64) {
    exporting.publish(Arc::clone(status));
    let (worked, began) = (of_this_thread(), Instant::now());
    black_box(exporting.exporter.scrape(now).unwrap());
    ((of_this_thread() - worked).as_secs_f64() * 1e3, began.elapsed().as_secs_f64() * 1e3)
}

/// What this thread has had of a core. Other programs on the machine add little to it.
fn of_this_thread() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap().into()
}

/// MiB of this process so far.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

fn fault_of(status: &Status) -> Event {
    let what = What::FaultBegan {
        fault: Fault::GpuFault,
        evidence_at: Moment::ZERO,
        because: "server 624 is handling a fatal GPU error".to_owned(),
    };
    Event { at: status.at, group: Some(status.groups[0].name.clone()), engine: None, what }
}

/// An exporter, and the core loop's end of its statuses.
pub struct Exporting {
    /// The exporter that is scraped.
    pub exporter: Arc<Exporter>,
    statuses: watch::Sender<Arc<Status>>,
}

impl Exporting {
    /// Publishes a status as the core loop does it.
    pub fn publish(&self, status: Arc<Status>) {
        self.exporter.count(&status);
        self.statuses.send_replace(status);
    }
}

/// An exporter that has it.
pub fn exporting(status: &Status) -> Exporting {
    let build = BuildInfo { version: "0", revision: "0", rustc: "0" };
    let (statuses, receiver) = watch::channel(Arc::new(status.clone()));
    Exporting { exporter: Arc::new(Exporter::new(build, || SystemTime::UNIX_EPOCH, receiver)), statuses }
}

/// Serving groups, in which everything is known.
pub fn full_status(groups: usize, engines: usize) -> Status {
    let stand = Stand::serving(groups, engines, Moment::ZERO);
    let mut status = stand.status();
    let share = Some(0.116);
    for gpu in &mut status.gpus {
        gpu.activity =
            Some(GpuActivity { sm_active: share, sm_occupancy: share, dram_active: share, tensor_active: share });
        gpu.foreign_processes = Some(0);
    }
    for (place, group) in status.groups.iter_mut().enumerate() {
        group.active = (0..=engines).map(|active| Duration::from_millis((active * 137 + place) as u64)).collect();
        for (place, engine) in group.engines.iter_mut().enumerate() {
            engine.resident_memory = Some(3_456_789_012 + place as u64);
            engine.cpu = Duration::from_micros(12_345_678 + place as u64);
            engine.device_memory_limit = Some(40 << 30);
            engine.load = Some(EngineLoad {
                running: Some(place as f64),
                waiting: Some(2.0),
                kv_cache: Some(0.437_219 + place as f64 / 1e3),
                prompt_tokens: Some(1_234_567.0),
                generation_tokens: Some(7_654_321.0),
                requests: Some(4321.0),
                model: Some("Qwen/Qwen2.5-0.5B-Instruct".to_owned()),
                ..EngineLoad::default()
            });
        }
    }
    status
}

/// The same with every source read once more.
pub fn later(status: &Status, at: Moment) -> Status {
    let mut later = status.clone();
    later.at = at;
    for source in &mut later.sources {
        source.last_success = Some(at);
        source.took = Some(Duration::from_micros(80));
    }
    later
}

/// Samples on a page.
pub fn series(page: &[u8]) -> usize {
    page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count()
}
