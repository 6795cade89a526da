//! Limits that are not in force, and memory that grows: what is found, what is restarted, and what is only reported.

use mpswarden::sim::Injection;

use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::Watchdog;

const GIB: f64 = (1u64 << 30) as f64;

/// Bytes of device memory of the first engine.
fn held(watchdog: &Watchdog) -> f64 {
    watchdog.metrics().sum("mps_engine_device_memory_bytes", &[("engine", "qwen-a")])
}

/// One restart for it, of that engine alone; then the engine serves, and it is still reported.
fn it_is_restarted_once_and_told_from_there_on(scene: &Scene, fault: &str) {
    let mut watchdog = scene.start();
    watchdog.await_event("restart", &format!("because of {fault}"));
    watchdog.await_serving();
    let active = |incarnation: u64| {
        let status = watchdog.status();
        let engine = &status["engines"][0];
        let metrics = watchdog.metrics();
        (engine["incarnation"] == incarnation && metrics.sum("mps_fault_active", &[("fault", fault)]) == 1.0)
            .then_some(metrics)
    };
    let metrics = eventually("the fault of the second incarnation", || active(2));
    assert_eq!(metrics.sum("mps_restarts_total", &[]), 1.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[("engine", "qwen-a"), ("reason", fault)]), 1.0);
    assert_eq!(metrics.sum("mps_faults_total", &[("fault", fault)]), metrics.sum("mps_faults_total", &[]));
    assert_eq!((watchdog.ready(), watchdog.generation()), (200, 1));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_engine_whose_wrapper_drops_its_memory_limit_is_restarted_once_and_then_told() {
    let mut scene = Scene::set();
    scene.wrap(0, &["env", "-u", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"]);
    it_is_restarted_once_and_told_from_there_on(&scene, "limit_missing");
}

#[test]
fn an_engine_whose_wrapper_drops_its_sm_percentage_is_restarted_once_and_then_told() {
    let mut scene = Scene::set();
    scene.engine(0).insert("sm_percentage".to_owned(), 50.into());
    scene.wrap(0, &["env", "-u", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"]);
    it_is_restarted_once_and_told_from_there_on(&scene, "limit_missing");
}

#[test]
fn an_engine_above_its_limit_is_restarted_once_and_then_told() {
    let mut scene = Scene::set();
    scene.engine(0).insert("device_memory_limit".to_owned(), "3GiB".into());
    // Another limit than it was given: it has one, and it is not the one that is configured.
    scene.wrap(0, &["env", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=64G"]);
    it_is_restarted_once_and_told_from_there_on(&scene, "limit_exceeded");
}

/// Three minutes of samples make a trend: the one slow test here.
#[test]
fn an_engine_that_leaks_is_told_and_restarted_before_it_meets_its_limit() {
    let mut scene = Scene::set();
    // It takes half a GiB a minute over its 4 GiB.
    scene.engine(0).insert("device_memory_limit".to_owned(), "6100MiB".into());
    let mut watchdog = scene.serving();
    let before = watchdog.engines();
    scene.inject(Injection::Leak);
    for more in [0.3, 0.6, 0.9, 1.2] {
        eventually("more memory", || (held(&watchdog) >= (4.0 + more) * GIB).then_some(()));
    }
    let told = watchdog.await_event("memory_leak", "its device memory grew by");
    assert!(told.message().contains("its load did not (0 requests running or waiting)"), "{}", told.message());
    watchdog.await_event("restart", "because of memory_leak");
    eventually("its memory is back", || (held(&watchdog) < 4.5 * GIB).then_some(()));
    watchdog.await_serving();
    assert_eq!(watchdog.engines()[1..], before[1..]);
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_faults_total", &[]), 1.0);
    assert_eq!(metrics.sum("mps_engine_exits_total", &[("cause", "device_oom")]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}
