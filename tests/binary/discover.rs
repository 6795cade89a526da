//! Control daemons of others that come and go: `[discover]` finds them by patterns of their pipe directories.

use std::fs;

use nix::sys::signal::Signal;
use toml::{Table, Value};

use crate::support::metrics::Metrics;
use crate::support::others::Daemon;
use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

/// A scene whose file names no group, and daemons of the pattern `mps/*/pipe` below its directory.
fn looking(engines: usize) -> Scene {
    let mut scene = Scene::with(engines);
    scene.configuration.remove("group");
    let pattern = scene.directory().join("mps/*/pipe").display().to_string();
    discover(&mut scene, vec![pattern]);
    scene
}

/// The file looks for daemons of these patterns.
fn discover(scene: &mut Scene, patterns: Vec<String>) {
    let binary = scene.stage.control_binary().display().to_string();
    let mut discover = Table::new();
    discover.insert("pipe_directories".to_owned(), Value::from(patterns));
    discover.insert("binary".to_owned(), Value::from(binary));
    scene.configuration.insert("discover".to_owned(), Value::Table(discover));
}

fn daemon(scene: &Scene, name: &str) -> Daemon {
    Daemon::at(scene, &scene.directory().join("mps").join(name))
}

fn serves(metrics: &Metrics, group: &str, engine: &str) -> bool {
    metrics.state("mps_engine_state", &[("group", group), ("engine", engine)], "state") == Some("serving")
}

fn state(watchdog: &Watchdog, group: &str, wanted: &str) {
    let what = format!("{group} is {wanted}");
    watchdog
        .await_metrics(&what, |metrics| metrics.state("mps_group_state", &[("group", group)], "state") == Some(wanted));
}

#[test]
fn daemons_and_their_engines_are_found_without_a_word_in_the_file_and_outlive_the_watchdog() {
    let scene = looking(2);
    let first = daemon(&scene, "claim-1");
    let mut engine = first.engine(&scene.stage, "qwen-a");
    let mut watchdog = scene.start();
    watchdog.await_metrics("the first", |metrics| serves(metrics, "claim-1", "mpswarden"));
    let second = daemon(&scene, "claim-2");
    let mut other = second.engine(&scene.stage, "qwen-b");
    watchdog.await_metrics("the second", |metrics| serves(metrics, "claim-2", "mpswarden"));
    assert_eq!(watchdog.metrics().sum("mps_group_info", &[("managed_by", "others")]), 2.0);
    // A fault in one is none in the other.
    let mut faulty = first.client(&scene.stage, &["fault", "--at", "0.5", "--seconds", "5", "--linger"]);
    let line = watchdog.await_event("gpu_fault", "is handling a fatal GPU error");
    assert!(line.message().contains("claim-1"), "{}", line.message());
    faulty.end(Signal::SIGKILL);
    watchdog.stop();
    assert!(engine.lives() && other.lives(), "the engines run on");
    assert!([first, second].iter().all(|daemon| crate::support::processes::lives(daemon.pid())), "the daemons run on");
}

#[test]
fn a_dead_daemon_is_waited_for_and_a_reload_without_its_pattern_forgets_it() {
    let mut scene = looking(1);
    let daemon = daemon(&scene, "gpu");
    let watchdog = scene.start();
    watchdog.await_event("control_up", &daemon.pid().to_string());
    daemon.kill();
    state(&watchdog, "gpu", "held");
    daemon.start_again();
    watchdog.await_metrics("it is up", |metrics| metrics.sum("mps_action_needed", &[]) == 0.0);
    let elsewhere = scene.directory().join("elsewhere/*/pipe").display().to_string();
    scene.discover().insert("pipe_directories".to_owned(), Value::from(vec![elsewhere]));
    scene.file();
    watchdog.signal(Signal::SIGHUP);
    watchdog.await_metrics("it is forgotten", |metrics| metrics.sum("mps_group_info", &[]) == 0.0);
    assert!(crate::support::processes::lives(daemon.pid()), "it runs on");
}

#[test]
fn what_is_no_daemon_is_left_alone_and_the_group_of_the_file_keeps_its_own() {
    let mut scene = Scene::with(1);
    let patterns = ["*", "mps/*/pipe"].map(|below| scene.directory().join(below).display().to_string());
    discover(&mut scene, patterns.to_vec());
    let place = scene.directory().join("mps/odd/pipe");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("control"), "no socket").unwrap();
    // Two of one name: the second gets no group, and that is said.
    let daemon = daemon(&scene, "small-llms");
    let watchdog = scene.serving();
    watchdog.await_line("the refusal", |line| {
        line.message().contains("is not looked after") && line.message().contains("used twice")
    });
    assert_eq!(watchdog.metrics().sum("mps_group_info", &[]), 1.0);
    assert!(crate::support::processes::lives(daemon.pid()));
}

#[test]
fn an_engine_that_listens_at_the_port_is_asked_for_its_health_and_another_one_is_not() {
    let mut scene = looking(2);
    let port = scene.stage.engine_address("qwen-a").unwrap().port();
    let engine = Table::from_iter([("port".to_owned(), Value::from(i64::from(port)))]);
    scene.discover().insert("engine".to_owned(), Value::Table(engine));
    let daemon = daemon(&scene, "gpu");
    let _asked = daemon.engine(&scene.stage, "qwen-a");
    let watchdog = scene.start();
    watchdog.await_metrics("its load", |metrics| {
        metrics.value("mps_engine_requests_running", &[("engine", "mpswarden")]).is_some()
            && serves(metrics, "gpu", "mpswarden")
    });
    let _silent = daemon.engine(&scene.stage, "qwen-b");
    let metrics = watchdog.await_metrics("the other", |metrics| serves(metrics, "gpu", "mpswarden-2"));
    assert!(metrics.value("mps_engine_requests_running", &[("engine", "mpswarden-2")]).is_none());
    assert_eq!(metrics.sum("mps_faults_total", &[]), 0.0, "{}", watchdog.told());
}
