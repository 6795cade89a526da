//! A watchdog that is killed, anywhere: the next one removes what the old one left before it starts
//! anything, remembers what was spent, and serves.

use mpswarden::sim::Injection;

use crate::binary::steps::Step;
use crate::support::processes::{self, Process};
use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

/// Starts the next watchdog, proves that it starts nothing beside the old, and waits until it serves.
fn the_next_one_takes_over(scene: &Scene, crashed: &[Process]) -> Watchdog {
    let next = scene.start();
    next.await_event("control_up", "");
    let left: Vec<_> = crashed.iter().filter(|old| processes::lives(old.pid) && scene.living().contains(old)).collect();
    assert!(left.is_empty(), "two generations at once: {left:#?}");
    next.await_serving();
    next
}

fn a_crash_in(step: Step) {
    let (scene, mut watchdog) = step.reached();
    watchdog.crash();
    let crashed = scene.living();
    if step == Step::Memory {
        scene.hang_nvml(false);
    }
    let mut next = the_next_one_takes_over(&scene, &crashed);
    assert_eq!(next.metrics().sum("mps_restart_budget_remaining", &[]), 4.0, "the attempt is forgotten");
    next.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn after_a_crash_in_steady_state_the_old_processes_go_before_the_new_come() {
    let scene = Scene::with(3);
    let mut watchdog = scene.serving();
    watchdog.crash();
    let crashed = scene.living();
    let engines = crashed.iter().filter(|process| process.is_engine()).count();
    assert_eq!(engines, 6, "engines outlive their watchdog: {crashed:#?}");
    let mut next = the_next_one_takes_over(&scene, &crashed);
    next.await_line("the leftovers", |line| line.message().starts_with("ended what an earlier run left: processes"));
    assert_eq!(next.metrics().sum("mps_restart_budget_remaining", &[]), 5.0);
    assert_eq!(next.generation(), 2, "the generation is forgotten");
    next.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_crash_after_an_incident_keeps_what_was_spent() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    scene.inject(Injection::ServerKill);
    watchdog.await_event("serving", "restart of all clients ended serving");
    watchdog.crash();
    let crashed = scene.living();
    let mut next = the_next_one_takes_over(&scene, &crashed);
    assert_eq!(next.metrics().sum("mps_restart_budget_remaining", &[]), 4.0);
    assert_eq!(next.generation(), 3);
    next.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn children_in_sessions_of_their_own_do_not_outlive_the_next_start() {
    let mut scene = Scene::set();
    scene.wrap(0, &["sh", "-c", "setsid sleep 1000 & exec \"$@\"", "sh"]);
    let mut watchdog = scene.serving();
    watchdog.crash();
    let crashed = scene.living();
    assert!(crashed.iter().any(|process| process.command.starts_with("sleep")));
    let mut next = the_next_one_takes_over(&scene, &crashed);
    next.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_crash_during_the_first_start_is_cleared_up() {
    let scene = Scene::set();
    let mut watchdog = scene.start();
    watchdog.await_event("started", "qwen-a");
    watchdog.crash();
    let crashed = scene.living();
    let mut next = the_next_one_takes_over(&scene, &crashed);
    next.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_crash_while_the_old_are_being_killed_is_cleared_up() {
    a_crash_in(Step::Kill);
}

#[test]
fn a_crash_while_the_old_are_going_is_cleared_up() {
    a_crash_in(Step::Gone);
}

#[test]
fn a_crash_while_a_blind_watchdog_waits_for_memory_is_cleared_up() {
    a_crash_in(Step::Memory);
}

#[test]
fn a_crash_during_the_back_off_is_cleared_up() {
    a_crash_in(Step::Backoff);
}

#[test]
fn a_crash_while_the_server_heals_is_cleared_up() {
    a_crash_in(Step::Active);
}

#[test]
fn a_crash_while_the_new_engines_start_is_cleared_up() {
    a_crash_in(Step::Ready);
}
