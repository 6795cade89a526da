//! The ordered stop: whatever is on its way, engines go in reverse order, the daemon quits, nothing stays.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::binary::orders::done;
use crate::binary::steps::Step;
use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

#[test]
fn engines_stop_in_reverse_order() {
    let scene = Scene::with(3);
    let mut watchdog = scene.serving();
    watchdog.stop();
    let exits = watchdog.lines().into_iter().filter(|line| line.event() == "exited");
    let order: Vec<String> = exits.map(|line| line.engine().to_owned()).collect();
    assert_eq!(order, ["qwen-c", "qwen-b", "qwen-a"]);
    watchdog.await_event("stopped", "in order");
    scene.assert_nothing_is_left();
}

#[test]
fn sigint_stops_as_sigterm_does() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    watchdog.signal(Signal::SIGINT);
    assert_eq!(watchdog.ended().code(), Some(0));
    scene.assert_nothing_is_left();
}

#[test]
fn a_stop_before_the_first_engine_serves_leaves_nothing() {
    let scene = Scene::set();
    let mut watchdog = scene.start();
    watchdog.await_event("started", "qwen-a");
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// An engine that ignores SIGTERM, with ten minutes to stop.
fn stubborn() -> Scene {
    let mut scene = Scene::set();
    scene.wrap(0, &["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"]);
    scene.engine(0).insert("stop_timeout".to_owned(), "10m".into());
    scene
}

#[test]
fn a_second_signal_ends_an_engine_that_ignores_the_first_at_once() {
    let scene = stubborn();
    let mut watchdog = scene.serving();
    watchdog.ask_to_stop();
    watchdog.await_engine("exited", "qwen-b");
    assert!(scene.living().iter().any(|process| process.is_engine()));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_engine_that_ignores_the_signal_is_killed_after_its_time() {
    let mut scene = stubborn();
    scene.engine(0).insert("stop_timeout".to_owned(), "1s".into());
    let mut watchdog = scene.serving();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn children_in_sessions_of_their_own_go_with_their_engine() {
    let mut scene = Scene::set();
    let script = "setsid sh -c 'trap \"\" TERM; setsid sleep 1000 & sleep 1000' & exec \"$@\"";
    scene.wrap(0, &["sh", "-c", script, "sh"]);
    let mut watchdog = scene.serving();
    let sleeping = scene.living().iter().filter(|process| process.command.starts_with("sleep")).count();
    assert_eq!(sleeping, 2);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

fn a_stop_in(step: Step) {
    let (scene, mut watchdog) = step.reached();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_stop_while_the_old_are_being_killed_leaves_nothing() {
    a_stop_in(Step::Kill);
}

#[test]
fn a_stop_while_the_old_are_going_leaves_nothing() {
    a_stop_in(Step::Gone);
}

#[test]
fn a_stop_while_a_blind_watchdog_waits_for_memory_leaves_nothing() {
    a_stop_in(Step::Memory);
}

#[test]
fn a_stop_during_the_back_off_leaves_nothing() {
    a_stop_in(Step::Backoff);
}

#[test]
fn a_stop_while_the_server_heals_leaves_nothing() {
    a_stop_in(Step::Active);
}

#[test]
fn a_stop_while_the_new_engines_start_leaves_nothing() {
    a_stop_in(Step::Ready);
}

#[test]
fn a_run_ends_with_the_work_of_its_last_engine() {
    let mut scene = Scene::set();
    for engine in 0..2 {
        scene.engine(engine).insert("on_clean_end".to_owned(), "stop".into());
    }
    let mut watchdog = scene.serving();
    let engines = watchdog.engines();
    for (place, engine) in engines.iter().enumerate() {
        // A process that ends in order when something else than mpswarden asks it to.
        kill(Pid::from_raw(i32::try_from(engine.main).unwrap()), Signal::SIGTERM).unwrap();
        if place == 0 {
            watchdog.await_engine("exited", "qwen-a");
            watchdog.await_metrics("an engine whose work is done", |metrics| {
                metrics.value("mps_engine_exits_total", &[("engine", "qwen-a"), ("cause", "clean")]) == Some(1.0)
            });
            assert_eq!(watchdog.metrics().sum("mps_faults_total", &[]), 0.0);
        }
    }
    watchdog.await_event("work_done", "ends too");
    assert_eq!(watchdog.ended().code(), Some(0));
    scene.assert_nothing_is_left();
}

/// Whether the watchdog has the simulated GPU's file open, which stands for those of /dev/nvidia*.
fn uses_the_driver(watchdog: &Watchdog) -> bool {
    let open = fs::read_dir(format!("/proc/{}/fd", watchdog.pid())).unwrap().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|file| file.ends_with("nvidia0"))
}

#[test]
fn while_every_group_is_stopped_nothing_uses_the_driver_and_a_start_reads_gpus_again() {
    let scene = Scene::set();
    let watchdog = scene.serving();
    assert!(uses_the_driver(&watchdog));
    done(&scene, &["stop", "--all"]);
    assert!(!uses_the_driver(&watchdog));
    assert_eq!(watchdog.get("/-/healthy"), 200);
    let metrics = watchdog.await_metrics("no GPU", |metrics| metrics.value("mps_gpu_memory_used_bytes", &[]).is_none());
    let up = metrics.value("mpswarden_source_up", &[("source", "nvml")]);
    assert_eq!(up, None, "what is not asked is not blind");
    assert!(!uses_the_driver(&watchdog), "a scrape opens nothing");
    done(&scene, &["start", "--all"]);
    assert!(uses_the_driver(&watchdog));
    watchdog.await_metrics("the GPU", |metrics| metrics.value("mps_gpu_memory_used_bytes", &[]).is_some());
    watchdog.await_serving();
}
