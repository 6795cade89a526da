//! A fault in the middle of a recovery from another one: the group serves in the end, within its budget.

use mpswarden::sim::Injection;

use crate::binary::steps::Step;
use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

/// Serving again, with all engines new, and nothing left after the stop.
fn serves_again(scene: Scene, mut watchdog: Watchdog) {
    watchdog.await_serving();
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_fault_active", &[]), 0.0);
    assert!(metrics.sum("mps_restart_budget_remaining", &[]) >= 3.0);
    assert_eq!(scene.living().iter().filter(|process| process.is_engine()).count(), 4);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// The second fault in a step of the recovery from an illegal address.
fn in_the_step(step: Step, second: Injection, found: &str) {
    let (scene, watchdog) = step.reached();
    scene.inject(second);
    watchdog.await_event(found, "");
    watchdog.await_event("fault_over", found);
    serves_again(scene, watchdog);
}

#[test]
fn the_server_dies_while_the_new_engines_start() {
    in_the_step(Step::Ready, Injection::ServerKill, "server_died");
}

#[test]
fn the_control_daemon_dies_while_the_old_are_going() {
    in_the_step(Step::Gone, Injection::ControlKill, "control_died");
}

#[test]
fn the_control_daemon_dies_while_the_new_engines_start() {
    in_the_step(Step::Ready, Injection::ControlKill, "control_died");
}
