//! One server over two GPUs: after a fault those engines are new whose contexts died, and no other; the daemon is ours,
//! or somebody else's.

use std::collections::BTreeSet;

use mpswarden::sim::Injection;
use toml::Value;

use crate::support::others::Daemon;
use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::Watchdog;

/// A stage with two GPUs and an engine for each of these seats.
fn seated(seats: &[&[i64]]) -> Scene {
    let mut scene = Scene::over(2, seats.len());
    let gpus = |gpus: &[i64]| Value::Array(gpus.iter().map(|gpu| Value::from(*gpu)).collect());
    scene.group().insert("gpu".to_owned(), gpus(&[0, 1]));
    for (index, seat) in seats.iter().enumerate() {
        scene.engine(index).insert("gpu".to_owned(), gpus(seat));
    }
    scene
}

/// The engines that are new once a fault of one is over and all serve, by their places.
fn new_after(scene: &Scene, watchdog: &Watchdog, fault: Injection, culprit: &str) -> BTreeSet<usize> {
    let (before, mark) = (watchdog.engines(), watchdog.mark());
    let _ = scene.stage.inject(fault, Some(culprit));
    watchdog.await_line_after(mark, "the fault", |line| line.event() == "gpu_fault");
    watchdog.await_line_after(mark, "its end", |line| line.is("fault_over", "gpu_fault"));
    watchdog.await_serving();
    let after = eventually("every engine is a client", || {
        Some(watchdog.engines()).filter(|engines| engines.iter().all(|engine| !engine.clients.is_empty()))
    });
    let pairs = before.iter().zip(&after).enumerate();
    pairs.filter(|(_, (old, new))| old != new).map(|(place, _)| place).collect()
}

/// One fault on each GPU where nobody is on both.
fn a_fault_stays_on_its_gpu(scene: &Scene, watchdog: &Watchdog) {
    assert_eq!(new_after(scene, watchdog, Injection::IllegalAddress, "qwen-b"), [0, 1].into(), "{}", watchdog.told());
    assert_eq!(new_after(scene, watchdog, Injection::Trap, "qwen-d"), [2, 3].into(), "{}", watchdog.told());
    assert_eq!(watchdog.generation(), 1, "the group was never restarted as a whole");
}

#[test]
fn under_a_daemon_of_ours_only_the_engines_of_the_faulting_gpu_are_new() {
    let scene = seated(&[&[0], &[0], &[1], &[1]]);
    let mut watchdog = scene.serving();
    a_fault_stays_on_its_gpu(&scene, &watchdog);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn under_a_daemon_of_somebody_else_too() {
    let mut scene = seated(&[&[0], &[0], &[1], &[1]]);
    let daemon = Daemon::start(&mut scene);
    let pid = daemon.pid();
    let mut watchdog = scene.serving();
    a_fault_stays_on_its_gpu(&scene, &watchdog);
    watchdog.stop();
    assert_eq!(daemon.pid(), pid, "the daemon is the same");
}

#[test]
fn an_engine_on_both_gpus_takes_all_along() {
    let scene = seated(&[&[0], &[1], &[0, 1]]);
    let mut watchdog = scene.serving();
    assert_eq!(new_after(&scene, &watchdog, Injection::Trap, "qwen-b"), [0, 1, 2].into(), "{}", watchdog.told());
    assert_eq!(watchdog.generation(), 2, "the whole group was restarted");
    watchdog.stop();
    scene.assert_nothing_is_left();
}
