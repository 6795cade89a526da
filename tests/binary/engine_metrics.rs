//! An engine whose `/metrics` hangs or never ends: a source that is down, and nothing else touched.

use mpswarden::sim::Injection;

use crate::scene::Scene;

/// The scene injects into its first engine.
const SICK: [(&str, &str); 2] = [("source", "engine"), ("engine", "qwen-a")];
const WELL: [(&str, &str); 2] = [("source", "engine"), ("engine", "qwen-b")];
const RUNNING: &str = "mps_engine_requests_running";

fn is_a_source_that_is_down_and_nothing_else(injection: Injection) {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    watchdog.await_metrics("both loads", |metrics| {
        metrics.value(RUNNING, &SICK[1..]).is_some() && metrics.value(RUNNING, &WELL[1..]).is_some()
    });
    scene.inject(injection);
    watchdog.await_event("source_down", "engine of small-llms/qwen-a");
    let deaf = watchdog.await_metrics("its figures are gone", |metrics| metrics.value(RUNNING, &SICK[1..]).is_none());
    assert_eq!(deaf.value("mpswarden_source_up", &SICK), Some(0.0));
    assert_eq!(deaf.value("mpswarden_source_up", &WELL), Some(1.0));
    assert!(deaf.value(RUNNING, &WELL[1..]).is_some(), "the other one is read on");
    assert_eq!(deaf.state("mps_engine_state", &SICK[1..], "state"), Some("serving"));
    assert_eq!(deaf.sum("mps_faults_total", &[]) + deaf.sum("mps_restarts_total", &[]), 0.0);
    assert_eq!(watchdog.ready(), 200);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn metrics_that_hang_are_a_source_that_is_down_and_nothing_else() {
    is_a_source_that_is_down_and_nothing_else(Injection::MetricsHang);
}

#[test]
fn metrics_that_never_end_are_a_source_that_is_down_and_nothing_else() {
    is_a_source_that_is_down_and_nothing_else(Injection::MetricsFlood);
}
