//! Every fault that a stage can bring about: what is found, how far the restart goes, who is new after it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use mpswarden::sim::Injection;

use crate::support::metrics::Metrics;
use crate::support::processes;
use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::{EnginePids, Watchdog};

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
    let (before, counts) = (watchdog.engines(), watchdog.metrics());
    assert_eq!(watchdog.generation(), 1);
    std::thread::scope(|scope| {
        scope.spawn(|| scene.inject(injection));
        eventually("readiness off", || (watchdog.ready() == 503).then_some(()));
    });
    watchdog.await_event(fault, "");
    watchdog.await_event("restart", &format!("because of {fault} (attempt 1, 4 left in "));
    watchdog.await_serving();
    everybody_is_new(&watchdog, &before);
    the_metrics_tell_of_it(&counts, &watchdog.metrics(), fault, tier);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

fn everybody_is_new(watchdog: &Watchdog, before: &[EnginePids]) {
    let after = watchdog.engines();
    assert_eq!(watchdog.generation(), 2);
    for (old, new) in before.iter().zip(&after) {
        assert_ne!(old.main, new.main, "{} is the old process", old.name);
        assert!(!new.clients.is_empty() && new.clients.iter().all(|pid| !old.clients.contains(pid)), "{old:?} {new:?}");
    }
}

fn the_metrics_tell_of_it(before: &Metrics, metrics: &Metrics, fault: &str, tier: &str) {
    let counted = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels) - before.sum(name, labels);
    assert_eq!(counted("mps_faults_total", &[("fault", fault), ("engine", "")]), 1.0);
    assert_eq!(metrics.sum("mps_fault_active", &[("fault", fault)]), 0.0);
    assert_eq!(counted("mps_restarts_total", &[("tier", tier), ("reason", fault)]), 1.0);
    assert_eq!(counted("mps_recoveries_total", &[("tier", tier), ("result", "serving")]), 1.0);
    assert_eq!(counted("mps_recovery_seconds_count", &[("tier", tier)]), 1.0);
    assert_eq!(counted("mps_fault_detection_seconds_count", &[("fault", fault)]), 1.0);
    for step in ["decide", "kill", "gone", "memory", "backoff", "active", "start", "ready"] {
        assert_eq!(counted("mps_recovery_step_seconds_count", &[("step", step)]), 1.0, "{step}");
    }
    assert_eq!(metrics.sum("mps_restart_budget_remaining", &[]), 4.0);
    assert_eq!(metrics.sum("mps_group_generation", &[]), 2.0);
    assert_eq!(metrics.state("mps_group_state", &[], "state"), Some("serving"));
    assert_eq!(metrics.sum("mps_engine_attached", &[]), 3.0);
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

#[test]
fn a_client_killed_with_a_long_kernel_in_flight_takes_the_group_with_it() {
    the_group_recovers(Incident { injection: Injection::SigkillBusy, fault: "gpu_fault", tier: "clients" });
}

/// One engine restarts; its siblings' processes and the generation stay as they are.
fn one_engine_restarts(injection: Injection, fault: &str, cause: &str) {
    let scene = Scene::with(3);
    let mut watchdog = scene.serving();
    let before = watchdog.engines();
    std::thread::scope(|scope| {
        scope.spawn(|| scene.inject(injection));
        eventually("readiness off", || (watchdog.ready() == 503).then_some(()));
    });
    assert_eq!(watchdog.get("/-/ready?group=small-llms&engine=qwen-b"), 200);
    watchdog.await_line("the new incarnation", |line| line.is("started", "incarnation 2"));
    let left = before[0].pids().filter(|pid| processes::lives(*pid)).count();
    assert_eq!(left, 0, "the new incarnation started beside the old");
    watchdog.await_serving();
    let after = watchdog.engines();
    assert_ne!(before[0].main, after[0].main);
    assert_eq!(before[1..], after[1..]);
    let metrics = watchdog.metrics();
    let engine = ("engine", "qwen-a");
    assert_eq!(metrics.sum("mps_faults_total", &[("fault", fault), engine]), 1.0, "{}", watchdog.told());
    assert_eq!(metrics.sum("mps_faults_total", &[]), 1.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[("tier", "engine"), engine]), 1.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[]), 1.0);
    assert_eq!(metrics.sum("mps_recoveries_total", &[("tier", "engine"), ("result", "serving")]), 1.0);
    assert_eq!(metrics.sum("mps_recovery_seconds_count", &[("tier", "engine")]), 1.0);
    assert_eq!(metrics.sum("mps_engine_exits_total", &[("cause", cause), engine]), 1.0);
    assert_eq!(metrics.sum("mps_engine_exits_total", &[]), 1.0);
    assert_eq!(metrics.sum("mps_group_generation", &[]), 1.0);
    assert_eq!(metrics.sum("mps_restart_budget_remaining", &[]), 5.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_idle_client_that_is_killed_costs_its_own_engine_only() {
    one_engine_restarts(Injection::SigkillIdle, "engine_died", "error");
}

#[test]
fn the_child_of_a_dead_main_process_is_gone_before_the_engine_starts_again() {
    one_engine_restarts(Injection::Zombie, "engine_died", "signal");
}

#[test]
fn an_engine_that_runs_out_of_device_memory_is_restarted_alone() {
    one_engine_restarts(Injection::DeviceOom, "device_oom", "device_oom");
}

#[test]
fn an_engine_that_the_oom_killer_takes_is_restarted_alone_and_by_that_name() {
    one_engine_restarts(Injection::HostOom, "host_oom", "host_oom");
}

/// Nothing of the group changes.
fn the_group_stays(scene: Scene, mut watchdog: Watchdog, before: Vec<EnginePids>) {
    assert_eq!(watchdog.engines(), before);
    assert_eq!((watchdog.generation(), watchdog.ready()), (1, 200));
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_faults_total", &[]) + metrics.sum("mps_restarts_total", &[]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_fault_of_a_process_outside_mps_changes_nothing() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    let before = watchdog.engines();
    let asked = watchdog.metrics().sum("mps_control_commands_total", &[]);
    scene.inject(Injection::ForeignFault);
    watchdog.await_event("xid", "Xid 31");
    let asks = "the server's word on whether it was hit";
    watchdog.await_metrics(asks, |metrics| metrics.sum("mps_control_commands_total", &[]) > asked);
    watchdog.await_metrics("the count of Xids", |metrics| metrics.sum("mps_gpu_xid_errors_total", &[]) >= 1.0);
    the_group_stays(scene, watchdog, before);
}

/// A client of the group's server that no engine owns; it lives on with its error.
fn stranger(scene: &Scene) -> Child {
    let mut command = Command::new(scene.stage.program());
    command.args(["sim", "client", "spin", "--linger", "--seconds", "600", "--gap", "5000", "--gpu"]);
    command.arg(scene.stage.gpu_socket()).env("CUDA_MPS_PIPE_DIRECTORY", scene.stage.pipe_directory());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
    assert!(told.any(|line| line.contains("context ready")), "the stranger has no context");
    child
}

#[test]
fn a_stranger_that_holds_the_server_in_fault_is_killed_where_the_policy_says_so() {
    let mut scene = Scene::set();
    scene.group().insert("policy".to_owned(), toml::toml! { unknown_clients = "kill_on_fault" }.into());
    let mut watchdog = scene.serving();
    let mut stranger = stranger(&scene);
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("unknown_client", &stranger.id().to_string());
    let status = stranger.wait().unwrap();
    assert!(!status.success());
    watchdog.await_event("serving", "restart of all clients ended serving");
    watchdog.await_serving();
    assert_eq!(watchdog.metrics().sum("mps_restarts_total", &[]), 1.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_stranger_is_only_reported_by_default_and_the_daemon_tier_gets_past_it() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let mut stranger = stranger(&scene);
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("suppressed", "would kill_unknown_client, but policy");
    watchdog.await_event("restart", "restarting all clients and the control daemon");
    watchdog.await_event("serving", "control daemon ended serving");
    watchdog.await_serving();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_spent_budget_holds_the_group_until_it_is_stopped() {
    let mut scene = Scene::set();
    scene.recovery("budget", 1);
    scene.recovery("when_spent", "hold");
    let mut watchdog = scene.serving();
    scene.inject(Injection::ServerKill);
    watchdog.await_event("restart", "0 left in the group's budget");
    watchdog.await_serving();
    let mark = watchdog.mark();
    scene.inject(Injection::ServerKill);
    watchdog.await_line_after(mark, "held", |line| line.is("held", "budget_spent"));
    let held = [("reason", "budget_spent")];
    let metrics = watchdog.await_metrics("held", |metrics| metrics.sum("mps_group_held", &held) == 1.0);
    assert_eq!(metrics.state("mps_group_state", &[], "state"), Some("held"));
    assert_eq!(watchdog.ready(), 503);
    assert!(!scene.living().iter().any(|process| process.is_engine()), "a held group has engines");
    watchdog.stop();
    scene.assert_nothing_is_left();
}
