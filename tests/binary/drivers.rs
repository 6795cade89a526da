//! Daemons and servers of other drivers, and a host on which something is missing: over the simulation's switches.

use std::fs;
use std::os::unix::fs::symlink;

use mpswarden::sim::{Dialect, Injection, Traffic};
use serde_json::Value;
use toml::Value as Toml;

use crate::support::http;
use crate::support::scene::{Scene, eventually, program};
use crate::support::schema;
use crate::support::watchdog::Watchdog;

/// A scene whose daemon speaks as this driver's.
fn speaking(dialect: Dialect, engines: usize) -> Scene {
    let scene = Scene::with(engines);
    fs::write(scene.directory().join("driver"), dialect.as_str()).unwrap();
    scene
}

fn ends(scene: &Scene, mut watchdog: Watchdog) {
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// A client is killed with work in flight: the fault is found, and who it was, whatever the log calls its clients.
fn the_killed_client_is_named(dialect: Dialect) {
    let scene = speaking(dialect, 3);
    let watchdog = scene.serving();
    scene.inject(Injection::SigkillBusy);
    watchdog.await_event("gpu_fault", "");
    watchdog.await_event("serving", "restart of all clients ended serving");
    let incident = eventually("an incident that is over", || {
        let all: Value = serde_json::from_str(&http::get(watchdog.address(), "/api/v1/incidents").ok()?.1).ok()?;
        schema::assert_is("incidents", &all);
        let over = |incident: &&Value| incident["verdict"].is_string() && incident["result"] == "serving";
        all["incidents"].as_array()?.iter().find(over).cloned()
    });
    let verdict = incident["verdict"].as_str().unwrap();
    // A process that dies holds its place until the driver is done with it: then the log alone could say who it was.
    let named = verdict.starts_with("qwen-a: ");
    let nameless = verdict.contains("does not say whose") && dialect != Dialect::R615;
    assert!(named || nameless, "{dialect:?}: {incident:#}");
    assert_eq!(watchdog.count("source_down", "not understood"), 0, "{}", watchdog.told());
    ends(&scene, watchdog);
}

#[test]
fn the_client_that_was_killed_is_named_where_the_log_of_r450_names_nobody() {
    the_killed_client_is_named(Dialect::R450);
}

#[test]
fn the_client_that_was_killed_is_named_where_the_log_of_r470_names_nobody() {
    the_killed_client_is_named(Dialect::R470);
}

#[test]
fn the_client_that_was_killed_is_named_where_the_log_of_r535_names_nobody() {
    the_killed_client_is_named(Dialect::R535);
}

#[test]
fn the_client_that_was_killed_is_named_by_the_log_of_r615() {
    the_killed_client_is_named(Dialect::R615);
}

#[test]
fn a_server_that_cannot_start_is_told_with_its_words_held_and_started_once_it_can_be() {
    for dialect in [Dialect::R535, Dialect::R580] {
        let mut scene = speaking(dialect, 1);
        // Its tries come as soon as they ever do.
        scene.recovery("backoff", toml::toml! { most = "1s" });
        fs::write(scene.directory().join("server.fails"), "operation not supported\n").unwrap();
        let watchdog = scene.start();
        watchdog.await_event("server_cannot_start", "before it was ever ready");
        let held = watchdog.await_event("held", "Failed to start : operation not supported");
        assert!(held.message().contains("with status 1"), "{}", held.message());
        assert_eq!(watchdog.count("server_up", ""), 0, "{}", watchdog.told());
        assert_eq!(watchdog.count("server_died", ""), 0, "{}", watchdog.told());
        assert_eq!(watchdog.count("server_cannot_start", "ended"), 1, "{}", watchdog.told());
        fs::remove_file(scene.directory().join("server.fails")).unwrap();
        watchdog.await_serving();
        assert_eq!(watchdog.metrics().sum("mps_restart_budget_remaining", &[]), 5.0);
        ends(&scene, watchdog);
    }
}

#[test]
fn a_client_that_the_server_ended_is_no_crash() {
    let mut scene = speaking(Dialect::R615, 2);
    scene.recovery("engine_budget", 1);
    let watchdog = scene.serving();
    // Who has no work does not notice.
    let addresses = ["qwen-a", "qwen-b"].map(|name| scene.stage.engine_address(name).unwrap());
    let traffic = Traffic::start(addresses).unwrap();
    watchdog.await_metrics("requests", |metrics| metrics.sum("mps_engine_requests_running", &[]) > 0.0);
    scene.inject(Injection::Evict);
    watchdog.await_event("evicted", "");
    watchdog.await_event("serving", "ended serving");
    watchdog.await_serving();
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_faults_total", &[("fault", "evicted")]), 1.0);
    for fault in ["engine_died", "crash_loop", "outside_mps", "gpu_fault"] {
        assert_eq!(metrics.sum("mps_faults_total", &[("fault", fault)]), 0.0, "{fault}");
    }
    traffic.finish();
    ends(&scene, watchdog);
}

#[test]
fn newcomers_that_hang_are_told_and_helped_once_nobody_serves() {
    let mut scene = Scene::with(1);
    scene.group().insert("policy".to_owned(), toml::toml! { newcomers_hang = "enforce" }.into());
    let watchdog = scene.serving();
    scene.inject(Injection::NewcomersHang);
    watchdog.await_event("newcomers_hang", "lets no client in");
    watchdog.await_event("serving", "and the control daemon ended serving");
    watchdog.await_serving();
    ends(&scene, watchdog);
}

#[test]
fn a_missing_program_is_no_fault_of_the_daemon_and_a_restart_waits_for_it() {
    let mut scene = Scene::with(1);
    let binary = scene.directory().join("moved-mps-control/nvidia-cuda-mps-control");
    fs::create_dir(binary.parent().unwrap()).unwrap();
    symlink(program(), &binary).unwrap();
    symlink(scene.stage.gpu_socket(), binary.with_file_name("gpu.socket")).unwrap();
    scene.group()["mps"].as_table_mut().unwrap().insert("binary".to_owned(), Toml::from(binary.display().to_string()));
    let watchdog = scene.serving();
    fs::remove_file(&binary).unwrap();
    watchdog.await_event("source_down", "was not found");
    let pid = fs::read_to_string(scene.stage.pipe_directory().join("nvidia-cuda-mps-control.pid")).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.trim().parse().unwrap()), nix::sys::signal::SIGKILL).unwrap();
    watchdog.await_event("held", "mps_binary_missing");
    assert_eq!(watchdog.count("control_wedged", ""), 0, "{}", watchdog.told());
    symlink(program(), &binary).unwrap();
    watchdog.await_serving();
    assert_eq!(watchdog.metrics().sum("mps_restart_budget_remaining", &[]), 4.0);
    ends(&scene, watchdog);
}
