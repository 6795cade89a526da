//! An engine whose `/metrics` hangs: a source that is down. One whose page never ends: what came first counts. Nothing
//! else is touched.

use mpswarden::sim::Injection;

use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

/// The scene injects into its first engine.
const SICK: [(&str, &str); 2] = [("source", "engine"), ("engine", "qwen-a")];
const WELL: [(&str, &str); 2] = [("source", "engine"), ("engine", "qwen-b")];
const RUNNING: &str = "mps_engine_requests_running";

/// What is seen once its metrics behave so, and nothing else happened.
fn with_metrics_that(injection: Injection, seen: impl Fn(&Watchdog)) {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    watchdog.await_metrics("both loads", |metrics| {
        metrics.value(RUNNING, &SICK[1..]).is_some() && metrics.value(RUNNING, &WELL[1..]).is_some()
    });
    scene.inject(injection);
    seen(&watchdog);
    let after = watchdog.metrics();
    assert_eq!(after.value("mpswarden_source_up", &WELL), Some(1.0));
    assert!(after.value(RUNNING, &WELL[1..]).is_some(), "the other one is read on");
    assert_eq!(after.state("mps_engine_state", &SICK[1..], "state"), Some("serving"));
    assert_eq!(after.sum("mps_faults_total", &[]) + after.sum("mps_restarts_total", &[]), 0.0);
    assert_eq!(watchdog.ready(), 200);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn metrics_that_hang_are_a_source_that_is_down_and_nothing_else() {
    with_metrics_that(Injection::MetricsHang, |watchdog| {
        watchdog.await_event("source_down", "engine of small-llms/qwen-a");
        let deaf =
            watchdog.await_metrics("its figures are gone", |metrics| metrics.value(RUNNING, &SICK[1..]).is_none());
        assert_eq!(deaf.value("mpswarden_source_up", &SICK), Some(0.0));
    });
}

#[test]
fn of_metrics_that_never_end_what_came_first_counts() {
    with_metrics_that(Injection::MetricsFlood, |watchdog| {
        let cut = watchdog.await_metrics("its first lines count", |metrics| {
            metrics.value(RUNNING, &SICK[1..]).is_some_and(|running| running > 10_000.0)
        });
        assert_eq!(cut.value("mpswarden_source_up", &SICK), Some(1.0));
    });
}
