//! Engines that nobody configured: `run --attach DIRECTORY` finds them by the clients of a control daemon that somebody
//! else started, and lets them come and go.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::support::metrics::Metrics;
use crate::support::others::{Client, Daemon};
use crate::support::scene::Scene;
use crate::support::watchdog::Watchdog;

/// A client that has a short kernel on the GPU now and then until it is ended: it has none in flight when it is.
const SPINS: [&str; 7] = ["spin", "--seconds", "600", "--us", "10", "--gap", "500000"];
/// The program that plays every part: what processes without a cgroup of their own are called by.
const PROGRAM: &str = "mpswarden";
const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn daemon(scene: &mut Scene) -> Daemon {
    Daemon::alone(scene)
}

fn attach(scene: &Scene, daemon: &Daemon) -> Watchdog {
    Watchdog::attach(scene.directory(), &daemon.pipe)
}

fn serves(metrics: &Metrics, engine: &str) -> bool {
    metrics.state("mps_engine_state", &[("engine", engine)], "state") == Some("serving")
}

fn exits(metrics: &Metrics, engine: &str, cause: &str) -> f64 {
    metrics.sum("mps_engine_exits_total", &[("engine", engine), ("cause", cause)])
}

#[test]
fn without_a_configuration_daemon_and_engines_are_looked_after_and_nothing_is_changed() {
    let mut scene = Scene::with(2);
    let daemon = daemon(&mut scene);
    let mut engines = [daemon.engine(&scene.stage, "qwen-a"), daemon.engine(&scene.stage, "qwen-b")];
    let mut watchdog = attach(&scene, &daemon);
    let two = [PROGRAM, "mpswarden-2"];
    let metrics = watchdog.await_metrics("both engines", |metrics| two.iter().all(|engine| serves(metrics, engine)));
    assert_eq!(metrics.sum("mps_engine_attached", &[]), 2.0);
    assert_eq!(metrics.sum("mps_engine_info", &[("managed_by", "others")]), 2.0);
    assert_eq!(metrics.sum("mps_unknown_clients", &[]), 0.0);
    watchdog.await_metrics("their memory", |metrics| {
        two.iter().all(|engine| metrics.sum("mps_engine_device_memory_bytes", &[("engine", engine)]) > 0.0)
    });
    let found = watchdog.engines();
    assert_eq!(found.iter().map(|engine| engine.main).collect::<std::collections::BTreeSet<_>>(), pids(&engines));
    watchdog.stop();
    assert!(engines.iter_mut().all(Client::lives), "the engines run on");
    assert!(crate::support::processes::lives(daemon.pid()), "the daemon runs on");
}

fn pids(engines: &[Client]) -> std::collections::BTreeSet<i64> {
    engines.iter().map(|engine| i64::from(engine.pid())).collect()
}

#[test]
fn a_fault_of_one_is_reported_with_nothing_ended() {
    let mut scene = Scene::with(1);
    let daemon = daemon(&mut scene);
    let mut bystander = daemon.client(&scene.stage, &SPINS);
    let watchdog = attach(&scene, &daemon);
    watchdog.await_metrics("the bystander", |metrics| serves(metrics, PROGRAM));
    let mut faulty = daemon.client(&scene.stage, &["fault", "--at", "0.5", "--seconds", "5", "--linger"]);
    watchdog.await_event("gpu_fault", "is handling a fatal GPU error");
    watchdog.await_event("suppressed", "would restart_clients");
    assert!(faulty.lives(), "it lingers, and nobody ended it");
    bystander.end(Signal::SIGKILL);
    faulty.end(Signal::SIGKILL);
    watchdog.await_event("fault_over", "gpu_fault");
    assert_eq!(watchdog.metrics().sum("mps_restarts_total", &[]), 0.0);
}

#[test]
fn a_client_that_leaves_in_order_is_forgotten_without_a_fault_and_its_name_is_used_again() {
    let mut scene = Scene::with(1);
    let daemon = daemon(&mut scene);
    let watchdog = attach(&scene, &daemon);
    watchdog.await_event("control_up", &daemon.pid().to_string());
    let mut first = daemon.client(&scene.stage, &SPINS);
    watchdog.await_metrics("the first", |metrics| serves(metrics, PROGRAM));
    let _second = daemon.client(&scene.stage, &SPINS);
    watchdog.await_metrics("the second", |metrics| serves(metrics, "mpswarden-2"));
    first.end(Signal::SIGTERM);
    let metrics = watchdog.await_metrics("its end", |metrics| exits(metrics, PROGRAM, "removed") == 1.0);
    assert!(!serves(&metrics, PROGRAM));
    assert_eq!(watchdog.engines().len(), 1);
    let _third = daemon.client(&scene.stage, &SPINS);
    watchdog.await_metrics("the third in its place", |metrics| serves(metrics, PROGRAM));
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_faults_total", &[]), 0.0, "{}", watchdog.told());
    assert_eq!(exits(&metrics, PROGRAM, "removed"), 1.0, "it counts on");
}

#[test]
fn a_client_that_crashes_is_a_fault_until_whoever_runs_it_has_started_it_again() {
    let mut scene = Scene::with(1);
    let daemon = daemon(&mut scene);
    let mut first = daemon.client(&scene.stage, &SPINS);
    let watchdog = attach(&scene, &daemon);
    watchdog.await_metrics("it", |metrics| serves(metrics, PROGRAM));
    first.end(Signal::SIGABRT);
    watchdog.await_event("engine_died", "ended with signal 6");
    let needed = [("by", "owner"), ("action", "restart_engines")];
    watchdog.await_metrics("whose turn it is", |metrics| metrics.sum("mps_action_needed", &needed) == 1.0);
    let again = daemon.client(&scene.stage, &SPINS);
    watchdog.await_event("fault_over", "engine_died");
    let metrics = watchdog.await_metrics("it serves again", |metrics| serves(metrics, PROGRAM));
    assert_eq!(metrics.sum("mps_action_needed", &[]), 0.0);
    assert_eq!(watchdog.engines()[0].main, i64::from(again.pid()));
}

/// A cgroup as a container has it; `None`: this machine lets none be made.
struct Container(PathBuf);

impl Container {
    fn make(name: &str) -> Option<Container> {
        let hierarchy = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter().map(PathBuf::from);
        let hierarchy = hierarchy.into_iter().find(|path| path.join("cgroup.controllers").exists())?;
        let path = hierarchy.join(format!("mpswarden-test-{}-{name}", std::process::id()));
        let path = path.join(format!("docker-{HEX}.scope"));
        fs::create_dir_all(&path).ok()?;
        Some(Container(path))
    }

    fn take_in(&self, client: &Client) {
        fs::write(self.0.join("cgroup.procs"), client.pid().to_string()).unwrap();
    }

    fn remove(&self) {
        crate::support::scene::eventually("the cgroup is empty", || fs::remove_dir(&self.0).ok());
        let _ = fs::remove_dir(self.0.parent().unwrap());
    }
}

#[test]
fn a_container_is_one_engine_and_its_removal_is_no_incident() {
    let Some(container) = Container::make("one") else {
        assert!(std::env::var_os("MPSWARDEN_REQUIRE_ALL").is_none(), "no cgroup can be made");
        eprintln!("SKIPPED: no cgroup can be made here");
        return;
    };
    let mut scene = Scene::with(1);
    let daemon = daemon(&mut scene);
    let mut client = daemon.client(&scene.stage, &SPINS);
    container.take_in(&client);
    let watchdog = attach(&scene, &daemon);
    let name = watchdog.await_event("found", &client.pid().to_string()).engine().to_owned();
    assert_eq!(name, HEX[..12], "it is called by its container");
    watchdog.await_metrics("it", |metrics| serves(metrics, &name));
    // As a runtime does when its time to stop is over.
    client.end(Signal::SIGKILL);
    container.remove();
    watchdog.await_metrics("its end", |metrics| exits(metrics, &name, "removed") == 1.0);
    assert_eq!(watchdog.metrics().sum("mps_faults_total", &[]), 0.0, "{}", watchdog.told());
}
