//! What the orders of a restart cost the thread that the core runs on: starting an engine (fork and exec),
//! saving, and ending four engines of three processes each. Real processes, no GPU.
//!
//! `cargo bench --bench verbs [-- --rounds N | -- --short]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't go on ends")]
#![allow(unreachable_pub, clippy::wildcard_enum_match_arm, clippy::too_many_lines)]

#[path = "stand/arguments.rs"]
mod arguments;

use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mpswarden::act::{Executor, OwnerMark};
use mpswarden::host::{clock, reaper};
use mpswarden::model::{
    Action, ActionId, ControlLaunch, Custody, DomainId, EngineKind, EngineLaunch, EngineName, GpuNamedBy, GroupLaunch,
    MetricsPlace, Outcome, ProcessId, Report, SentAction,
};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

const ENGINES: usize = 4;
/// An engine that starts two more processes, as vLLM does.
const SCRIPT: &str = "sleep 600 & sleep 600 & wait";
const BOUND: Duration = Duration::from_secs(30);

fn main() {
    if !arguments::wants_a_run() {
        return;
    }
    let rounds = arguments::number("--rounds", 100, 5);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    LocalSet::new().block_on(&runtime, async {
        reaper::adopt_orphans().unwrap();
        spawn_local(reaper::reap_orphans());
        let mut orders = Orders::new(directory.path());
        let mut rows = [histogram(), histogram(), histogram(), histogram()];
        for _ in 0..rounds {
            orders.round(&mut rows).await;
        }
        println!("milliseconds, {rounds} rounds of {ENGINES} engines of 3 processes each");
        let names = ["save (blocks)", "start an engine (blocks)", "kill all engines", "all proven gone"];
        names.iter().zip(&rows).for_each(|(name, row)| print(name, row));
    });
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap()
}

fn print(name: &str, seen: &Histogram<u64>) {
    let at = |quantile: f64| seen.value_at_quantile(quantile) as f64 / 1e6;
    let (p50, p90, p99, most) = (at(0.5), at(0.9), at(0.99), at(1.0));
    println!("  {name:<26} n {:>5}  p50 {p50:>7.3}  p90 {p90:>7.3}  p99 {p99:>7.3}  max {most:>7.3}", seen.len());
}

/// An executor and the way to its outcomes.
struct Orders {
    executor: Executor,
    reports: UnboundedReceiver<Report>,
    domain: DomainId,
    engines: Vec<EngineName>,
    next: u64,
}

impl Orders {
    fn new(directory: &Path) -> Orders {
        let domain = DomainId::from("bench");
        let engines: Vec<EngineName> = (0..ENGINES).map(|number| format!("engine-{number}").into()).collect();
        let launch = launch(directory, &domain, &engines);
        let owner = OwnerMark { state_directory: directory.join("state") };
        let (sender, reports) = unbounded_channel();
        let executor = Executor::new(vec![launch], owner, sender).unwrap();
        Orders { executor, reports, domain, engines, next: 0 }
    }

    /// One life of the group. `rows`: save, start, kill, gone, in nanoseconds.
    async fn round(&mut self, rows: &mut [Histogram<u64>; 4]) {
        let memory = "{\"groups\":{}}".to_owned();
        rows[0].record(self.order(Action::Save { memory }).await.1).unwrap();
        for engine in self.engines.clone() {
            let engine = self.domain.member(&engine);
            let (outcome, blocked, _) =
                self.order(Action::StartEngine { instance: engine.instance(1), outside: false }).await;
            assert!(matches!(outcome, Outcome::Started { .. }), "{outcome:?}");
            rows[1].record(blocked).unwrap();
        }
        let (domain, engines) = (self.domain.clone(), self.engines.clone());
        let strays = Vec::new();
        let (outcome, _, killed) = self.order(Action::KillEngines { domain, engines, strays }).await;
        let Outcome::Killed { processes } = outcome else { panic!("{outcome:?}") };
        rows[2].record(killed).unwrap();
        rows[3].record(self.await_gone(processes).await).unwrap();
    }

    async fn await_gone(&mut self, processes: Vec<ProcessId>) -> u64 {
        let (domain, engines) = (self.domain.clone(), self.engines.clone());
        let (outcome, _, gone) = self.order(Action::AwaitGone { domain, engines, processes }).await;
        assert_eq!(outcome, Outcome::Gone { remaining: Vec::new() });
        gone
    }

    /// Its outcome, for how long it kept the thread at once, and how long it took.
    async fn order(&mut self, action: Action) -> (Outcome, u64, u64) {
        self.next += 1;
        let (id, deadline) = (ActionId(self.next), clock::now().after(BOUND));
        let began = Instant::now();
        self.executor.carry_out(SentAction { id, deadline, action });
        let blocked = began.elapsed().as_nanos() as u64;
        loop {
            if let Report::Finished(ended, outcome) = self.reports.recv().await.unwrap()
                && ended == id
            {
                return (outcome, blocked, began.elapsed().as_nanos() as u64);
            }
        }
    }
}

fn launch(directory: &Path, domain: &DomainId, engines: &[EngineName]) -> GroupLaunch {
    let engine = |name: &EngineName| EngineLaunch {
        member: domain.member(name),
        command: vec!["/bin/sh".into(), "-c".into(), SCRIPT.into()],
        user: None,
        working_directory: None,
        environment: Default::default(),
        environment_file: None,
        url: "http://127.0.0.1:1".into(),
        health_path: "/health".into(),
        kind: EngineKind::Other,
        health_timeout: BOUND,
        metrics: MetricsPlace::Under("/metrics".into()),
        gpus: "GPU-0".into(),
        gpu_named_by: GpuNamedBy::Uuid,
        sm_percentage: None,
        device_memory_limit: None,
        probe: false,
        memory_max: None,
        found: None,
        external: None,
    };
    let control = ControlLaunch {
        binary: directory.join("control"),
        pipe_directory: directory.join("pipe"),
        log_directory: directory.join("log"),
        custody: Custody::Own,
        restart_by: Default::default(),
        gate: true,
    };
    GroupLaunch {
        domain: domain.clone(),
        gpus: "GPU-0".into(),
        control,
        outputs: directory.join("log"),
        engines: engines.iter().map(engine).collect(),
    }
}
