//! Looks against a fake driver, fake I/O and real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;
use std::future::pending;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;

use super::*;
use crate::host::probe_place::ProbePlace;
use crate::model::{
    ControlLaunch, Custody, EngineKind, EngineLaunch, EngineLoad, GpuReading, Health, MpsEnvironment, Observation,
    ProcessId, ServerState, Source,
};
use crate::observe::gpus::Unread;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

#[path = "look_io.rs"]
mod look_io;

use look_io::{FakeDriver, FakeIo, reading};

const OVERWRITTEN: ProcessId = ProcessId { pid: 9, started_at: 8 };

fn told() -> MpsEnvironment {
    MpsEnvironment {
        process: usage().process,
        own_pipe: true,
        thread_percentage: true,
        percentage: Some(5000),
        memory_limit: false,
    }
}

fn usage() -> ProcessUsage {
    let process = ProcessId { pid: 7, started_at: 8 };
    ProcessUsage { process, resident: 4096, cpu: Duration::from_millis(30), state: 'S' }
}

fn answers(answers: &[(&'static str, CommandResult, &'static str)]) -> FakeIo {
    let answers = answers.iter().map(|(command, result, answer)| (*command, (*result, *answer))).collect();
    FakeIo { answers, ..FakeIo::default() }
}

fn engine() -> Member {
    Member::new(&"g".into(), &"e".into())
}

fn launch(url: &str) -> GroupLaunch {
    GroupLaunch {
        domain: "g".into(),
        gpus: "GPU-1".into(),
        control: ControlLaunch {
            binary: "mps".into(),
            pipe_directory: "/p".into(),
            log_directory: "/l".into(),
            custody: Custody::Own,
            restart_by: Default::default(),
            gate: true,
        },
        outputs: "/l".into(),
        engines: vec![EngineLaunch {
            member: engine(),
            command: Vec::new(),
            user: None,
            working_directory: None,
            environment: BTreeMap::new(),
            environment_file: None,
            url: url.into(),
            health_path: "/health".into(),
            kind: EngineKind::Other,
            health_timeout: std::time::Duration::from_secs(1),
            metrics: crate::model::MetricsPlace::Under("/metrics".into()),
            gpus: "GPU-1".into(),
            gpu_named_by: crate::model::GpuNamedBy::Uuid,
            sm_percentage: None,
            device_memory_limit: None,
            probe: false,
            memory_max: None,
            found: None,
            external: None,
        }],
    }
}

fn observers(driver: Arc<FakeDriver>, io: FakeIo, url: &str) -> (Observers, UnboundedReceiver<Report>) {
    let (sender, reports) = unbounded_channel();
    let nowhere = ProbePlace::of(Path::new("/nonexistent"));
    let sampler = Sampler::new(nowhere, Arc::new(|_| Ok(None)), sender.clone());
    (Observers::new(driver, &[launch(url)], Rc::new(io), sampler, sender).unwrap(), reports)
}

/// All that one look reports, up to its outcome.
async fn looked(
    observers: &Observers,
    reports: &mut UnboundedReceiver<Report>,
    look: Look,
    within: Duration,
) -> (Vec<Observation>, Outcome) {
    observers.look(ActionId(1), look, clock::now().after(within));
    let mut seen = Vec::new();
    loop {
        match reports.recv().await.unwrap() {
            Report::Observed(observation) => seen.push(observation),
            Report::Finished(ActionId(1), outcome) => return (seen, outcome),
            other => panic!("{other:?}"),
        }
    }
}

/// One look with this I/O.
async fn asked(io: FakeIo, look: Look, within: Duration) -> (Vec<Observation>, Outcome) {
    let (observers, mut reports) = observers(Arc::default(), io, "http://127.0.0.1:1");
    LocalSet::new().run_until(looked(&observers, &mut reports, look, within)).await
}

/// One look at an engine at `url`.
async fn asked_at(url: &str, look: Look) -> (Vec<Observation>, Outcome) {
    let (observers, mut reports) = observers(Arc::default(), FakeIo::default(), url);
    LocalSet::new().run_until(looked(&observers, &mut reports, look, LONG)).await
}

async fn health(url: &str) -> (Vec<Observation>, Outcome) {
    asked_at(url, Look::Health(engine())).await
}

fn gpu() -> Look {
    Look::Gpu("GPU-1".into())
}

fn server(server: Option<u32>) -> Look {
    Look::Server { domain: "g".into(), server }
}

fn command(result: CommandResult) -> Observation {
    Observation::ControlReply { domain: "g".into(), result }
}

fn blind(observation: &Observation) -> Option<Source> {
    match observation {
        Observation::Blind { scope, .. } => Some(scope.source),
        _ => None,
    }
}

#[tokio::test]
async fn a_gpu_is_read_and_then_the_look_is_done() {
    let (observers, mut reports) = observers(Arc::default(), FakeIo::default(), "");
    let (seen, outcome) = LocalSet::new().run_until(looked(&observers, &mut reports, gpu(), LONG)).await;
    assert_eq!(seen, [Observation::Gpu { gpu: "GPU-1".into(), reading: reading() }]);
    assert_eq!(outcome, Outcome::Done);
}

#[tokio::test]
async fn a_gpu_that_nvml_calls_lost_is_told_and_leaves_the_look_blind_and_failed() {
    let driver = Arc::new(FakeDriver { fails: true, ..FakeDriver::default() });
    let (observers, mut reports) = observers(driver, FakeIo::default(), "");
    let (seen, outcome) = LocalSet::new().run_until(looked(&observers, &mut reports, gpu(), LONG)).await;
    assert_eq!(seen[0], Observation::GpuLost { gpu: "GPU-1".into(), why: "the GPU is lost".into() });
    assert_eq!(seen[1..].iter().map(blind).collect::<Vec<_>>(), [Some(Source::Nvml)]);
    assert_eq!(outcome, Outcome::Failed { why: "the GPU is lost".into() });
}

#[tokio::test]
async fn a_driver_that_hangs_leaves_every_look_with_exactly_one_outcome() {
    let driver = FakeDriver::hanging();
    let (observers, mut reports) = observers(driver.clone(), FakeIo::default(), "");
    LocalSet::new()
        .run_until(async {
            for id in 0..20 {
                observers.look(ActionId(id), gpu(), clock::now().after(SHORT));
            }
            let mut outcomes = BTreeMap::new();
            let mut blinds = 0;
            while outcomes.len() < 20 {
                match reports.recv().await.unwrap() {
                    Report::Finished(id, outcome) => assert_eq!(outcomes.insert(id, outcome), None),
                    Report::Observed(observation) => blinds += usize::from(blind(&observation) == Some(Source::Nvml)),
                }
            }
            assert!(outcomes.values().all(|outcome| *outcome == Outcome::TimedOut), "{outcomes:?}");
            assert_eq!(blinds, 20);
            driver.let_go();
            // The one after the hang is answered; of the twenty at most the first two were ever read.
            let (_, outcome) = looked(&observers, &mut reports, gpu(), LONG).await;
            assert_eq!(outcome, Outcome::Done);
            assert!(driver.readings.load(Ordering::SeqCst) <= 3);
            assert!(reports.try_recv().is_err());
        })
        .await;
}

#[tokio::test]
async fn a_gpu_that_no_group_has_fails_at_once() {
    let (seen, outcome) = asked(FakeIo::default(), Look::Gpu("GPU-2".into()), LONG).await;
    assert_eq!(seen.len(), 1);
    assert!(matches!(outcome, Outcome::NotAsked { .. }));
}

#[tokio::test]
async fn a_server_is_found_and_asked_for_its_state() {
    let io = answers(&[
        ("get_server_list", CommandResult::Answered, "486\n"),
        ("get_server_status 486", CommandResult::Answered, "FAULT\n"),
    ]);
    let (seen, outcome) = asked(io, server(None), LONG).await;
    let fault = Observation::Server { domain: "g".into(), server: Some(486), state: ServerState::Fault };
    assert_eq!(seen, [command(CommandResult::Answered), command(CommandResult::Answered), fault]);
    assert_eq!(outcome, Outcome::Done);
}

#[tokio::test]
async fn a_known_server_costs_one_command() {
    let io = answers(&[("get_server_status 486", CommandResult::Answered, "ACTIVE\n")]);
    let (seen, _) = asked(io, server(Some(486)), LONG).await;
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_server_that_is_gone_is_none() {
    let none = Observation::Server { domain: "g".into(), server: None, state: ServerState::None };
    let gone = answers(&[("get_server_status 1", CommandResult::Answered, "Server 1 not found\n")]);
    assert_eq!(asked(gone, server(Some(1)), LONG).await.0.last(), Some(&none));
    let empty = answers(&[("get_server_list", CommandResult::Answered, "")]);
    assert_eq!(asked(empty, server(None), LONG).await.0.last(), Some(&none));
}

#[tokio::test]
async fn a_daemon_that_is_not_there_says_nothing_about_the_server() {
    for result in [CommandResult::Unreachable, CommandResult::Refused, CommandResult::Timeout] {
        let (seen, outcome) = asked(answers(&[("get_server_list", result, "")]), server(None), LONG).await;
        assert_eq!(seen[0], command(result));
        assert_eq!(seen[1..].iter().map(blind).collect::<Vec<_>>(), [Some(Source::Mps)]);
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_command_that_is_never_answered_times_the_look_out() {
    let (seen, outcome) = asked(FakeIo::default(), server(None), SHORT).await;
    assert_eq!(seen.iter().map(blind).collect::<Vec<_>>(), [Some(Source::Mps)]);
    assert_eq!(outcome, Outcome::TimedOut);
}

#[tokio::test]
async fn clients_are_listed() {
    let io = answers(&[("get_client_list 486", CommandResult::Answered, "484\n493\n")]);
    let (seen, outcome) = asked(io, Look::Clients { domain: "g".into(), server: 486 }, LONG).await;
    let clients = Observation::Clients { domain: "g".into(), server: 486, clients: vec![484, 493] };
    assert_eq!(seen, [command(CommandResult::Answered), clients]);
    assert_eq!(outcome, Outcome::Done);
}

#[tokio::test]
async fn a_server_that_is_gone_has_no_list_of_clients_and_is_none() {
    let io = answers(&[("get_client_list 486", CommandResult::Answered, "Server 486 not found\n")]);
    let (seen, outcome) = asked(io, Look::Clients { domain: "g".into(), server: 486 }, LONG).await;
    let none = Observation::Server { domain: "g".into(), server: None, state: ServerState::None };
    assert_eq!(seen, [command(CommandResult::Answered), none]);
    assert_eq!(outcome, Outcome::Done);
}

#[tokio::test]
async fn trees_are_observed_engine_by_engine_or_the_look_is_blind() {
    let (seen, _) = asked(FakeIo::default(), Look::Trees("g".into()), LONG).await;
    let tree = Observation::Tree { engine: engine(), processes: vec![usage().process] };
    let usage = Observation::Usage { engine: engine(), processes: vec![usage()] };
    let events = Observation::MemoryEvents { engine: engine(), oom_kills: 1 };
    assert_eq!(seen, [tree, usage, events, Observation::HostMemory { domain: "g".into(), available: 5 }]);
    // A process that only claims to be an engine's is observed before its tree, and uses nothing of its own.
    let io = FakeIo { claimed: Some(self::usage().process), ..FakeIo::default() };
    let (seen, _) = asked(io, Look::Trees("g".into()), LONG).await;
    let claimed = Observation::Claimed { engine: engine(), processes: vec![self::usage().process] };
    let used = Observation::Usage { engine: engine(), processes: vec![] };
    assert_eq!(seen[..3], [claimed, seen[1].clone(), used]);
    let io = FakeIo { no_trees: true, ..FakeIo::default() };
    let (seen, outcome) = asked(io, Look::Trees("g".into()), LONG).await;
    assert_eq!(seen.iter().map(blind).collect::<Vec<_>>(), [Some(Source::Procfs)]);
    assert_eq!(outcome, Outcome::NotAsked { why: "no /proc".into() });
}

#[tokio::test]
async fn what_processes_were_told_is_observed() {
    let (seen, outcome) = asked(FakeIo::default(), Look::Environment(engine()), LONG).await;
    let overwritten = vec![OVERWRITTEN];
    assert_eq!(seen, [Observation::Environment { engine: engine(), processes: vec![told()], overwritten }]);
    assert_eq!(outcome, Outcome::Done);
}

/// An address whose one caller gets `answer`.
async fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Read to the end: a close with unread bytes would reset the connection.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    });
    url
}

#[tokio::test]
async fn health_is_what_the_engine_says() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Health::Ok),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Health::Status(503)),
        ("HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", Health::Status(301)),
        ("garbage\r\n\r\n", Health::NoAnswer),
    ] {
        let (seen, outcome) = health(&answering(answer).await).await;
        assert_eq!(seen, [Observation::Health { engine: engine(), health: expected }], "{answer:?}");
        assert_eq!(outcome, Outcome::Done);
    }
}

#[tokio::test]
async fn an_engine_that_nobody_listens_for_is_refused_and_one_that_hangs_gives_no_answer() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let (seen, _) = health(&url).await;
    assert_eq!(seen, [Observation::Health { engine: engine(), health: Health::Refused }]);

    let listening = socket.listen(8).unwrap();
    let (observers, mut reports) = observers(Arc::default(), FakeIo::default(), &url);
    let look = looked(&observers, &mut reports, Look::Health(engine()), Duration::from_millis(500));
    let (seen, outcome) = LocalSet::new().run_until(look).await;
    assert_eq!(seen, [Observation::Health { engine: engine(), health: Health::NoAnswer }]);
    assert_eq!(outcome, Outcome::Done);
    drop(listening);
}

#[tokio::test]
async fn load_is_what_the_engine_says_or_the_look_is_blind_for_that_engine() {
    let page = "HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\nvllm:num_requests_running 3\n";
    let (seen, outcome) = asked_at(&answering(page).await, Look::Load(engine())).await;
    let load = EngineLoad { running: Some(3.0), kind: Some(EngineKind::Vllm), ..EngineLoad::default() };
    assert_eq!((seen, outcome), (vec![Observation::Load { engine: engine(), load }], Outcome::Done));

    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let (seen, outcome) = asked_at(&answering(busy).await, Look::Load(engine())).await;
    assert_eq!(seen.iter().map(blind).collect::<Vec<_>>(), [Some(Source::Engine)]);
    assert!(matches!(outcome, Outcome::NotUnderstood { why } if why.contains("503")));
}

#[tokio::test]
async fn command_lines_are_those_of_the_processes_that_are_there() {
    let (ours, nobody) = (std::process::id(), u32::MAX);
    let domain = DomainId::from("small-llms");
    let look = Look::CommandLines { domain: domain.clone(), pids: vec![ours, nobody] };
    let (seen, outcome) = asked(FakeIo::default(), look, LONG).await;
    let [Observation::CommandLines { domain: of, asked, found }] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((of, asked.as_slice(), &outcome), (&domain, &[ours, nobody][..], &Outcome::Done));
    let [command] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(command.process.pid, ours);
    assert!(command.text.contains("mpswarden"), "{}", command.text);
}

#[tokio::test]
async fn metrics_that_hang_do_not_delay_health() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (observers, mut reports) = observers(Arc::default(), FakeIo::default(), &url);
    LocalSet::new()
        .run_until(async {
            observers.look(ActionId(7), Look::Load(engine()), clock::now().after(LONG));
            let (_hanging, _) = listener.accept().await.unwrap();
            observers.look(ActionId(8), Look::Health(engine()), clock::now().after(LONG));
            let (mut caller, _) = listener.accept().await.unwrap();
            caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            let health = Observation::Health { engine: engine(), health: Health::Ok };
            assert_eq!(reports.recv().await.unwrap(), Report::Observed(health));
            assert_eq!(reports.recv().await.unwrap(), Report::Finished(ActionId(8), Outcome::Done));
        })
        .await;
}

#[tokio::test]
async fn a_deadline_that_has_passed_still_ends_the_look_once() {
    let (seen, outcome) = asked(FakeIo::default(), server(None), Duration::ZERO).await;
    assert_eq!(seen.len(), 1);
    assert_eq!(outcome, Outcome::TimedOut);
}

#[tokio::test]
async fn a_group_without_a_kernel_probe_has_no_window() {
    let (seen, outcome) = asked(FakeIo::default(), Look::Overlap("g".into()), LONG).await;
    assert_eq!(seen.iter().map(blind).collect::<Vec<_>>(), [Some(Source::Probe)]);
    assert_eq!(outcome, Outcome::NotAsked { why: "no engine of g has a kernel probe".into() });
}

#[test]
fn what_happens_inside_a_look_ends_before_it() {
    assert_eq!(inner_bound(Duration::from_secs(3)), Duration::from_millis(2900));
    assert_eq!(inner_bound(Duration::from_millis(10)), Duration::from_millis(9));
}
