//! A group in `observe` mode is started and stopped; of everything else it is only said what would be done.

use mpswarden::sim::Injection;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::metrics::Metrics;
use crate::support::scene::Scene;
use crate::support::watchdog::{EnginePids, Watchdog};

fn observing() -> (Scene, Watchdog) {
    let mut scene = Scene::set();
    scene.group().insert("mode".to_owned(), "observe".into());
    let watchdog = scene.serving();
    (scene, watchdog)
}

fn suppressed(watchdog: &Watchdog, action: &str) -> f64 {
    let labels = [("action", action), ("reason", "observe")];
    watchdog.metrics().sum("mps_actions_suppressed_total", &labels)
}

/// The fault is reported, no process is killed or started, and the stop is in order.
fn nothing_was_done(scene: Scene, mut watchdog: Watchdog) {
    assert_eq!(watchdog.generation(), 1);
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_restarts_total", &[]), 0.0);
    assert_eq!(watchdog.count("started", "incarnation 2"), 0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_fault_of_the_group_is_only_told() {
    let (scene, watchdog) = observing();
    let before = watchdog.engines();
    scene.inject(Injection::Linger);
    watchdog.await_event("gpu_fault", "");
    watchdog.await_event("suppressed", "would restart_clients, but observe");
    watchdog.await_metrics("it", |metrics| metrics.sum("mps_fault_active", &[("fault", "gpu_fault")]) == 1.0);
    assert_eq!(suppressed(&watchdog, "restart_clients"), 1.0);
    assert_eq!(watchdog.metrics().sum("mps_faults_total", &[("fault", "gpu_fault")]), 1.0);
    let main = |pids: Vec<EnginePids>| pids.into_iter().map(|engine| engine.main).collect::<Vec<_>>();
    assert_eq!(main(watchdog.engines()), main(before), "lingering engines are left alone");
    nothing_was_done(scene, watchdog);
}

#[test]
fn a_dead_engine_is_not_started_again() {
    let (scene, watchdog) = observing();
    scene.inject(Injection::SigkillIdle);
    watchdog.await_event("suppressed", "would restart_engine, but observe");
    watchdog.await_metrics("it", |metrics| {
        metrics.state("mps_engine_state", &[("engine", "qwen-a")], "state") == Some("stopped")
    });
    assert_eq!(suppressed(&watchdog, "restart_engine"), 1.0);
    assert_eq!(watchdog.get("/-/ready?group=small-llms&engine=qwen-b"), 200);
    nothing_was_done(scene, watchdog);
}

#[test]
fn a_dead_control_daemon_is_not_replaced() {
    let (scene, watchdog) = observing();
    scene.inject(Injection::ControlKill);
    watchdog.await_event("control_died", "");
    watchdog.await_event("suppressed", "would restart_daemon, but observe");
    watchdog.await_metrics("it", |metrics| metrics.sum("mps_control_up", &[]) == 0.0);
    nothing_was_done(scene, watchdog);
}

#[test]
fn a_wedged_control_daemon_leaves_the_states_unknown_until_it_answers_again() {
    let (scene, watchdog) = observing();
    let before = watchdog.engines();
    scene.inject(Injection::ControlWedge);
    watchdog.await_event("suppressed", "would restart_daemon, but observe");
    let blind = |metrics: &Metrics| metrics.state("mps_group_state", &[], "state") == Some("unknown");
    let metrics = watchdog.await_metrics("an unknown state", blind);
    assert_eq!(metrics.state("mps_server_state", &[], "state"), Some("unknown"));
    assert_eq!(metrics.sum("mps_control_up", &[]), 0.0);
    assert_eq!(watchdog.get("/-/healthy"), 200);
    kill(Pid::from_raw(scene.stage.control_daemon().unwrap()), Signal::SIGCONT).unwrap();
    watchdog.await_event("fault_over", "control_wedged");
    watchdog.await_serving();
    assert_eq!(watchdog.engines(), before);
    nothing_was_done(scene, watchdog);
}
