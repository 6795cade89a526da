//! Engines that are configured and that somebody else runs: they are found, a fault of all of them is mended through
//! whoever runs them, and what nobody here may do is said.

use mpswarden::sim::Injection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::metrics::Metrics;
use crate::support::others::Daemon;
use crate::support::owner::EngineOwner;
use crate::support::processes::lives;
use crate::support::scene::{Scene, program};

fn serves(metrics: &Metrics, engine: &str) -> bool {
    metrics.state("mps_engine_state", &[("engine", engine)], "state") == Some("serving")
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn a_fault_of_a_group_is_mended_through_whoever_runs_its_engines_and_they_outlive_the_watchdog() {
    let mut scene = Scene::with(2);
    let daemon = Daemon::start(&mut scene);
    let owner = EngineOwner::takes(&mut scene, &[]);
    owner.start_all();
    let mut watchdog = scene.serving();
    let before = [owner.pid(0), owner.pid(1)];
    let found = watchdog.engines();
    assert_eq!(found.iter().map(|engine| engine.main).collect::<Vec<_>>(), before.map(i64::from));
    assert_eq!(watchdog.metrics().sum("mps_engine_info", &[("managed_by", "others")]), 2.0);
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("gpu_fault", "is handling a fatal GPU error");
    watchdog.await_event("serving", "restart of all clients ended serving");
    watchdog.await_serving();
    let after = [owner.pid(0), owner.pid(1)];
    assert!(before.iter().all(|pid| !after.contains(pid)), "{before:?} {after:?}");
    assert_eq!([owner.starts(0), owner.starts(1)], [2, 2], "each was started once more: {}", watchdog.told());
    assert_eq!(watchdog.metrics().sum("mps_engine_attached", &[]), 2.0, "none runs outside MPS");
    watchdog.stop();
    assert!(after.into_iter().all(lives) && lives(daemon.pid()), "they are others': they run on");
}

#[test]
fn engines_of_others_behind_the_gate_come_up_with_a_daemon_of_ours_and_end_before_it() {
    let mut scene = Scene::with(2);
    let own = program().display().to_string();
    let owner = EngineOwner::takes(&mut scene, &[&own, "gate", "--turn", "300ms", "--"]);
    // At the wrong moment: there is no daemon, and no watchdog.
    owner.start_all();
    let mut watchdog = scene.serving();
    assert_eq!([owner.starts(0), owner.starts(1)], [1, 1]);
    signal(owner.pid(0), Signal::SIGKILL);
    watchdog.await_engine("engine_died", "qwen-a");
    watchdog.await_metrics("it serves again", |metrics| owner.starts(0) == 2 && serves(metrics, "qwen-a"));
    assert_eq!(owner.starts(1), 1, "the other serves on");
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("serving", "restart of all clients ended serving");
    watchdog.await_serving();
    let last = [owner.pid(0), owner.pid(1)];
    watchdog.stop();
    assert!(!last.into_iter().any(lives), "their daemon ends, and they end before it");
    scene.assert_nothing_is_left();
    let mut again = scene.serving();
    assert_eq!([owner.starts(0), owner.starts(1)], [4, 3], "who ended them has them started: {}", again.told());
    again.stop();
}

#[test]
fn one_that_its_owner_stops_is_no_fault_and_not_missed_until_it_is_started() {
    let mut scene = Scene::with(2);
    let _daemon = Daemon::start(&mut scene);
    let owner = EngineOwner::takes(&mut scene, &[]);
    owner.start_all();
    let watchdog = scene.serving();
    owner.stop(1);
    watchdog.await_event("exited", "(removed)");
    let of_it = [("engine", "qwen-b")];
    let removed = [("engine", "qwen-b"), ("cause", "removed")];
    let metrics = watchdog.await_metrics("its end", |metrics| metrics.sum("mps_engine_exits_total", &removed) == 1.0);
    assert_eq!(
        metrics.sum("mps_faults_total", &of_it) + metrics.sum("mps_action_needed", &[]),
        0.0,
        "{}",
        watchdog.told()
    );
    assert_eq!(owner.starts(1), 1, "it is not started");
    watchdog.await_metrics("its group serves without it", |metrics| {
        metrics.state("mps_group_state", &[("group", "small-llms")], "state") == Some("serving")
    });
    owner.start(1);
    watchdog.await_metrics("it", |metrics| serves(metrics, "qwen-b"));
}

#[test]
fn one_that_nobody_here_may_restart_holds_its_group_with_whose_turn_it_is() {
    let mut scene = Scene::with(2);
    let _daemon = Daemon::start(&mut scene);
    let owner = EngineOwner::takes(&mut scene, &[]);
    for index in 0..2 {
        scene.engine(index).insert("restart_by".to_owned(), "nobody".into());
    }
    owner.start(0);
    let watchdog = scene.start();
    watchdog.await_metrics("the one that is there", |metrics| serves(metrics, "qwen-a"));
    watchdog.await_event("action_failed", "can't be read");
    let start = [("by", "owner"), ("action", "start_engines")];
    watchdog.await_metrics("whose turn it is", |metrics| metrics.sum("mps_action_needed", &start) == 1.0);
    owner.start(1);
    watchdog.await_serving();
    // A client that is stopped can't end: its contexts are dead, and it stays.
    signal(owner.pid(1), Signal::SIGSTOP);
    scene.inject(Injection::IllegalAddress);
    watchdog.await_event("held", "engines_not_ours");
    let restart = [("by", "owner"), ("action", "restart_engines")];
    watchdog.await_metrics("whose turn it is", |metrics| metrics.sum("mps_action_needed", &restart) == 1.0);
    assert!(lives(owner.pid(1)), "nothing was ended");
    owner.stop(0);
    signal(owner.pid(1), Signal::SIGKILL);
    watchdog.await_event("fault_over", "gpu_fault");
    owner.start_all();
    watchdog.await_serving();
    assert_eq!(watchdog.metrics().sum("mps_action_needed", &[]), 0.0);
}

#[test]
fn check_says_what_does_not_run_and_what_can_never_work() {
    let mut scene = Scene::with(1);
    let _owner = EngineOwner::takes(&mut scene, &[]);
    let checked = |scene: &Scene| {
        let output = std::process::Command::new(program()).arg("check").arg(scene.file()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = checked(&scene);
    assert!(code == Some(0) && said.contains("qwen-a does not run now: pid file"), "{said}");
    scene.engine(0).insert("restart_by".to_owned(), "supervisor".into());
    let (code, said) = checked(&scene);
    assert!(code == Some(78) && said.contains("is for a systemd_unit or a container"), "{said}");
}
