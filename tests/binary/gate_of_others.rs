//! The gate in the pipe directory of a control daemon that others run, which is there where it was asked for alone; and
//! the end of a watchdog whose others are to restart everything.

use std::fs;

use mpswarden::gate::client::wire::SOCKET;
use nix::sys::signal::Signal;

use crate::binary::gate::Gated;
use crate::support::metrics::Metrics;
use crate::support::others::Daemon;
use crate::support::scene::{Scene, eventually, program};
use crate::support::watchdog::Watchdog;

/// A client that computes now and then, behind the gate, under this name.
fn engine(scene: &Scene, daemon: &Daemon, options: &[&str]) -> Gated {
    let (own, gpu) = (program().display().to_string(), scene.stage.gpu_socket().display().to_string());
    let client = [&own, "sim", "client", "spin", "--seconds", "600", "--us", "10", "--gap", "500000", "--gpu", &gpu];
    Gated::start(&[&own, "gate"], &daemon.pipe, &[options, &["--"], &client].concat())
}

fn serves(metrics: &Metrics, engine: &str) -> bool {
    metrics.state("mps_engine_state", &[("engine", engine)], "state") == Some("serving")
}

fn gate(scene: &Scene, daemon: &Daemon) -> Watchdog {
    Watchdog::attach_with(scene.directory(), &daemon.pipe, &["--gate"])
}

#[test]
fn the_first_engine_passes_without_a_server_and_is_called_as_it_calls_itself() {
    let mut scene = Scene::with(1);
    let daemon = Daemon::alone(&mut scene);
    let mut watchdog = gate(&scene, &daemon);
    watchdog.await_event("control_up", &daemon.pid().to_string());
    let first = engine(&scene, &daemon, &["pod/qwen-a"]);
    watchdog.await_metrics("it", |metrics| serves(metrics, "qwen-a"));
    let mut second = engine(&scene, &daemon, &["pod/qwen-b"]);
    second.waits_for("turn");
    // Nobody but itself ends its turn: here that is by its end.
    drop(first);
    watchdog.await_metrics("the second", |metrics| serves(metrics, "qwen-b"));
    watchdog.stop();
    assert!(!daemon.pipe.join(SOCKET).exists(), "its gate goes with it");
}

#[test]
fn an_engine_stays_ready_while_its_watchdog_is_started_again_where_that_was_asked_for() {
    let mut scene = Scene::with(1);
    let daemon = Daemon::alone(&mut scene);
    let mut watchdog = gate(&scene, &daemon);
    watchdog.await_event("control_up", &daemon.pid().to_string());
    let own = program().display().to_string();
    let ready =
        |options: &[&str]| Gated::start(&[&own, "gate"], &daemon.pipe, &[&["--ready"], options].concat()).ended().0;
    assert_eq!(ready(&["--within", "30s"]), Some(0), "once the daemon was asked for its server");
    assert_eq!(ready(&["--or", "start"]), Some(0));
    watchdog.crash();
    assert_eq!((ready(&[]), ready(&["--or", "start"])), (Some(75), Some(0)));
    daemon.kill();
    eventually("the daemon is gone", || (!crate::support::processes::lives(daemon.pid())).then_some(()));
    assert_eq!(ready(&["--or", "start"]), Some(75));
}

#[test]
fn nothing_passes_while_the_daemon_is_gone_and_the_gate_is_there_again_with_its_directory() {
    let mut scene = Scene::with(1);
    let daemon = Daemon::alone(&mut scene);
    let watchdog = gate(&scene, &daemon);
    watchdog.await_event("control_up", &daemon.pid().to_string());
    daemon.kill();
    watchdog.await_event("control_died", "");
    let mut waiting = engine(&scene, &daemon, &["--within", "60s", "pod/qwen-a"]);
    waiting.waits_for("daemon");
    fs::remove_dir_all(&daemon.pipe).unwrap();
    fs::create_dir(&daemon.pipe).unwrap();
    daemon.start_again();
    eventually("the gate is there again", || daemon.pipe.join(SOCKET).exists().then_some(()));
    let (code, printed, said) =
        Gated::start(&[&program().display().to_string(), "gate"], &daemon.pipe, &["--", "echo", "started"]).ended();
    assert_eq!((code, printed.as_str()), (Some(0), "started\n"), "{said}");
}

#[test]
fn the_directory_of_others_stays_as_it_is_unless_a_gate_was_asked_for() {
    let mut scene = Scene::with(1);
    let daemon = Daemon::alone(&mut scene);
    scene.group()["mps"].as_table_mut().unwrap().insert("gate".to_owned(), true.into());
    let mut gated = scene.start();
    eventually("the gate", || daemon.pipe.join(SOCKET).exists().then_some(()));
    gated.stop();
    let watchdog = Watchdog::attach(scene.directory(), &daemon.pipe);
    watchdog.await_event("control_up", &daemon.pid().to_string());
    assert!(!daemon.pipe.join(SOCKET).exists());
}

#[test]
fn it_ends_with_a_status_of_its_own_once_nobody_restarts_what_has_to_be_restarted() {
    let mut scene = Scene::with(1);
    let daemon = Daemon::alone(&mut scene);
    let options = ["--exit-for-restart", "4s"];
    let mut watchdog = Watchdog::attach_with(scene.directory(), &daemon.pipe, &options);
    watchdog.await_event("control_up", &daemon.pid().to_string());
    // Engines that end by themselves, as most do: whoever runs them starts them again.
    let fault = |linger: &[&str]| {
        let arguments = [&["fault", "--at", "0.1", "--seconds", "5"], linger].concat();
        let mark = watchdog.mark();
        let client = daemon.client(&scene.stage, &arguments);
        watchdog.await_line_after(mark, "the fault", |line| line.is("gpu_fault", "is handling a fatal GPU error"));
        (client, mark)
    };
    let (_, mark) = fault(&[]);
    watchdog.await_line_after(mark, "its end", |line| line.is("fault_over", "gpu_fault"));
    let (mut client, _) = fault(&["--linger"]);
    assert_eq!(watchdog.ended().code(), Some(88));
    assert!(client.lives(), "nothing of others was ended");
    client.end(Signal::SIGKILL);
    assert!(daemon.pipe.join("control").exists());
}
