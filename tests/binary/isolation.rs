//! One engine brings a fatal fault again and again: it is found by experiment, set apart, and released.

use std::process::Command;

use mpswarden::sim::Injection;

use crate::support::scene::{Scene, eventually, program};
use crate::support::watchdog::Watchdog;

const CULPRIT: &str = "qwen-b";

/// The culprit's fault, and everybody serving again.
fn fault_of_the_culprit(scene: &Scene, watchdog: &Watchdog) {
    let counted = || watchdog.metrics().sum("mps_faults_total", &[("fault", "gpu_fault")]);
    let before = counted();
    let _ = scene.stage.inject(Injection::IllegalAddress, Some(CULPRIT));
    eventually("the fault", || (counted() > before).then_some(()));
    watchdog.await_serving();
}

fn isolation(watchdog: &Watchdog, engine: &str) -> String {
    let metrics = watchdog.metrics();
    metrics.state("mps_engine_isolated", &[("engine", engine)], "isolation").unwrap_or("?").to_owned()
}

/// Waits until every engine is where it is to be and serves: moves go on after the restart.
fn settled(watchdog: &Watchdog, apart: &[&str]) {
    eventually("every engine on its side", || {
        let status = watchdog.status();
        let there = status["isolation"]["apart"].as_array().map_or(0, Vec::len) == apart.len();
        (there && status["state"] == "serving").then_some(())
    });
}

#[test]
fn an_engine_whose_faults_repeat_is_proven_guilty_runs_apart_and_is_released() {
    let scene = Scene::with(3);
    let mut watchdog = scene.serving();
    fault_of_the_culprit(&scene, &watchdog);
    assert!(watchdog.status()["isolation"].is_null());
    fault_of_the_culprit(&scene, &watchdog);
    watchdog.await_event("isolating", "qwen-a, qwen-b, qwen-c may be the cause");
    settled(&watchdog, &["qwen-a", CULPRIT]);
    assert_eq!(watchdog.metrics().sum("mps_isolation_active", &[]), 1.0);
    assert_eq!(isolation(&watchdog, "qwen-c"), "suspect");
    let bystander = || watchdog.engines().into_iter().find(|engine| engine.name == "qwen-c").unwrap();
    let before = bystander();
    fault_of_the_culprit(&scene, &watchdog);
    settled(&watchdog, &["qwen-a"]);
    assert_eq!(bystander(), before, "the first server was not hit");
    fault_of_the_culprit(&scene, &watchdog);
    settled(&watchdog, &[CULPRIT]);
    if isolation(&watchdog, CULPRIT) != "guilty" {
        fault_of_the_culprit(&scene, &watchdog);
    }
    watchdog.await_engine("guilty", CULPRIT);
    eventually("the culprit alone apart", || (isolation(&watchdog, CULPRIT) == "guilty").then_some(()));
    settled(&watchdog, &[CULPRIT]);
    assert_eq!(watchdog.count("guilty", ""), 1, "nobody else is accused");
    assert_eq!(watchdog.metrics().sum("mps_isolations_total", &[("result", "proven")]), 1.0);

    let others = |watchdog: &Watchdog| {
        watchdog.engines().into_iter().filter(|engine| engine.name != CULPRIT).collect::<Vec<_>>()
    };
    let before = others(&watchdog);
    fault_of_the_culprit(&scene, &watchdog);
    assert_eq!(others(&watchdog), before, "its faults harm nobody else");
    assert_eq!(watchdog.metrics().sum("mps_foreign_processes", &[]), 0.0);
    assert_eq!(watchdog.metrics().sum("mps_unknown_clients", &[]), 0.0);

    let order = ["release", "small-llms/qwen-b", "--wait", "--timeout", "60s"];
    let mut command = Command::new(program());
    let output =
        command.arg("--control-socket").arg(scene.directory().join("control.sock")).args(order).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    eventually("one side again", || watchdog.status()["isolation"].is_null().then_some(()));
    assert_eq!(others(&watchdog), before);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn nothing_of_a_crashed_watchdog_outlives_its_next_start_on_either_side() {
    let scene = Scene::with(2);
    let mut watchdog = scene.serving();
    let _ = scene.stage.inject(Injection::IllegalAddress, Some("qwen-a"));
    watchdog.await_event("restart", "attempt 1");
    watchdog.await_serving();
    let _ = scene.stage.inject(Injection::IllegalAddress, Some("qwen-a"));
    watchdog.await_event("isolating", "");
    settled(&watchdog, &["qwen-a"]);
    let before: Vec<i32> = watchdog.engines().iter().flat_map(|engine| engine.pids().collect::<Vec<_>>()).collect();
    watchdog.crash();
    let mut watchdog = scene.start();
    settled(&watchdog, &["qwen-a"]);
    assert!(before.iter().all(|pid| !crate::support::processes::lives(*pid)));
    watchdog.stop();
    scene.assert_nothing_is_left();
}
