//! Every order, as an operator gives it over the control socket, against the real binary.

use std::process::{Command, Stdio};

use mpswarden::sim::Injection;

use crate::support::scene::{Scene, eventually, program};
use crate::support::watchdog::{EnginePids, Watchdog};

const GROUP: &str = "small-llms";

/// The exit code, stdout and stderr of a client command.
fn ask(scene: &Scene, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program());
    command.arg("--control-socket").arg(scene.directory().join("control.sock")).args(words);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Gives an order and waits for its end, which is good.
pub fn done(scene: &Scene, words: &[&str]) -> String {
    let (code, out, err) = ask(scene, &[words, &["--wait", "--timeout", "60s"]].concat());
    assert_eq!(code, 0, "{words:?}: {out}{err}");
    out
}

fn engine(watchdog: &Watchdog, name: &str) -> EnginePids {
    watchdog.engines().into_iter().find(|engine| engine.name == name).unwrap()
}

fn state(watchdog: &Watchdog, name: &str) -> String {
    let status = watchdog.status();
    let engines = status["engines"].as_array().unwrap().clone();
    let found = engines.iter().find(|engine| engine["name"] == name).unwrap();
    found["state"].as_str().unwrap().to_owned()
}

#[test]
fn restart_makes_every_engine_new_and_spends_no_budget() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    let (before, generation) = (watchdog.engines(), watchdog.generation());
    let budget = watchdog.status()["budget_remaining"].clone();
    let out = done(&scene, &["restart", GROUP]);
    assert!(out.contains(&format!("serves in generation {}", generation + 1)), "{out}");
    let after = watchdog.engines();
    assert!(before.iter().zip(&after).all(|(old, new)| old.main != new.main), "{after:?}");
    assert_eq!(watchdog.status()["budget_remaining"], budget);
    let labels = [("group", GROUP), ("tier", "clients"), ("reason", "operator")];
    assert_eq!(watchdog.metrics().sum("mps_restarts_total", &labels), 1.0);
}

#[test]
fn restart_of_the_daemon_tier_makes_the_control_daemon_new() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    let before = watchdog.status()["control"]["pid"].clone();
    done(&scene, &["restart", GROUP, "--tier", "daemon"]);
    assert_ne!(watchdog.status()["control"]["pid"], before);
}

#[test]
fn a_dry_run_says_it_and_changes_nothing() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    let before = watchdog.engines();
    for words in [&["restart", GROUP][..], &["stop", GROUP], &["evict", "small-llms/qwen-a"]] {
        let (code, out, err) = ask(&scene, &[words, &["--dry-run"]].concat());
        assert_eq!(code, 0, "{err}");
        assert!(out.starts_with("it would:\n  - "), "{out}");
    }
    assert_eq!((watchdog.engines(), watchdog.count("ordered", "")), (before, 0));
}

#[test]
fn a_stopped_engine_stays_stopped_until_it_is_started_and_its_sibling_never_knows() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    let sibling = engine(&watchdog, "qwen-b");
    done(&scene, &["stop", "small-llms/qwen-a"]);
    assert_eq!((state(&watchdog, "qwen-a").as_str(), engine(&watchdog, "qwen-a").main), ("stopped", 0));
    let (code, _, err) = ask(&scene, &["stop", "small-llms/qwen-a"]);
    assert_eq!(code, 69, "stopped twice: {err}");
    done(&scene, &["start", "small-llms/qwen-a"]);
    assert_eq!(state(&watchdog, "qwen-a"), "serving");
    assert_eq!(engine(&watchdog, "qwen-b"), sibling);
}

#[test]
fn an_evicted_engine_is_started_again_and_its_sibling_never_knows() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    let (evicted, sibling) = (engine(&watchdog, "qwen-a"), engine(&watchdog, "qwen-b"));
    done(&scene, &["evict", "small-llms/qwen-a"]);
    assert_ne!(engine(&watchdog, "qwen-a").main, evicted.main);
    assert_eq!(engine(&watchdog, "qwen-b"), sibling);
}

#[test]
fn a_quarantined_engine_starts_again_once_it_is_released() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    done(&scene, &["quarantine", "small-llms/qwen-a"]);
    assert_eq!(state(&watchdog, "qwen-a"), "quarantined");
    done(&scene, &["release", "small-llms/qwen-a"]);
    assert_eq!(state(&watchdog, "qwen-a"), "serving");
}

#[test]
fn a_stopped_group_leaves_the_watchdog_and_starts_again() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    done(&scene, &["stop", GROUP]);
    assert!(watchdog.engines().iter().all(|engine| engine.main == 0));
    let (code, text, _) = ask(&scene, &["status"]);
    assert_eq!(code, 0);
    assert!(text.contains("small-llms  stopped"), "{text}");
    done(&scene, &["start", GROUP]);
    watchdog.await_serving();
}

#[test]
fn a_group_that_was_stopped_stays_stopped_over_a_restart_of_the_watchdog() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    done(&scene, &["stop", GROUP]);
    watchdog.crash();
    let _second = scene.start();
    eventually("a status", || (ask(&scene, &["status"]).0 == 0).then_some(()));
    done(&scene, &["start", GROUP]);
}

#[test]
fn in_a_hold_a_fault_is_told_and_nothing_done_until_it_is_resumed() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    let generation = watchdog.generation();
    done(&scene, &["hold", GROUP, "--for", "2h", "--reason", "a person looks"]);
    let (_, text, _) = ask(&scene, &["status"]);
    assert!(text.contains("HOLD") && text.contains("a person looks"), "{text}");
    watchdog.await_metrics("the hold", |metrics| {
        metrics.sum("mps_group_held", &[("group", GROUP), ("reason", "operator")]) == 1.0
    });
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("suppressed", "hold");
    assert_eq!(watchdog.generation(), generation);
    done(&scene, &["resume", GROUP]);
    watchdog.await_event("hold_over", "resumed");
    eventually("a new generation", || (watchdog.generation() > generation).then_some(()));
    watchdog.await_serving();
}

#[test]
fn a_hold_outlives_a_crash_of_the_watchdog() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    done(&scene, &["hold", "--all", "--reason", "a person looks"]);
    watchdog.crash();
    let _second = scene.start();
    eventually("the hold", || ask(&scene, &["status"]).1.contains("a person looks").then_some(()));
    done(&scene, &["resume", "--all"]);
}

#[test]
fn what_names_nothing_is_refused_with_what_there_is() {
    let scene = Scene::set();
    let _watchdog = scene.serving();
    let (code, _, err) = ask(&scene, &["restart", "nonsense"]);
    assert_eq!(code, 69);
    assert!(err.contains(GROUP), "{err}");
    let (code, _, err) = ask(&scene, &["evict", "small-llms/qwen-z"]);
    assert_eq!(code, 69);
    assert!(err.contains("qwen-a"), "{err}");
}
