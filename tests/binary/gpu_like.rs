//! One sick GPU or part at the start, and the NVML of other GPUs and drivers: what is sick is what is held, and what a GPU
//! does not say is unknown.

use std::fs;
use std::process::{Command, Stdio};

use mpswarden::sim::{GpuLike, Injection};

use crate::support::metrics::Metrics;
use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::Watchdog;

const ABSENT: &str = "GPU-00000000-0000-0000-0000-000000000000";

fn is_held(metrics: &Metrics, group: &str, reason: &str) -> bool {
    metrics.sum("mps_group_held", &[("group", group), ("reason", reason)]) == 1.0
}

/// Waits until `small-llms` serves and `other` is held for this, with no attempt used up.
fn serves_beside_one_held_for(watchdog: &Watchdog, reason: &str) {
    watchdog.await_metrics("the well group serves", |metrics| {
        metrics.sum("mps_group_state", &[("group", "small-llms"), ("state", "serving")]) == 1.0
    });
    let metrics = watchdog.await_metrics("the other is held", |metrics| is_held(metrics, "other", reason));
    assert_eq!(metrics.sum("mps_restarts_total", &[]), 0.0, "an attempt was used up");
}

#[test]
fn a_gpu_that_nvml_does_not_list_holds_its_group_alone() {
    for gpu in [toml::Value::from(ABSENT), toml::Value::from(5)] {
        let mut scene = Scene::set();
        scene.add_group(gpu);
        let mut watchdog = scene.start();
        serves_beside_one_held_for(&watchdog, "gpu_unreadable");
        watchdog.stop();
        scene.assert_nothing_is_left();
    }
}

#[test]
fn a_gpu_that_refuses_its_calls_at_the_start_is_held_and_starts_once_it_answers() {
    for (rules, fault) in [("* 16", "gpu_reset_needed"), ("* 15", "gpu_lost")] {
        let scene = Scene::set();
        scene.stage.nvml_answers(rules).unwrap();
        let mut watchdog = scene.start();
        watchdog.await_metrics("held", |metrics| is_held(metrics, "small-llms", fault));
        assert_eq!(watchdog.metrics().sum("mps_fault_active", &[("fault", fault)]), 1.0);
        scene.stage.nvml_answers("").unwrap();
        watchdog.await_serving();
        assert_eq!(watchdog.metrics().sum("mps_restarts_total", &[]), 0.0);
        watchdog.stop();
        scene.assert_nothing_is_left();
    }
}

#[test]
fn a_missing_binary_and_an_occupied_directory_hold_their_group_alone() {
    let mut scene = Scene::set();
    let gpu = scene.stage.gpu_uuid().to_owned();
    let binary = scene.directory().join("late-mps-control");
    let other = scene.add_group(gpu.as_str());
    other["mps"].as_table_mut().unwrap().insert("binary".to_owned(), binary.to_str().unwrap().into());
    let pipe = scene.directory().join("pipe2");
    let mut daemon = Command::new(scene.stage.control_binary());
    daemon.arg("-f").env("CUDA_MPS_PIPE_DIRECTORY", &pipe).stdin(Stdio::null()).stdout(Stdio::null());
    let mut daemon = daemon.stderr(Stdio::null()).spawn().unwrap();
    eventually("the other daemon", || fs::read(pipe.join("nvidia-cuda-mps-control.pid")).ok());
    let mut watchdog = scene.start();
    watchdog.await_line("the reason", |line| line.message().contains("late-mps-control"));
    watchdog.await_metrics("the well group serves", |metrics| {
        metrics.sum("mps_group_state", &[("group", "small-llms"), ("state", "serving")]) == 1.0
    });
    assert!(daemon.try_wait().unwrap().is_none(), "the stranger's daemon was ended");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn every_kind_of_gpu_and_driver_serves_and_mends_a_fault() {
    use GpuLike::{Container, Gb10, HostPids, Pre510, R615, Vgpu};
    for kind in [Gb10, Pre510, Vgpu, R615, Container, HostPids] {
        let scene = Scene::on(kind);
        let mut watchdog = scene.serving();
        let metrics = watchdog.metrics();
        let known = |name: &str| metrics.value(name, &[]).is_some();
        let held_by_one = metrics.value("mps_engine_device_memory_bytes", &[("engine", "qwen-a")]);
        assert_eq!(known("mps_gpu_memory_used_bytes"), kind != Gb10, "{kind:?}");
        assert_eq!(known("mps_gpu_memory_total_bytes"), kind != Gb10, "{kind:?}");
        let listed = !matches!(kind, Vgpu | Container | HostPids);
        assert_eq!(held_by_one.is_some_and(|held| held > 0.0), listed, "{kind:?}");
        assert_eq!(held_by_one.is_some(), listed, "{kind:?}: unknown is not 0");
        let limit = if kind == R615 { 60.0 } else { 48.0 };
        assert_eq!(metrics.sum("mps_clients_limit", &[]), limit, "{kind:?}");
        scene.inject(Injection::IllegalAddress);
        watchdog.await_event("serving", "restart of all clients");
        watchdog.await_serving();
        let metrics = watchdog.metrics();
        for fault in ["outside_mps", "foreign_process", "limit_exceeded", "memory_leak", "gpu_lost"] {
            assert_eq!(metrics.sum("mps_faults_total", &[("fault", fault)]), 0.0, "{kind:?}: {fault}");
        }
        watchdog.stop();
        scene.assert_nothing_is_left();
    }
}

#[test]
fn newer_recovery_actions_hold_or_are_told_as_they_mean() {
    let scene = Scene::on(GpuLike::R615);
    let mut watchdog = scene.serving();
    let shows = |action: &str| {
        watchdog.await_metrics(action, |metrics| {
            metrics.sum("mps_gpu_recovery_action", &[("action", action)]) == 1.0
                && metrics.sum("mps_gpu_recovery_action", &[("action", "unknown")]) == 0.0
        });
    };
    scene.inject(Injection::ImexDomain);
    shows("recover_imex_domain");
    scene.inject(Injection::UnknownAction);
    shows("not_understood");
    watchdog.await_event("driver_wants", "GPU Recovery Action");
    assert_eq!((watchdog.ready(), watchdog.metrics().sum("mps_restarts_total", &[])), (200, 0.0));
    for (fault, cure) in [(Injection::BusResetNeeded, "by its bus"), (Injection::SystemRebootNeeded, "whole system")] {
        let mark = watchdog.mark();
        scene.inject(fault);
        watchdog.await_line_after(mark, "held", |line| line.is("held", cure));
        scene.inject(Injection::GpuRepaired);
        watchdog.await_line_after(mark, "released", |line| line.is("released", "gpu_reset_needed"));
        watchdog.await_serving();
    }
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_reset_that_only_calls_ask_for_lets_go_of_everything() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    scene.inject(Injection::NvmlResetRequired);
    watchdog.await_event("held", "gpu_reset_needed");
    assert!(!scene.living().iter().any(|process| process.is_engine()), "an engine is on a sick GPU");
    scene.assert_no_daemon();
    scene.inject(Injection::GpuRepaired);
    watchdog.await_event("released", "gpu_reset_needed");
    watchdog.await_serving();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn one_call_that_fails_takes_away_one_figure() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let gone = |figure: &str, labels: &[(&str, &str)], rules: &str| {
        scene.stage.nvml_answers(rules).unwrap();
        watchdog.await_metrics(figure, |metrics| metrics.value(figure, labels).is_none());
    };
    gone("mps_gpu_busy_ratio", &[], "nvmlDeviceGetUtilizationRates 999");
    gone("mps_gpu_memory_used_bytes", &[], "nvmlDeviceGetMemoryInfo_v2 999");
    let lists = "nvmlDeviceGetComputeRunningProcesses_v3 4\nnvmlDeviceGetMPSComputeRunningProcesses_v3 4";
    gone("mps_engine_device_memory_bytes", &[("engine", "qwen-a")], lists);
    let up = watchdog.metrics().sum("mpswarden_source_up", &[("source", "nvml")]);
    assert_eq!((up, watchdog.ready(), watchdog.metrics().sum("mps_faults_total", &[])), (1.0, 200, 0.0));
    scene.stage.nvml_answers("").unwrap();
    watchdog.await_metrics("all figures", |metrics| {
        ["mps_gpu_busy_ratio", "mps_gpu_memory_used_bytes"].iter().all(|figure| metrics.value(figure, &[]).is_some())
            && metrics.sum("mps_engine_device_memory_bytes", &[]) > 0.0
    });
    watchdog.stop();
    scene.assert_nothing_is_left();
}
