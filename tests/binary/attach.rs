//! A control daemon that somebody else started: it is found, watched and asked, and never started, ended or written to.

use std::fs;

use mpswarden::sim::Dialect;
use nix::sys::signal::Signal;

use crate::support::others::{Daemon, files_in, second_configuration};
use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::Watchdog;

/// A client that computes until it is ended.
const SPINS: [&str; 3] = ["spin", "--seconds", "600"];

/// A watchdog over a daemon of somebody else and no engine, which has found it.
fn watching(scene: &mut Scene) -> (Daemon, Watchdog) {
    let daemon = Daemon::alone(scene);
    let watchdog = scene.start();
    watchdog.await_event("control_up", &daemon.pid().to_string());
    (daemon, watchdog)
}

/// A client of somebody else faults and ends: the server heals.
fn fault(scene: &Scene, daemon: &Daemon, watchdog: &Watchdog) {
    let mark = watchdog.mark();
    let _faulty = daemon.client(&scene.stage, &["fault", "--at", "0.1", "--seconds", "5"]);
    watchdog.await_line_after(mark, "the fault", |line| line.is("gpu_fault", "is handling a fatal GPU error"));
    watchdog.await_line_after(mark, "its end", |line| line.is("fault_over", "gpu_fault"));
}

#[test]
fn engines_of_ours_run_under_a_daemon_of_somebody_else_and_it_outlives_the_watchdog() {
    let mut scene = Scene::with(2);
    let daemon = Daemon::start(&mut scene);
    let (pid, files) = (daemon.pid(), files_in(&daemon.pipe));
    let mut watchdog = scene.serving();
    assert_eq!(watchdog.status()["managed_by"], "others");
    assert_eq!(watchdog.status()["control"]["pid"], pid);
    scene.inject(mpswarden::sim::Injection::IllegalAddress);
    watchdog.await_event("gpu_fault", "is handling a fatal GPU error");
    watchdog.await_event("serving", "restart of all clients ended serving");
    watchdog.await_serving();
    assert_eq!(watchdog.status()["control"]["pid"], pid, "the daemon is the same");
    watchdog.stop();
    assert_eq!((daemon.pid(), files_in(&daemon.pipe)), (pid, files), "nothing was changed where the daemon is");
    assert!(crate::support::processes::lives(pid), "it runs on");
    let engines = scene.living().into_iter().filter(|process| process.is_engine());
    assert_eq!(engines.count(), 0, "the engines are ended");
}

#[test]
fn a_fault_in_a_client_of_somebody_else_is_reported_and_nothing_is_ended() {
    let mut scene = Scene::with(1);
    let (daemon, watchdog) = watching(&mut scene);
    let mut bystander = daemon.client(&scene.stage, &["spin", "--seconds", "600", "--linger"]);
    watchdog.await_metrics("the client", |metrics| metrics.sum("mps_clients", &[]) == 1.0);
    let mut faulty = daemon.client(&scene.stage, &["fault", "--at", "0.1", "--seconds", "5", "--linger"]);
    watchdog.await_event("gpu_fault", "is handling a fatal GPU error");
    watchdog.await_event("suppressed", "would restart_clients");
    let needed = [("by", "owner"), ("action", "restart_engines")];
    watchdog.await_metrics("whose turn it is", |metrics| metrics.sum("mps_action_needed", &needed) == 1.0);
    assert!(bystander.lives() && faulty.lives(), "nothing was ended");
    assert_eq!(watchdog.metrics().sum("mps_restarts_total", &[]), 0.0);
    bystander.end(Signal::SIGKILL);
    faulty.end(Signal::SIGKILL);
    watchdog.await_event("fault_over", "gpu_fault");
}

#[test]
fn faults_are_seen_through_rotation_truncation_and_removal_of_the_logs() {
    let mut scene = Scene::with(1);
    let (daemon, watchdog) = watching(&mut scene);
    let _client = daemon.client(&scene.stage, &SPINS);
    watchdog.await_metrics("the client", |metrics| metrics.sum("mps_clients", &[]) == 1.0);
    fault(&scene, &daemon, &watchdog);
    // As logrotate does: the writer goes on in the file that was renamed.
    let log = daemon.server_log();
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    fault(&scene, &daemon, &watchdog);
    fs::File::options().write(true).open(log.with_extension("log.1")).unwrap().set_len(0).unwrap();
    fault(&scene, &daemon, &watchdog);
    // As a device plugin does at its end.
    let mark = watchdog.mark();
    daemon.kill();
    watchdog.await_event("control_died", "");
    fs::remove_dir_all(&daemon.logs).unwrap();
    daemon.start_again();
    watchdog.await_line_after(mark, "the new daemon", |line| line.is("control_up", &daemon.pid().to_string()));
    fault(&scene, &daemon, &watchdog);
}

#[test]
fn the_words_of_every_driver_are_understood() {
    for dialect in Dialect::ALL {
        let mut scene = Scene::with(1);
        fs::write(scene.directory().join("driver"), dialect.as_str()).unwrap();
        let (daemon, watchdog) = watching(&mut scene);
        fault(&scene, &daemon, &watchdog);
        assert_eq!(watchdog.count("source_down", "not understood"), 0, "{dialect:?}: {}", watchdog.told());
    }
}

#[test]
fn a_daemon_that_is_gone_is_waited_for_with_whose_turn_it_is() {
    let mut scene = Scene::with(1);
    let (daemon, watchdog) = watching(&mut scene);
    daemon.kill();
    watchdog.await_event("held", "nobody is bound");
    let needed = [("by", "owner"), ("action", "start_control")];
    watchdog.await_metrics("whose turn it is", |metrics| metrics.sum("mps_action_needed", &needed) == 1.0);
    assert!(daemon.pipe.join("control").exists(), "the dead socket is left where it is");
    let mark = watchdog.mark();
    daemon.start_again();
    watchdog.await_line_after(mark, "the new daemon", |line| line.is("control_up", &daemon.pid().to_string()));
    watchdog.await_metrics("nobody's turn", |metrics| metrics.sum("mps_action_needed", &[]) == 0.0);
    watchdog.await_serving();
}

#[test]
fn a_daemon_that_comes_in_the_place_of_one_that_lives_is_the_one_that_counts() {
    let mut scene = Scene::with(1);
    let (daemon, watchdog) = watching(&mut scene);
    let old = daemon.pid();
    fs::rename(&daemon.pipe, daemon.pipe.with_extension("old")).unwrap();
    daemon.start_again();
    watchdog.await_event("control_up", &daemon.pid().to_string());
    assert!(crate::support::processes::lives(old), "the old one lives on");
    assert_eq!(watchdog.status()["control"]["pid"], daemon.pid());
}

#[test]
fn the_second_watchdog_over_a_daemon_says_who_holds_it_and_takes_over_once_that_one_has_ended() {
    let mut scene = Scene::with(1);
    let (daemon, mut first) = watching(&mut scene);
    let second = Watchdog::start(&second_configuration(&scene));
    let held = second.await_event("held", "looks after it");
    assert!(held.message().contains(&first.pid().to_string()), "{}", held.message());
    let needed = [("by", "administrator"), ("action", "stop_other_watchdog")];
    second.await_metrics("whose turn it is", |metrics| metrics.sum("mps_action_needed", &needed) == 1.0);
    first.crash();
    second.await_event("control_up", &daemon.pid().to_string());
    assert_eq!(eventually("it is ready", || Some(second.ready()).filter(|status| *status == 200)), 200);
}
