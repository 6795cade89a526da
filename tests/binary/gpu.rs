//! A GPU that is lost, or to be reset: its group is stopped and held, a hook is called, and the watchdog serves its
//! metrics all along. Well again, it is started again by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mpswarden::sim::Injection;
use toml::{Table, Value};

use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::Watchdog;

/// A scene whose `on_held` command keeps its input in `told` of its directory.
fn scene_with_a_hook() -> Scene {
    let mut scene = Scene::set();
    let script = scene.directory().join("page-me");
    fs::write(&script, format!("#!/bin/sh\ncat >> {}/told\n", scene.directory().display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut hooks = Table::new();
    hooks.insert("on_held".to_owned(), Value::Array(vec![script.to_str().unwrap().into()]));
    scene.configuration.insert("hooks".to_owned(), hooks.into());
    scene
}

/// Waits until the group is held and nothing of it is left, and proves that this was reported.
fn held(scene: &Scene, watchdog: &mut Watchdog, reason: &str) {
    watchdog.await_event("held", reason);
    let reasons = [("reason", reason)];
    watchdog.await_metrics("held", |metrics| metrics.sum("mps_group_held", &reasons) == 1.0);
    assert!(!scene.living().iter().any(|process| process.is_engine()), "an engine is on a sick GPU");
    scene.assert_no_daemon();
    let told = eventually("the command is told", || {
        let told = fs::read_to_string(scene.directory().join("told")).ok()?;
        told.contains(reason).then_some(told)
    });
    assert!(told.contains("reboot the node") && told.contains("mpswarden resume"), "{told}");
    assert_eq!((watchdog.ready(), watchdog.get("/-/healthy")), (503, 200));
}

#[test]
fn a_lost_gpu_holds_its_group_until_it_is_back() {
    let scene = scene_with_a_hook();
    let mut watchdog = scene.serving();
    scene.inject(Injection::Xid79);
    held(&scene, &mut watchdog, "gpu_lost");
    let lost = [("fault", "gpu_lost")];
    let metrics = watchdog.metrics();
    assert_eq!((metrics.sum("mps_fault_active", &lost), metrics.sum("mps_restarts_total", &[])), (1.0, 1.0));
    scene.inject(Injection::GpuRepaired);
    watchdog.await_event("released", "gpu_lost");
    watchdog.await_serving();
    let metrics = watchdog.metrics();
    assert_eq!((metrics.sum("mps_fault_active", &lost), metrics.sum("mps_restarts_total", &[])), (0.0, 1.0));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_gpu_that_needs_a_reset_holds_its_group_until_it_was_reset() {
    let scene = scene_with_a_hook();
    let mut watchdog = scene.serving();
    scene.inject(Injection::ResetNeeded);
    held(&scene, &mut watchdog, "gpu_reset_needed");
    let wants = [("action", "gpu_reset")];
    watchdog.await_metrics("the driver's word", |metrics| metrics.sum("mps_gpu_recovery_action", &wants) == 1.0);
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_gpu_xid_errors_total", &[("xid", "95")]), 1.0);
    assert_eq!(metrics.sum("mps_gpu_xid_errors_total", &[("xid", "154")]), 1.0);
    scene.inject(Injection::GpuRepaired);
    watchdog.await_event("released", "gpu_reset_needed");
    watchdog.await_serving();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn errors_of_nvml_are_blindness_and_no_reason_to_act() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let nvml = [("source", "nvml")];
    scene.inject(Injection::NvmlError);
    watchdog.await_metrics("NVML is down", |metrics| metrics.sum("mpswarden_source_up", &nvml) == 0.0);
    assert_eq!(watchdog.get("/-/healthy"), 200);
    scene.inject(Injection::NvmlWell);
    watchdog.await_metrics("NVML is back", |metrics| metrics.sum("mpswarden_source_up", &nvml) == 1.0);
    let metrics = watchdog.metrics();
    assert_eq!(metrics.sum("mps_restarts_total", &[]) + metrics.sum("mps_faults_total", &[]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_lost_gpu_is_only_told_where_the_group_observes() {
    let mut scene = Scene::set();
    scene.group().insert("mode".to_owned(), "observe".into());
    let mut watchdog = scene.serving();
    scene.inject(Injection::Xid79);
    watchdog.await_event("suppressed", "would stop_group, but observe");
    watchdog.await_event("gpu_lost", "fallen off the bus");
    assert_eq!(watchdog.metrics().sum("mps_group_held", &[]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}
