//! What the core costs: an input, a decision, a status. Pure: no process, no file.
//!
//! `cargo bench --bench core`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

mod stand;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mpswarden::decide::Input;
use mpswarden::model::{Health, Moment, Observation, ServerLine};

use stand::{Stand, gpu, kills};

/// Groups and engines in each: what is usual, and all that a host with eight GPUs can have.
const SIZES: [(usize, usize); 2] = [(1, 4), (8, 48)];
/// How an input's cost grows: within one group up to all that one server takes, then by the number of groups.
const GROWTH: [(usize, usize); 5] = [(1, 1), (1, 4), (1, 48), (8, 48), (10, 48)];

fn inputs(c: &mut Criterion) {
    for (groups, engines) in GROWTH {
        let mut group = c.benchmark_group(format!("handle/{groups}x{engines}"));
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        let mut stand = Stand::serving(groups, engines, Moment::ZERO);
        let client = ServerLine::Disconnected { server: stand.server(), client: 7 };
        let log = stand.line(client);
        // The last engine: it takes longest to find.
        let last = stand.engine(engines - 1);
        let health = Observation::Health { engine: last.clone(), health: Health::Ok };
        let load = stand.load(last);
        let frequent = [("gpu_reading", stand.reading(&gpu(0))), ("health", health), ("load", load), ("log_line", log)];
        for (name, observation) in frequent {
            group.bench_function(name, |bencher| {
                // Time goes on by a little, so that no look is due.
                let mut feed = |observation| {
                    let now = stand.now().after(Duration::from_nanos(1));
                    stand.handle(Input::Observed(observation), now)
                };
                bencher.iter_batched(|| observation.clone(), |seen| black_box(feed(seen)), BatchSize::SmallInput);
            });
        }
        group.bench_function("status", |bencher| bencher.iter(|| black_box(stand.status())));
        group.finish();
    }
}

/// What comes all day long, where everything is known and all is well: the detectors have the most to look at.
fn steady(c: &mut Criterion) {
    let mut stand = Stand::settled(8, 48, Duration::from_secs(300));
    let mut group = c.benchmark_group("steady/8x48");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let (reading, engine) = (stand.reading(&gpu(0)), stand.engine(47));
    let load = stand.load(engine);
    for (name, observation) in [("gpu_reading", reading), ("load", load)] {
        group.bench_function(name, |bencher| {
            let mut feed = |observation| {
                let now = stand.now().after(Duration::from_nanos(1));
                stand.handle(Input::Observed(observation), now)
            };
            bencher.iter_batched(|| observation.clone(), |seen| black_box(feed(seen)), BatchSize::SmallInput);
        });
    }
    group.bench_function("next_deadline", |bencher| bencher.iter(|| black_box(stand.next_deadline())));
    group.finish();
}

/// The server's fatal line after one that blames a client, as an illegal address has: there is no evidence to wait
/// for, and the line ends the group.
fn decision(c: &mut Criterion) {
    for (groups, engines) in SIZES {
        let takes_up = |mut stand: Stand| {
            let fatal = stand.line(ServerLine::Fatal { server: stand.server() });
            let decision = stand.handle(Input::Observed(fatal), stand.now());
            assert!(kills(&decision));
            (decision, stand)
        };
        let ready = || {
            let mut stand = Stand::serving(groups, engines, Moment::ZERO);
            let blamed = stand.line(ServerLine::Blamed { server: stand.server(), client: stand.client() });
            stand.handle(Input::Observed(blamed), stand.now());
            stand
        };
        let mut group = c.benchmark_group(format!("handle/{groups}x{engines}"));
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        group.bench_function("fatal_line", |bencher| {
            bencher.iter_batched(ready, takes_up, BatchSize::PerIteration);
        });
        group.finish();
    }
}

criterion_group!(benches, inputs, steady, decision);
criterion_main!(benches);
