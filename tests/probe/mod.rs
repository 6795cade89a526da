//! The kernel probe's library in real processes: the test is the watchdog at the other end of the socket, and the
//! test binary, started again, the engine.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mpswarden::probe::LIBRARY;
use mpswarden::probe::wire::{Kernels, Order, VERSION, Word};
use tempfile::TempDir;

use crate::support::needs;

mod engine;

use engine::{Engine, LIMIT};

const MILLI: u64 = 1_000_000;

#[test]
fn the_engine() {
    engine::main();
}

/// A watchdog with one engine.
struct Scene {
    folder: TempDir,
    listener: UnixListener,
    engine: Engine,
}

/// The engine's word, as the watchdog hears it.
struct Line(UnixStream);

impl Scene {
    fn set(mode: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let engine = Engine::start(folder.path(), Some(&folder.path().join("socket")), mode);
        Scene { folder, listener, engine }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn line(&self) -> Line {
        self.listener.set_nonblocking(true).unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(LIMIT)).unwrap();
                    let mut line = Line(stream);
                    assert_eq!(line.hear(), Some(Word::Hello { version: VERSION }));
                    return line;
                }
                Err(error) => assert!(error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(2));
        }
    }
}

impl Line {
    /// Orders a window that begins so soon as it can be recorded whole, and lasts 20 ms. Its beginning.
    fn order(&mut self, window: u64) -> u64 {
        let from = now() + 110 * MILLI;
        self.send(Order::Record { window, from, to: from + 20 * MILLI });
        from
    }

    fn send(&mut self, order: Order) {
        self.0.write_all(&order.frame()).unwrap();
    }

    /// The next word; `None`: the engine hung up.
    fn hear(&mut self) -> Option<Word> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
            other => other.unwrap(),
        }
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        Some(Word::read(&body).expect("a word"))
    }

    fn kernels(&mut self) -> Kernels {
        match self.hear() {
            Some(Word::Kernels(kernels)) => kernels,
            other => panic!("{other:?}"),
        }
    }

    /// A window that is covered whole, and its kernels. A machine that is too busy to attach in time gets another try.
    fn whole_window(&mut self) -> Kernels {
        let tries = (0..20).map(|window| (self.order(window), self.kernels()));
        let whole = tries.into_iter().find(|(from, kernels)| kernels.covered == (*from, *from + 20 * MILLI));
        whole.expect("a whole window").1
    }

    fn why(&mut self) -> String {
        match self.hear() {
            Some(Word::Unavailable { why }) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Whether two times are the same by clocks that were compared on a busy machine.
fn near(one: u64, other: u64) -> bool {
    one.abs_diff(other) < MILLI / 5
}

/// Four kernels, one after the other: the first ends before the window and the last after it. True: the window came
/// back with just the others. On a machine too busy for that, launches come later than they should.
fn three_kernels_come_back(scene: &mut Scene, line: &mut Line, window: u64) -> bool {
    let from = line.order(window);
    let ends = [from - MILLI, from + 2 * MILLI, from + 3 * MILLI, from + 25 * MILLI];
    scene.engine.play(&ends);
    let kernels = line.kernels();
    assert_eq!((kernels.window, kernels.dropped), (window, 0));
    let expected = ends.windows(2).map(|ends| (ends[0], ends[1]));
    kernels.covered == (from, from + 20 * MILLI)
        && kernels.times.len() == 3
        && expected.zip(&kernels.times).all(|(one, other)| near(one.0, other.0) && near(one.1, other.1))
}

#[test]
fn each_window_comes_back_with_exactly_its_kernels() {
    let mut scene = Scene::set("");
    let mut line = scene.line();
    let good = (0..20).filter(|window| three_kernels_come_back(&mut scene, &mut line, *window));
    assert_eq!(good.take(3).count(), 3);
    scene.engine.end();
}

#[test]
fn an_idle_engine_is_covered_and_has_no_kernels() {
    let scene = Scene::set("");
    assert_eq!(scene.line().whole_window().times, Vec::new());
    scene.engine.end();
}

#[test]
fn nothing_is_loaded_before_the_first_order_and_nothing_recorded_after_it() {
    let mut scene = Scene::set("");
    let mut line = scene.line();
    assert!(!scene.engine.has_cupti());
    line.order(1);
    line.kernels();
    assert!(scene.engine.has_cupti());
    assert_eq!(scene.engine.ask("launch"), "0");
    assert_eq!(scene.engine.ask("subscribe"), "0", "the place of the one subscriber is free");
    scene.engine.end();
}

#[test]
fn the_first_window_makes_the_events_of_all() {
    let mut scene = Scene::set("");
    let mut line = scene.line();
    line.order(1);
    line.kernels();
    let made = scene.engine.ask("events");
    for window in 2..4 {
        let from = line.order(window);
        scene.engine.play(&[from + MILLI]);
        line.kernels();
        assert_eq!(scene.engine.ask("events"), made);
    }
    scene.engine.end();
}

#[test]
fn a_process_without_a_context_is_covered_and_has_no_kernels() {
    let scene = Scene::set("no-context");
    assert_eq!(scene.line().whole_window().times, Vec::new());
    scene.engine.end();
}

#[test]
fn an_engine_that_makes_graphs_while_it_serves_is_left_alone_from_then_on() {
    const WHY: &str = "the engine makes CUDA graphs while it serves";
    let mut scene = Scene::set("capturing");
    let mut line = scene.line();
    let from = line.order(1);
    scene.engine.play(&[from + MILLI]);
    assert_eq!(line.why(), WHY);
    assert_eq!(scene.engine.ask("recorded"), "0", "no event in a stream that is captured");
    drop(line);
    let mut line = scene.line();
    assert_eq!(line.why(), WHY);
    line.order(2);
    line.send(Order::Record { window: 3, from: 1, to: 2 });
    scene.engine.end();
    assert_eq!(line.hear(), None);
}

#[test]
fn where_the_driver_refuses_an_event_nothing_is_covered() {
    let mut scene = Scene::set("no-events");
    let mut line = scene.line();
    let from = line.order(1);
    scene.engine.play(&[from + MILLI, from + 2 * MILLI]);
    let kernels = line.kernels();
    assert_eq!((kernels.dropped, kernels.covered.0), (2, kernels.covered.1));
    scene.engine.end();
}

#[test]
fn more_launches_than_there_are_events_end_what_is_covered() {
    let mut scene = Scene::set("");
    let mut line = scene.line();
    let from = now() + 120 * MILLI;
    line.send(Order::Record { window: 1, from, to: from + 900 * MILLI });
    scene.engine.play(&vec![from + MILLI; 5000]);
    let kernels = line.kernels();
    assert!(kernels.covered.1 < from + 900 * MILLI, "{:?}", kernels.covered);
    scene.engine.end();
}

#[test]
fn a_window_that_is_over_too_long_or_too_far_is_answered_with_nothing() {
    let scene = Scene::set("");
    let mut line = scene.line();
    let (now, second) = (now(), 1000 * MILLI);
    let wrong = [
        (now - second, now),
        (0, 1),
        (now + second, now + 3 * second),
        (now + 60 * second, now + 61 * second),
        (u64::MAX - 1, u64::MAX),
    ];
    for (window, (from, to)) in (0..).zip(wrong) {
        line.send(Order::Record { window, from, to });
        let kernels = line.kernels();
        assert_eq!((kernels.window, kernels.covered.0), (window, kernels.covered.1));
    }
    assert!(!scene.engine.has_cupti());
    scene.engine.end();
}

#[test]
fn without_a_socket_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(folder.path(), None, "");
    assert_eq!(engine.probe_thread(), None);
    engine.end();
}

#[test]
fn the_engines_signals_never_reach_the_probes_thread() {
    let scene = Scene::set("");
    let _line = scene.line();
    let status = scene.engine.probe_thread().expect("one thread");
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    let blocked = u64::from_str_radix(blocked, 16).unwrap();
    for signal in [1, 2, 3, 10, 12, 13, 14, 15, 17] {
        assert_ne!(blocked & (1 << (signal - 1)), 0, "signal {signal}");
    }
    scene.engine.end();
}

#[test]
fn an_engine_without_a_watchdog_lives_and_the_next_watchdog_finds_it() {
    let mut scene = Scene::set("");
    drop(scene.line());
    std::fs::remove_file(scene.socket()).unwrap();
    scene.listener = UnixListener::bind(scene.socket()).unwrap();
    let mut line = scene.line();
    line.order(1);
    assert_eq!(line.kernels().window, 1);
    scene.engine.end();
}

#[test]
fn garbage_ends_the_conversation_and_nothing_else() {
    let order = Order::Record { window: 1, from: 1, to: 2 }.frame();
    for garbage in [vec![0xff; 64], vec![0; 4], [&order[..], &[9, 0, 0, 0], &[7; 9]].concat()] {
        let scene = Scene::set("");
        let mut line = scene.line();
        line.0.write_all(&garbage).unwrap();
        let heard: Vec<_> = std::iter::from_fn(|| line.hear()).collect();
        assert!(heard.iter().all(|word| matches!(word, Word::Kernels(_))), "{heard:?}");
        scene.engine.end();
    }
}

#[test]
fn a_flood_of_orders_is_answered_one_by_one() {
    const ORDERS: u64 = 50_000;
    let scene = Scene::set("");
    let mut line = scene.line();
    let mut other = Line(line.0.try_clone().unwrap());
    let flood =
        thread::spawn(move || (0..ORDERS).for_each(|window| other.send(Order::Record { window, from: 1, to: 2 })));
    for window in 0..ORDERS {
        assert_eq!(line.kernels().window, window);
    }
    flood.join().unwrap();
    scene.engine.end();
}

#[test]
fn a_watchdog_that_reads_nothing_is_left() {
    let scene = Scene::set("");
    let line = scene.line();
    let frame = Order::Record { window: 1, from: 1, to: 2 }.frame();
    // Ends where the engine has hung up.
    while (&line.0).write_all(&frame).is_ok() {}
    scene.engine.end();
}

#[test]
fn an_engine_without_a_usable_cupti_says_so_once_and_does_nothing() {
    for (mode, why) in [
        ("deaf", "did not call back"),
        ("missing", "cannot open shared object file"),
        ("unknown-version", "version 200000 is not known"),
        ("subscriber-refused", "another profiler"),
    ] {
        let scene = Scene::set(mode);
        let mut line = scene.line();
        line.order(1);
        let said = line.why();
        assert!(said.contains(why), "{said}");
        line.order(2);
        // Past window 2 by the order after it: silence so far, if anything were said it would be said before.
        let over = Order::Record { window: 3, from: 1, to: 2 };
        line.send(over);
        scene.engine.end();
        let rest: Vec<_> = std::iter::from_fn(|| line.hear()).collect();
        assert!(!rest.iter().any(|word| matches!(word, Word::Unavailable { .. })), "{rest:?}");
    }
}

#[test]
fn a_profiler_that_went_away_is_no_trouble_any_more() {
    let scene = Scene::set("subscriber-refused-once");
    let mut line = scene.line();
    line.order(1);
    assert!(line.why().contains("another profiler"));
    line.whole_window();
    scene.engine.end();
}

#[test]
fn kernels_of_another_context_are_not_kept_silent() {
    let mut scene = Scene::set("foreign-context");
    let mut line = scene.line();
    let from = line.order(1);
    scene.engine.play(&[from]);
    assert!(line.why().contains("another context"));
    scene.engine.end();
}

#[test]
fn the_next_watchdog_is_told_the_lasting_trouble_too() {
    let scene = Scene::set("missing");
    let mut line = scene.line();
    line.order(1);
    let why = line.why();
    drop(line);
    assert_eq!(scene.line().why(), why);
    scene.engine.end();
}

#[test]
fn an_engine_that_exits_in_a_window_ends_with_its_own_status() {
    let mut scene = Scene::set("");
    let mut line = scene.line();
    let from = now() + 120 * MILLI;
    line.send(Order::Record { window: 1, from, to: from + 900 * MILLI });
    scene.engine.play(&[from]);
    scene.engine.end();
    assert_eq!(line.hear(), None);
}

#[test]
fn an_engine_whose_driver_hangs_in_the_probe_ends_all_the_same() {
    let mut scene = Scene::set("hanging-subscribe");
    let mut line = scene.line();
    line.order(1);
    assert_eq!(scene.engine.ask("launch"), "0", "CUPTI is loaded");
    scene.engine.end();
    assert_eq!(line.hear(), None);
}

#[test]
fn a_forked_child_ends_at_once_and_the_engine_goes_on() {
    let mut scene = Scene::set("");
    let mut line = scene.line();
    assert_eq!(scene.engine.ask("fork"), "exited 3");
    let from = now() + 120 * MILLI;
    line.send(Order::Record { window: 1, from, to: from + 500 * MILLI });
    scene.engine.play(&[from]);
    assert_eq!(scene.engine.ask("fork"), "exited 3");
    assert_eq!(line.kernels().covered.1, from + 500 * MILLI);
    scene.engine.end();
}

#[test]
fn the_library_is_small_and_needs_the_c_library_alone() {
    assert!(LIBRARY.len() < 600 << 10, "{} bytes", LIBRARY.len());
    let Some(readelf) = needs::program("readelf", "binutils") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libmpswarden_probe.so");
    std::fs::write(&path, LIBRARY).unwrap();
    let said = Command::new(readelf).arg("-d").arg(path).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    // libgcc_s unwinds; it comes with every glibc.
    let of_c = ["libc.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
    for line in said.lines().filter(|line| line.contains("(NEEDED)")) {
        assert!(of_c.iter().any(|name| line.contains(name)), "{line}");
    }
    assert!(said.contains("NODELETE"), "{said}");
}
