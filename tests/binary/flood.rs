//! One engine's log without end, or with a hole in it: only its writer feels it, and the disk keeps its room.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mpswarden::sim::Injection;
use nix::sys::signal::Signal;

use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::Watchdog;

/// Length of a log that no process writes to.
const SHORT: u64 = 32 << 20;

/// The second engine dies, and is repaired while the first one does what it does; then an order is obeyed.
fn the_sibling_is_repaired(scene: &Scene, watchdog: &Watchdog) {
    let mark = watchdog.mark();
    scene.stage.inject(Injection::SigkillIdle, Some("qwen-b")).unwrap();
    watchdog.await_line_after(mark, "the sibling's death", |line| line.is("engine_died", ""));
    watchdog.await_serving();
    let mark = watchdog.mark();
    watchdog.signal(Signal::SIGHUP);
    watchdog.await_line_after(mark, "an answer to the order", |line| line.event().starts_with("reload"));
}

fn log_of_the_first(scene: &Scene) -> PathBuf {
    scene.directory().join("log/qwen-a.log")
}

fn on_disk(log: &Path) -> u64 {
    fs::metadata(log).unwrap().blocks() * 512
}

#[test]
fn an_engine_that_writes_without_end_delays_nobody_and_fills_no_disk() {
    let mut scene = Scene::set();
    let go = scene.directory().join("go");
    let writer = format!("(until [ -e {} ]; do sleep 0.05; done; exec yes) & exec \"$@\"", go.display());
    scene.wrap(0, &["sh", "-c", &writer, "sh"]);
    let mut watchdog = scene.serving();
    let log = log_of_the_first(&scene);
    fs::write(&go, "").unwrap();
    eventually("it writes", || (on_disk(&log) > 1 << 20).then_some(()));
    the_sibling_is_repaired(&scene, &watchdog);
    assert!(on_disk(&log) < 512 << 20, "{} bytes", on_disk(&log));
    let writer = scene.living().into_iter().find(|process| process.command.starts_with("yes"));
    writer.expect("it writes still").signal(Signal::SIGKILL);
    eventually("its log is short again", || (on_disk(&log) < SHORT).then_some(()));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_log_with_a_hole_of_a_tebibyte_delays_nobody() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let log = log_of_the_first(&scene);
    OpenOptions::new().write(true).open(&log).unwrap().set_len(1 << 40).unwrap();
    the_sibling_is_repaired(&scene, &watchdog);
    eventually("the hole is gone", || (fs::metadata(&log).unwrap().len() < SHORT).then_some(()));
    watchdog.stop();
    scene.assert_nothing_is_left();
}
