//! Windows over real sockets: probes that speak the wire's words, each in the name of a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::{Sampler, Timing};
use crate::host::pidfd::Pidfd;
use crate::host::probe_place::ProbePlace;
use crate::model::{Blindness, DomainId, GroupName, Member, Observation, OverlapWindow, ProbeState, Report};
use crate::observe::reports::Reports;
use crate::probe::wire::{Kernels, LONGEST, Order, VERSION, Word};

const PATIENCE: Duration = Duration::from_secs(30);
const TIMING: Timing = Timing { window: Duration::from_millis(10), period: Duration::ZERO };

/// The next callers; one that is not named is no engine's.
type Callers = Arc<Mutex<VecDeque<(Member, u32)>>>;

struct Bench {
    sampler: Sampler,
    reports: UnboundedReceiver<Report>,
    out: Reports,
    place: ProbePlace,
    callers: Callers,
    processes: Vec<Child>,
    _directory: tempfile::TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill().and_then(|()| process.wait());
        }
    }
}

impl Bench {
    fn new() -> Bench {
        let directory = tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap();
        let (place, callers) = (ProbePlace::of(directory.path()), Callers::default());
        let (sender, reports) = unbounded_channel();
        let next = callers.clone();
        let owner = move |_| {
            let Some((engine, pid)) = next.lock().unwrap().pop_front() else { return Ok(None) };
            Ok(Pidfd::open(pid)?.map(|held| (engine, Arc::new(held))))
        };
        let mut sampler = Sampler::new(place.clone(), Arc::new(owner), sender.clone());
        sampler.take_up([(group(), TIMING)].into()).unwrap();
        Bench { sampler, reports, out: Reports(sender), place, callers, processes: Vec::new(), _directory: directory }
    }

    /// The socket, once the thread has made it.
    fn connect(&self) -> UnixStream {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(self.place.socket()) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    /// A new process of an engine calls; it has not said hello.
    fn call(&mut self, engine: &str) -> Probe {
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = process.id();
        self.processes.push(process);
        self.call_as(engine, pid)
    }

    fn call_as(&mut self, engine: &str, pid: u32) -> Probe {
        self.callers.lock().unwrap().push_back((key(engine), pid));
        let stream = self.connect();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Probe(stream)
    }

    /// A new process of an engine that is ready to record; its engine had none before.
    async fn probe(&mut self, engine: &str) -> Probe {
        let mut probe = self.call(engine);
        probe.say(&Word::Hello { version: VERSION });
        assert_eq!(self.told().await, told(engine, ProbeState::Working, None));
        probe
    }

    /// The next report.
    async fn told(&mut self) -> Report {
        timeout(PATIENCE, self.reports.recv()).await.expect("a report in time").unwrap()
    }

    /// One window.
    async fn look(&self, bound: Duration) -> Result<(), Blindness> {
        let look = self.sampler.look(group(), bound, self.out.clone());
        timeout(PATIENCE, look).await.expect("an outcome in time")
    }

    async fn window(&mut self) -> OverlapWindow {
        match self.told().await {
            Report::Observed(Observation::Overlap { group: of, window }) if of == group() => window,
            other => panic!("{other:?}"),
        }
    }

    fn nothing_more_is_told(&mut self) {
        assert!(self.reports.try_recv().is_err());
    }
}

/// A probe's end of the conversation.
struct Probe(UnixStream);

impl Probe {
    fn say(&mut self, word: &Word) {
        self.0.write_all(&word.frame()).unwrap();
    }

    /// The next order: its window, from, to.
    fn ordered(&mut self) -> (u64, u64, u64) {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        let Some(Order::Record { window, from, to }) = Order::read(&body) else { panic!("{body:?}") };
        (window, from, to)
    }

    /// Answers the next order: covers all of it, with these kernels, from its beginning.
    fn answer(mut self, times: &'static [(u64, u64)]) -> std::thread::JoinHandle<(Probe, (u64, u64, u64))> {
        std::thread::spawn(move || {
            let order @ (window, from, to) = self.ordered();
            let times = times.iter().map(|(start, end)| (from + start, from + end)).collect();
            self.say(&Word::Kernels(Kernels { window, covered: (from, to), dropped: 0, times }));
            (self, order)
        })
    }

    /// The watchdog has hung up.
    fn ends(mut self) {
        let mut rest = Vec::new();
        // Reset, where the watchdog left something unread.
        let _ = self.0.read_to_end(&mut rest);
    }
}

fn group() -> GroupName {
    "g".into()
}

fn key(engine: &str) -> Member {
    DomainId::main(&group()).member(&engine.into())
}

fn told(engine: &str, state: ProbeState, why: Option<&str>) -> Report {
    Report::Observed(Observation::Probe { engine: key(engine), state, why: why.map(str::to_owned) })
}

#[tokio::test]
async fn all_probes_of_a_group_get_the_same_window_and_what_they_say_is_counted() {
    let mut bench = Bench::new();
    let (a, b) = (bench.probe("a").await, bench.probe("b").await);
    let (a, b) = (a.answer(&[(0, 4_000_000)]), b.answer(&[(3_000_000, 6_000_000)]));
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    let window = bench.window().await;
    let ((_a, first), (_b, second)) = (a.join().unwrap(), b.join().unwrap());
    assert_eq!(first, second);
    assert_eq!(first.2 - first.1, 10_000_000);
    let millis: Vec<_> = window.by_clients.iter().map(Duration::as_millis).collect();
    assert_eq!((window.sampled, millis), (TIMING.window, vec![4, 5, 1]));
    bench.nothing_more_is_told();
}

#[tokio::test]
async fn an_engine_on_the_second_side_belongs_to_the_same_group() {
    let mut bench = Bench::new();
    let a = bench.probe("a").await;
    let apart = DomainId::isolation(&group()).member(&"b".into());
    let mut b = bench.call("b");
    bench.callers.lock().unwrap()[0].0 = apart.clone();
    b.say(&Word::Hello { version: VERSION });
    let working = Observation::Probe { engine: apart, state: ProbeState::Working, why: None };
    assert_eq!(bench.told().await, Report::Observed(working));
    let (a, b) = (a.answer(&[]), b.answer(&[(0, 10_000_000)]));
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    let busy: Vec<_> = bench.window().await.busy.into_iter().map(|(name, _)| name.as_str().to_owned()).collect();
    assert_eq!(busy, ["a", "b"]);
    drop((a.join().unwrap(), b.join().unwrap()));
}

#[tokio::test]
async fn without_a_probe_there_is_no_window_and_nothing_is_wrong() {
    let mut bench = Bench::new();
    drop(bench.connect());
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    bench.nothing_more_is_told();
}

#[tokio::test]
async fn a_probe_that_does_not_answer_costs_the_window_and_its_late_answer_harms_none() {
    let mut bench = Bench::new();
    let mut a = bench.probe("a").await;
    let why = bench.look(Duration::from_millis(200)).await.unwrap_err();
    assert!(why.why.contains("the kernel probe of a did not answer"), "{why:?}");
    let (window, from, to) = a.ordered();
    a.say(&Word::Kernels(Kernels { window, covered: (from, to), ..Kernels::default() }));
    let a = a.answer(&[]);
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    assert_eq!(bench.window().await.sampled, TIMING.window);
    drop(a.join().unwrap());
}

#[tokio::test]
async fn a_probe_that_is_lost_in_a_window_leaves_it_out_and_is_told() {
    let mut bench = Bench::new();
    let mut a = bench.probe("a").await;
    let gone = std::thread::spawn(move || a.ordered());
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    gone.join().unwrap();
    assert_eq!(bench.told().await, told("a", ProbeState::Waiting, None));
    bench.nothing_more_is_told();
}

#[tokio::test]
async fn a_probe_that_can_not_record_is_told_with_its_reason_and_the_others_are_counted() {
    let mut bench = Bench::new();
    let mut a = bench.probe("a").await;
    a.say(&Word::Unavailable { why: "libcupti.so.13 is not there".into() });
    let state = told("a", ProbeState::Unavailable, Some("libcupti.so.13 is not there"));
    assert_eq!(bench.told().await, state);
    let b = bench.probe("b").await.answer(&[]);
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    assert_eq!(bench.window().await.by_clients.len(), 2);
    drop((a, b.join().unwrap()));
}

#[tokio::test]
async fn one_that_says_so_in_a_window_does_not_keep_it_waiting() {
    let mut bench = Bench::new();
    let mut a = bench.probe("a").await;
    let answer = std::thread::spawn(move || {
        a.ordered();
        a.say(&Word::Unavailable { why: "another profiler".into() });
        a
    });
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    assert_eq!(bench.told().await, told("a", ProbeState::Unavailable, Some("another profiler")));
    drop(answer.join().unwrap());
}

#[tokio::test]
async fn a_probe_that_could_not_record_may_try_again_and_counts_from_the_next_window_on() {
    let mut bench = Bench::new();
    let mut a = bench.probe("a").await;
    a.say(&Word::Unavailable { why: "another profiler".into() });
    bench.told().await;
    let a = a.answer(&[]);
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    assert_eq!(bench.told().await, told("a", ProbeState::Working, None));
    let (a, _) = a.join().unwrap();
    let a = a.answer(&[]);
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    assert_eq!(bench.window().await.by_clients.len(), 2);
    drop(a.join().unwrap());
}

#[tokio::test]
async fn an_engine_works_while_all_its_processes_do() {
    let mut bench = Bench::new();
    let first = bench.probe("a").await;
    let mut second = bench.call("a");
    second.say(&Word::Hello { version: VERSION });
    second.say(&Word::Unavailable { why: "no".into() });
    assert_eq!(bench.told().await, told("a", ProbeState::Unavailable, Some("no")));
    drop(second);
    assert_eq!(bench.told().await, told("a", ProbeState::Working, None));
    drop(first);
    assert_eq!(bench.told().await, told("a", ProbeState::Waiting, None));
}

#[tokio::test]
async fn a_process_that_calls_again_is_one_client() {
    let mut bench = Bench::new();
    let first = bench.probe("a").await;
    let mut again = bench.call_as("a", bench.processes[0].id());
    again.say(&Word::Hello { version: VERSION });
    first.ends();
    assert_eq!(bench.told().await, told("a", ProbeState::Waiting, None));
    assert_eq!(bench.told().await, told("a", ProbeState::Working, None));
    let again = again.answer(&[]);
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    assert_eq!(bench.window().await.by_clients.len(), 2);
    drop(again.join().unwrap());
}

#[tokio::test]
async fn a_connection_that_outlives_its_process_is_asked_nothing() {
    let mut bench = Bench::new();
    let a = bench.probe("a").await;
    bench.processes[0].kill().unwrap();
    bench.processes[0].wait().unwrap();
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    assert_eq!(bench.told().await, told("a", ProbeState::Waiting, None));
    a.ends();
}

#[tokio::test]
async fn strangers_and_those_who_do_not_say_hello_are_hung_up_on() {
    let mut bench = Bench::new();
    Probe(bench.connect()).ends();
    let (kernels, other) = (Word::Kernels(Kernels::default()), Word::Hello { version: VERSION + 1 });
    for bytes in [&[0xff_u8; 16][..], b"GET / HTTP/1.1\r\n\r\n", &kernels.frame(), &other.frame()] {
        let mut probe = bench.call("a");
        probe.0.write_all(bytes).unwrap();
        probe.ends();
    }
    // It says nothing at all.
    bench.call("a").ends();
    bench.nothing_more_is_told();
}

#[tokio::test]
async fn one_who_answers_what_nobody_asked_or_talks_garbage_is_hung_up_on_and_the_others_go_on() {
    let mut bench = Bench::new();
    let b = bench.probe("b").await;
    // One word may follow the hello: why it can't record.
    let unasked = Word::Kernels(Kernels::default()).frame().repeat(2);
    let hello = Word::Hello { version: VERSION }.frame();
    let huge = u32::try_from(LONGEST + 1).unwrap().to_le_bytes();
    for bytes in [&unasked[..], &hello, &huge, &[1, 0, 0, 0, 99]] {
        let mut a = bench.probe("a").await;
        a.0.write_all(bytes).unwrap();
        a.ends();
        assert_eq!(bench.told().await, told("a", ProbeState::Waiting, None));
    }
    let b = b.answer(&[]);
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    bench.window().await;
    drop(b.join().unwrap());
}

#[tokio::test]
async fn windows_that_a_probe_does_not_cover_are_none_and_the_third_in_a_row_is_told() {
    let mut bench = Bench::new();
    let mut a = bench.probe("a").await;
    let answers = std::thread::spawn(move || {
        for _ in 0..3 {
            let (window, from, _) = a.ordered();
            a.say(&Word::Kernels(Kernels { window, covered: (from, from), ..Kernels::default() }));
        }
        a
    });
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    assert_eq!(bench.look(PATIENCE).await, Ok(()));
    let why = bench.look(PATIENCE).await.unwrap_err();
    assert!(why.why.contains("3 windows in a row") && why.why.contains("that of a covered nothing"), "{why:?}");
    bench.nothing_more_is_told();
    drop(answers.join().unwrap());
}

#[tokio::test]
async fn a_socket_that_can_not_be_made_is_said_and_asked_for_again() {
    let (sender, _reports) = unbounded_channel();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("probe"), "a file").unwrap();
    let place = ProbePlace::of(directory.path());
    let mut sampler = Sampler::new(place, Arc::new(|_| Ok(None)), sender.clone());
    sampler.take_up([(group(), TIMING)].into()).unwrap();
    let blind = sampler.look(group(), PATIENCE, Reports(sender)).await.unwrap_err();
    assert!(blind.why.contains("no kernel probe can call at"), "{blind:?}");
}

#[tokio::test]
async fn the_end_of_the_sampler_ends_its_thread_and_its_socket() {
    let mut bench = Bench::new();
    let a = bench.probe("a").await;
    let socket = bench.place.socket();
    let (sender, _reports) = unbounded_channel();
    bench.sampler = Sampler::new(bench.place.clone(), Arc::new(|_| Ok(None)), sender);
    a.ends();
    let deadline = Instant::now() + PATIENCE;
    while socket.exists() {
        assert!(Instant::now() < deadline, "the socket is still there");
        std::thread::yield_now();
    }
}
