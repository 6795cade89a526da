//! What the frequent readings cost: an engine's page of metrics, a process's line in /proc, a window of the kernel
//! probe. No GPU.
//!
//! `cargo bench --bench readings`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mpswarden::host::engine_metrics::Page;
use mpswarden::host::engines::said_in;
use mpswarden::host::procfs::Procfs;
use mpswarden::observe::overlap::concurrency::{Recorded, measure};
use mpswarden::probe::wire::{Kernels, Word};

const FIXTURE: &str = include_str!("../tests/fixtures/engine_metrics/vllm.txt");

/// A page comes off a socket in pieces of about this size.
const PIECE: usize = 16 << 10;

/// Many of vLLM's metrics are histograms: so many of them, with so many buckets, make a page of usual size.
const HISTOGRAMS: usize = 40;
const BUCKETS: usize = 25;

fn page() -> String {
    let mut page = FIXTURE.to_owned();
    for histogram in 0..HISTOGRAMS {
        for bucket in 0..BUCKETS {
            let labels = format!("engine=\"0\",le=\"{bucket}.0\",model_name=\"Qwen/Qwen2.5-0.5B-Instruct\"");
            writeln!(page, "vllm:request_time_number_{histogram}_seconds_bucket{{{labels}}} 3117.0").unwrap();
        }
    }
    page
}

fn metrics(c: &mut Criterion) {
    let page = page();
    println!("metrics: {} lines, {} bytes", page.lines().count(), page.len());
    let mut group = c.benchmark_group("metrics");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("vllm_page", |bencher| {
        bencher.iter(|| {
            let mut reading = Page::default();
            black_box(page.as_bytes()).chunks(PIECE).for_each(|piece| reading.push(piece).unwrap());
            reading.finish("/metrics")
        });
    });
    let flood = "vllm:num_requests_running{request=\"1234567\"} 1.0\n".repeat(1000);
    group.bench_function("flood_until_refused", |bencher| {
        bencher.iter(|| {
            let mut reading = Page::default();
            while reading.push(black_box(flood.as_bytes())).is_ok() {}
        });
    });
    group.finish();
}

fn usage(c: &mut Criterion) {
    let (procfs, us) = (Procfs::new(Path::new("/proc")), std::process::id());
    let mut group = c.benchmark_group("process");
    group.bench_function("stat", |bencher| bencher.iter(|| procfs.stat(black_box(us)).unwrap().unwrap()));
    let stat = procfs.stat(us).unwrap().unwrap();
    group.bench_function("usage_of_a_stat", |bencher| bencher.iter(|| black_box(&stat).usage()));
    group.finish();
}

/// Clients of a window, and kernels of each: 3 us each, back to back, for 50 ms.
const CLIENTS: u64 = 4;
const KERNELS: u64 = 16_000;

/// Off the core's thread, once each 15 s.
fn window(c: &mut Criterion) {
    let (from, to) = (1_790_000_000_000_000_000, 1_790_000_000_050_000_000);
    let frame = |client: u64| {
        let times = (0..KERNELS).map(|at| from + at * 3100 + client * 700).map(|start| (start, start + 3000)).collect();
        Word::Kernels(Kernels { window: 1, covered: (from, to), dropped: 0, times }).frame()
    };
    let frames: Vec<Vec<u8>> = (0..CLIENTS).map(frame).collect();
    println!("window: {} bytes", frames.iter().map(Vec::len).sum::<usize>());
    let read = |frame: &Vec<u8>| match Word::read(&frame[4..]) {
        Some(Word::Kernels(kernels)) => Recorded { engine: "qwen-a".into(), kernels },
        other => panic!("{other:?}"),
    };
    let mut group = c.benchmark_group("window");
    group.bench_function("decode", |bencher| bencher.iter(|| frames.iter().map(read).collect::<Vec<_>>()));
    let recorded: Vec<Recorded> = frames.iter().map(read).collect();
    group.bench_function("measure", |bencher| bencher.iter(|| measure((from, to), black_box(&recorded)).unwrap()));
    group.finish();
}

/// A harmless line of an engine's output, as it comes every ten seconds, and an error.
fn words(c: &mut Criterion) {
    let harmless = "(APIServer pid=672) INFO 11-29 14:36:06 [loggers.py:273] Engine 000: Avg prompt throughput: 166.4 \
        tokens/s, Avg generation throughput: 204.3 tokens/s, Running: 8 reqs, Prefix cache hit rate: 72.9%";
    let error = "(EngineCore pid=1677) ERROR 11-29 14:41:14 [core.py:1233] torch.AcceleratorError: CUDA error: an \
        illegal memory access was encountered";
    for (name, line) in [("harmless", harmless), ("error", error)] {
        c.bench_function(&format!("line/{name}"), |b| b.iter(|| said_in(line)));
    }
}

criterion_group!(benches, metrics, usage, window, words);
criterion_main!(benches);
