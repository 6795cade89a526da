//! What runs outside MPS, or waits in front of it: engines are restarted into their group, the others are reported.

use std::process::{Child, Command, Stdio};

use mpswarden::sim::{AS_USER, CLIENTS_LIMIT, Injection};
use nix::unistd::getuid;

use crate::binary::orders::done;
use crate::support::metrics::Metrics;
use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

fn active(metrics: &Metrics, fault: &str) -> f64 {
    metrics.sum("mps_fault_active", &[("fault", fault)])
}

/// The engine was taken out for it once, and serves as a client; its sibling and the generation are as they were.
fn one_restart_brought_it_in(scene: Scene, mut watchdog: Watchdog) {
    watchdog.await_event("outside_mps", "on the GPU outside MPS; this group's server is");
    watchdog.await_event("restart", "because of outside_mps (attempt 1, 4 left in ");
    watchdog.await_event("serving", "restart of the engine ended serving");
    watchdog.await_serving();
    let metrics = watchdog.metrics();
    let engine = ("engine", "qwen-a");
    assert_eq!(metrics.sum("mps_faults_total", &[("fault", "outside_mps"), engine]), 1.0);
    // One with another pipe directory was started with the wrong one: the same fault by another name.
    let told =
        ["outside_mps", "limit_missing"].map(|fault| metrics.sum("mps_faults_total", &[("fault", fault), engine]));
    assert_eq!(metrics.sum("mps_faults_total", &[]), told.iter().sum::<f64>());
    assert_eq!(metrics.sum("mps_restarts_total", &[("tier", "engine"), ("reason", "outside_mps"), engine]), 1.0);
    assert_eq!(metrics.sum("mps_engine_attached", &[]), 2.0);
    assert_eq!((active(&metrics, "outside_mps"), watchdog.generation()), (0.0, 1));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_engine_that_came_up_outside_mps_is_restarted_into_its_group() {
    let mut scene = Scene::set();
    // The control daemon is away for its first start only.
    let marker = scene.directory().join("was-away").display().to_string();
    let script =
        format!("[ -e {marker} ] || {{ : > {marker}; export CUDA_MPS_PIPE_DIRECTORY=/nonexistent; }}; exec \"$@\"");
    scene.wrap(0, &["sh", "-c", &script, "sh"]);
    let watchdog = scene.start();
    one_restart_brought_it_in(scene, watchdog);
}

#[test]
fn a_serving_engine_that_moves_outside_mps_is_restarted_into_its_group() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    scene.inject(Injection::OutsideMps);
    one_restart_brought_it_in(scene, watchdog);
}

#[test]
fn an_engine_that_comes_up_outside_mps_each_time_is_quarantined_and_its_sibling_serves() {
    let mut scene = Scene::set();
    scene.recovery("engine_budget", 2);
    scene.wrap(0, &["env", "CUDA_MPS_PIPE_DIRECTORY=/nonexistent"]);
    let mut watchdog = scene.start();
    watchdog.await_engine("quarantined", "qwen-a");
    watchdog.await_engine("serving", "qwen-b");
    assert_eq!(watchdog.count("serving", "qwen-a"), 0);
    watchdog.await_event("crash_loop", "");
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_engine_outside_mps_is_only_told_of_where_the_policy_says_so() {
    let mut scene = Scene::set();
    scene.group().insert("policy".to_owned(), toml::toml! { outside_mps = "observe" }.into());
    let mut watchdog = scene.serving();
    scene.inject(Injection::OutsideMps);
    watchdog.await_event("suppressed", "would restart_engine, but observe");
    watchdog.await_event("failing", "outside MPS");
    let degraded = |metrics: &Metrics| metrics.state("mps_group_state", &[], "state") == Some("degraded");
    let metrics = watchdog.await_metrics("a degraded group", degraded);
    let attached = |engine| metrics.value("mps_engine_attached", &[("engine", engine)]);
    assert_eq!((attached("qwen-a"), attached("qwen-b")), (Some(0.0), Some(1.0)));
    assert_eq!(metrics.sum("mps_restarts_total", &[]), 0.0);
    assert_eq!(watchdog.get("/-/ready?group=small-llms&engine=qwen-b"), 200);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// A CUDA program that no engine owns.
fn program(scene: &Scene, role: &str, memory: &str, environment: &[(&str, &str)]) -> Child {
    let mut command = Command::new(scene.stage.program());
    command.args(["sim", role, "spin", "--seconds", "600", "--gap", "1000000", "--memory", memory, "--gpu"]);
    command.arg(scene.stage.gpu_socket()).env("CUDA_MPS_PIPE_DIRECTORY", scene.stage.pipe_directory());
    command.envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_foreign_process_is_named_with_its_command_and_nobody_is_touched() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let before = watchdog.engines();
    let foreign = program(&scene, "foreign", "4GiB", &[("CUDA_MPS_PIPE_DIRECTORY", "/nonexistent")]);
    let told = watchdog.await_event("foreign_process", &format!("process {} (", foreign.id()));
    assert!(told.message().contains(" sim foreign spin --seconds 600"), "{}", told.message());
    let metrics = watchdog.await_metrics("the fault", |metrics| active(metrics, "foreign_process") == 1.0);
    assert_eq!(metrics.sum("mps_foreign_processes", &[]), 1.0);
    end(foreign);
    watchdog.await_event("fault_over", "foreign_process");
    assert_eq!((watchdog.engines(), watchdog.generation(), watchdog.ready()), (before, 1, 200));
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_foreign_processes", &[]), 0.0);
    assert_eq!((metrics.sum("mps_faults_total", &[]), metrics.sum("mps_restarts_total", &[])), (1.0, 0.0));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// A user that is not the server's.
fn another_user() -> String {
    (getuid().as_raw() + 1).to_string()
}

#[test]
fn an_engine_of_another_user_than_the_servers_is_told_of_while_it_waits() {
    let mut scene = Scene::set();
    scene.wrap(1, &["env", &format!("{AS_USER}={}", another_user())]);
    let mut watchdog = scene.start();
    let told = watchdog.await_engine("uid_mismatch", "qwen-b");
    let says = format!("the server serves user {} alone and keeps waiting: its process", getuid());
    assert!(told.message().contains(&says), "{}", told.message());
    watchdog.await_engine("serving", "qwen-a");
    let of_b = [("fault", "uid_mismatch"), ("engine", "qwen-b")];
    watchdog.await_metrics("the fault", |metrics| metrics.sum("mps_fault_active", &of_b) == 1.0);
    assert_eq!(watchdog.metrics().sum("mps_restarts_total", &[]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_client_of_another_user_that_no_engine_owns_is_told_of_until_it_is_gone() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let waiting = program(&scene, "client", "4GiB", &[(AS_USER, &another_user())]);
    let told = watchdog.await_event("uid_mismatch", &format!("process {} (", waiting.id()));
    assert!(told.message().contains("of no engine"), "{}", told.message());
    end(waiting);
    watchdog.await_event("fault_over", "uid_mismatch");
    assert_eq!(watchdog.metrics().sum("mps_restarts_total", &[]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// The daemon wants the server gone for the stranger, and ends it in the gap of a restart: nothing is logged of that
/// but the server's new start, and no budget is spent on it.
fn the_group_is_restarted_in_order_and_after_a_fault(scene: &Scene, watchdog: &Watchdog) {
    done(scene, &["restart", "small-llms"]);
    watchdog.await_serving();
    assert_eq!(watchdog.count("server_died", ""), 0);
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("restart", "because of gpu_fault (attempt 1, 4 left in ");
    watchdog.await_event("serving", "ended serving");
    watchdog.await_serving();
    let metrics = watchdog.metrics();
    assert_eq!((watchdog.generation(), watchdog.count("server_died", "")), (3, 0));
    assert_eq!(metrics.sum("mps_restarts_total", &[]), 2.0);
    assert_eq!(metrics.sum("mps_engine_attached", &[]), 2.0);
}

#[test]
fn a_group_is_restarted_though_the_daemon_wants_its_server_gone_for_a_stranger_that_left() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let waiting = program(&scene, "client", "4GiB", &[(AS_USER, &another_user())]);
    watchdog.await_event("uid_mismatch", "the daemon now tries to shut the server down for it");
    end(waiting);
    watchdog.await_event("fault_over", "uid_mismatch");
    done(&scene, &["restart", "small-llms"]);
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("restart", "because of gpu_fault (attempt 1, 4 left in ");
    // The daemon tries again now and then: its server may go before the first engine has reached it, too.
    watchdog.await_metrics("both engines serve", |metrics| metrics.sum("mps_engine_attached", &[]) == 2.0);
    watchdog.await_serving();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_server_that_the_daemon_starts_for_a_stranger_that_waits_is_not_taken_for_the_groups() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let waiting = program(&scene, "client", "4GiB", &[(AS_USER, &another_user())]);
    watchdog.await_event("uid_mismatch", "the daemon now tries to shut the server down for it");
    the_group_is_restarted_in_order_and_after_a_fault(&scene, &watchdog);
    end(waiting);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn more_clients_than_the_server_takes_are_told_of_and_nobody_is_restarted() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let before = watchdog.engines();
    assert_eq!(watchdog.metrics().sum("mps_clients_limit", &[]), CLIENTS_LIMIT as f64);
    let more = CLIENTS_LIMIT + 2 - before.len();
    let crowd: Vec<Child> = (0..more).map(|_| program(&scene, "client", "1GiB", &[])).collect();
    watchdog.await_event("client_limit", &format!("refused a client: it takes {CLIENTS_LIMIT} and no more"));
    let full = |metrics: &Metrics| metrics.sum("mps_clients", &[]) == CLIENTS_LIMIT as f64;
    watchdog.await_metrics("as many as it takes", full);
    assert_eq!(active(&watchdog.metrics(), "client_limit"), 1.0);
    let computing = scene.stage.ask_gpu("mps").unwrap().split_whitespace().count();
    assert_eq!(computing, CLIENTS_LIMIT);
    crowd.into_iter().for_each(end);
    watchdog.await_metrics("nobody but the engines", |metrics| metrics.sum("mps_clients", &[]) == before.len() as f64);
    assert_eq!(active(&watchdog.metrics(), "client_limit"), 1.0, "a person has a minute to see it");
    assert_eq!((watchdog.engines(), watchdog.generation()), (before, 1));
    assert_eq!(watchdog.metrics().sum("mps_restarts_total", &[]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}
