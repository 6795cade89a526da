//! Every fault that a stage can bring about: what is found, how far the restart goes, who is new after it.

use mpswarden::sim::Injection;

use crate::scene::{Scene, eventually};
use crate::watchdog::Watchdog;

/// What a fault of the whole group must look like.
struct Incident {
    injection: Injection,
    fault: &'static str,
    tier: &'static str,
}

/// Fault, restart of the group, everybody new, all serving; and every output tells the same story.
fn the_group_recovers(Incident { injection, fault, tier }: Incident) {
    let scene = Scene::with(3);
    let mut watchdog = scene.serving();
    let before = watchdog.engines();
    assert_eq!(watchdog.generation(), 1);
    std::thread::scope(|scope| {
        scope.spawn(|| scene.inject(injection));
        eventually("readiness off", || (watchdog.ready() == 503).then_some(()));
    });
    watchdog.await_event(fault, "");
    watchdog.await_event("restart", &format!("because of {fault} (attempt 1, 4 left in the window)"));
    watchdog.await_serving();
    everybody_is_new(&watchdog, &before);
    the_metrics_tell_of_it(&watchdog, fault, tier);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

fn everybody_is_new(watchdog: &Watchdog, before: &[crate::watchdog::EnginePids]) {
    let after = watchdog.engines();
    assert_eq!(watchdog.generation(), 2);
    for (old, new) in before.iter().zip(&after) {
        assert_ne!(old.main, new.main, "{} is the old process", old.name);
        assert!(!new.clients.is_empty() && new.clients.iter().all(|pid| !old.clients.contains(pid)), "{old:?} {new:?}");
    }
}

fn the_metrics_tell_of_it(watchdog: &Watchdog, fault: &str, tier: &str) {
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_faults_total", &[("fault", fault), ("engine", "")]), 1.0);
    assert_eq!(metrics.sum("mps_fault_active", &[("fault", fault)]), 0.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[("tier", tier), ("reason", fault)]), 1.0);
    assert_eq!(metrics.sum("mps_recoveries_total", &[("tier", tier), ("result", "serving")]), first_start(tier) + 1.0);
    assert_eq!(metrics.sum("mps_fault_detection_seconds_count", &[("fault", fault)]), 1.0);
    for step in ["decide", "kill", "gone", "memory", "backoff"] {
        assert_eq!(metrics.sum("mps_recovery_step_seconds_count", &[("step", step)]), 1.0, "{step}");
    }
    for step in ["active", "start", "ready"] {
        assert_eq!(metrics.sum("mps_recovery_step_seconds_count", &[("step", step)]), 2.0, "{step}");
    }
    assert_eq!(metrics.sum("mps_restart_budget_remaining", &[]), 4.0);
    assert_eq!(metrics.sum("mps_group_generation", &[]), 2.0);
    assert_eq!(metrics.state("mps_group_state", &[], "state"), Some("serving"));
    assert_eq!(metrics.sum("mps_engine_attached", &[]), 3.0);
}

/// The first start counts as a recovery of the daemon tier.
fn first_start(tier: &str) -> f64 {
    if tier == "daemon" { 1.0 } else { 0.0 }
}

#[test]
fn an_illegal_address_restarts_all_clients() {
    the_group_recovers(Incident { injection: Injection::IllegalAddress, fault: "gpu_fault", tier: "clients" });
}

#[test]
fn a_trap_restarts_all_clients() {
    the_group_recovers(Incident { injection: Injection::Trap, fault: "gpu_fault", tier: "clients" });
}

#[test]
fn engines_that_linger_with_a_sticky_error_are_killed_and_the_group_recovers() {
    the_group_recovers(Incident { injection: Injection::Linger, fault: "gpu_fault", tier: "clients" });
}

#[test]
fn a_dead_server_restarts_all_clients() {
    the_group_recovers(Incident { injection: Injection::ServerKill, fault: "server_died", tier: "clients" });
}

#[test]
fn a_dead_control_daemon_is_started_again_with_the_whole_group() {
    the_group_recovers(Incident { injection: Injection::ControlKill, fault: "control_died", tier: "daemon" });
}

#[test]
fn a_wedged_control_daemon_is_replaced_with_the_whole_group() {
    the_group_recovers(Incident { injection: Injection::ControlWedge, fault: "control_wedged", tier: "daemon" });
}
