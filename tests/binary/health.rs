//! A driver that hangs: the watchdog stays alive and answers, says what it does not know, and does
//! nothing that it can't justify.

use jiff::Timestamp;
use mpswarden::sim::Injection;

use crate::support::scene::Scene;
use crate::support::watchdog::Line;

const NVML: [(&str, &str); 1] = [("source", "nvml")];

#[test]
fn while_nvml_hangs_the_watchdog_is_healthy_and_says_what_it_does_not_know() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    assert_eq!(watchdog.metrics().sum("mpswarden_source_up", &NVML), 1.0);
    scene.hang_nvml(true);
    let blind = watchdog.await_metrics("NVML is down", |metrics| metrics.sum("mpswarden_source_up", &NVML) == 0.0);
    assert_eq!(blind.value("mps_gpu_memory_used_bytes", &[]), None, "a reading that nobody can vouch for");
    assert_eq!(watchdog.get("/-/healthy"), 200);
    watchdog.await_event("source_down", "nvml");
    scene.hang_nvml(false);
    watchdog.await_metrics("NVML is back", |metrics| metrics.sum("mpswarden_source_up", &NVML) == 1.0);
    watchdog.await_event("source_up", "nvml");
    watchdog.await_serving();
    let metrics = watchdog.metrics();
    assert!(metrics.sum("mps_gpu_memory_used_bytes", &[]) > 0.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[]) + metrics.sum("mps_faults_total", &[]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_restart_of_a_blind_watchdog_is_held_and_goes_on_when_nvml_is_back() {
    let mut scene = Scene::set();
    scene.recovery("memory_timeout", "2s");
    let mut watchdog = scene.serving();
    scene.hang_nvml(true);
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("held", "memory_unknown");
    let held = [("reason", "memory_unknown")];
    watchdog.await_metrics("held", |metrics| metrics.sum("mps_group_held", &held) == 1.0);
    assert_eq!((watchdog.ready(), watchdog.get("/-/healthy")), (503, 200));
    assert!(!scene.living().iter().any(|process| process.is_engine()), "engines started blindly");
    scene.hang_nvml(false);
    // The reading that hung may come first, and be of the moment before they were gone.
    watchdog.await_event("released", "no longer held for memory_");
    watchdog.await_serving();
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_group_held", &held), 0.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[]), 1.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_watchdog_without_nvml_at_its_start_serves_once_nvml_answers() {
    let scene = Scene::set();
    scene.hang_nvml(true);
    let mut watchdog = scene.start();
    assert!(!scene.living().iter().any(|process| process.is_engine()));
    scene.hang_nvml(false);
    watchdog.await_serving();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn in_steady_state_control_commands_come_ten_seconds_apart() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let served = watchdog.mark();
    let next = |after: Timestamp| {
        let wanted = |line: &Line| line.event() == "command" && line.at() > after;
        watchdog.await_line_after(served, "the next command", wanted).at()
    };
    // The first may still ask about the new clients.
    let second = next(next(Timestamp::MIN));
    let apart = next(second).duration_since(second).as_secs_f64();
    assert!(apart >= 9.5, "{apart} s between two commands");
    watchdog.stop();
    scene.assert_nothing_is_left();
}
