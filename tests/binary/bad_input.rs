//! Bad input: before its first engine the watchdog refuses with the code and the cure that are promised;
//! an engine that is no good is quarantined, and its sibling serves. Nothing is left either way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use toml::Value;

use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::Watchdog;

/// It ends with this code, names these things, and started nothing that stays.
fn refused(scene: &Scene, watchdog: Watchdog, code: i32, names: &[&str]) {
    refused_beside(watchdog, code, names);
    scene.assert_nothing_is_left();
}

fn refused_beside(mut watchdog: Watchdog, code: i32, names: &[&str]) {
    let status = watchdog.ended();
    for name in names {
        watchdog.await_line(name, |line| line.message().contains(name));
    }
    assert_eq!(status.code(), Some(code), "{}", watchdog.told());
    assert_eq!(watchdog.count("started", ""), 0);
}

#[test]
fn a_configuration_that_is_not_there_is_refused() {
    let scene = Scene::set();
    let watchdog = Watchdog::start(&scene.directory().join("nowhere.toml"));
    refused(&scene, watchdog, 78, &["nowhere.toml: can't be read", "name a file that this user may read"]);
}

#[test]
fn a_malformed_configuration_is_refused_with_its_line() {
    let scene = Scene::set();
    let file = scene.directory().join("bad.toml");
    fs::write(&file, "[[group]]\nname = \"a\"\nmode = = \"enforce\"\n").unwrap();
    refused(&scene, Watchdog::start(&file), 78, &["bad.toml:3:"]);
}

#[test]
fn a_contradictory_configuration_is_refused_with_every_contradiction() {
    let mut scene = Scene::set();
    let taken = scene.engine(0)["url"].clone();
    scene.engine(1).insert("url".to_owned(), taken);
    scene.engine(1).insert("name".to_owned(), "qwen-a".into());
    let watchdog = scene.start();
    refused(&scene, watchdog, 78, &["engine name qwen-a is used twice", "is used twice, first on line"]);
}

#[test]
fn a_socket_path_that_is_too_long_is_refused() {
    let mut scene = Scene::set();
    let long = scene.directory().join("x".repeat(100));
    mps(&mut scene, "pipe_directory", long.display().to_string());
    let watchdog = scene.start();
    refused(&scene, watchdog, 78, &["107 at most", "choose a shorter pipe_directory"]);
}

fn mps(scene: &mut Scene, key: &str, value: impl Into<Value>) {
    scene.group()["mps"].as_table_mut().unwrap().insert(key.to_owned(), value.into());
}

#[test]
fn a_missing_mps_binary_is_refused() {
    let mut scene = Scene::set();
    mps(&mut scene, "binary", "/nonexistent/nvidia-cuda-mps-control");
    let watchdog = scene.start();
    refused(&scene, watchdog, 69, &["/nonexistent/nvidia-cuda-mps-control", "NVIDIA's driver"]);
}

#[test]
fn a_missing_nvml_library_is_refused() {
    let mut scene = Scene::set();
    scene.configuration.insert("nvml_library".to_owned(), "/nonexistent/libnvidia-ml.so.1".into());
    let watchdog = scene.start();
    refused(&scene, watchdog, 69, &["/nonexistent/libnvidia-ml.so.1", "nvml_library"]);
}

#[test]
fn a_gpu_that_is_not_there_is_refused_with_those_that_are() {
    let mut scene = Scene::set();
    let ours = scene.stage.gpu_uuid().to_owned();
    for (gpu, told) in [
        (Value::from("GPU-00000000-0000-0000-0000-000000000000"), "there is no GPU GPU-00000000"),
        (Value::from(7), "there is no GPU 7"),
    ] {
        scene.group().insert("gpu".to_owned(), gpu);
        let watchdog = scene.start();
        refused(&scene, watchdog, 69, &[told, &ours]);
    }
}

#[test]
fn a_pipe_directory_that_another_daemon_uses_is_refused_and_that_daemon_lives_on() {
    let scene = Scene::set();
    let mut command = Command::new(scene.stage.control_binary());
    command.arg("-f").env("CUDA_MPS_PIPE_DIRECTORY", scene.stage.pipe_directory());
    let mut other = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the other daemon", || scene.stage.control_daemon().ok());
    let pid = other.id().to_string();
    refused_beside(scene.start(), 69, &["is used by the control daemon", &pid, "pipe_directory"]);
    assert!(other.try_wait().unwrap().is_none(), "the other daemon was ended");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_second_watchdog_on_the_same_state_directory_is_refused_and_the_first_serves_on() {
    let scene = Scene::set();
    let mut first = scene.serving();
    let before = first.engines();
    let pid = first.pid().to_string();
    refused_beside(scene.start(), 69, &["state", "in use", &pid]);
    assert_eq!((first.engines(), first.ready()), (before, 200));
    first.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_state_directory_that_can_not_be_made_is_refused() {
    let mut scene = Scene::set();
    let below_a_file = scene.stage.kernel_log().join("state").display().to_string();
    scene.configuration.insert("state_directory".to_owned(), below_a_file.clone().into());
    let watchdog = scene.start();
    refused(&scene, watchdog, 69, &["state_directory", &below_a_file]);
}

#[test]
fn a_state_directory_that_is_not_ours_to_write_is_refused_with_77() {
    if nix::unistd::geteuid().is_root() {
        // Root may write anywhere.
        return;
    }
    let mut scene = Scene::set();
    let locked = scene.directory().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    scene.configuration.insert("state_directory".to_owned(), locked.join("state").display().to_string().into());
    let watchdog = scene.start();
    refused(&scene, watchdog, 77, &["state_directory", "locked/state", "give this user the right"]);
}

/// The first engine is quarantined after its budget, the second serves, and the stop leaves nothing.
fn quarantined(mut scene: Scene, why: &str) {
    scene.recovery("engine_budget", 2);
    scene.recovery("backoff", toml::toml! { next = "10ms" });
    let mut watchdog = scene.start();
    watchdog.await_engine("quarantined", "qwen-a");
    watchdog.await_engine("serving", "qwen-b");
    assert!(watchdog.told().contains(why), "{}", watchdog.told());
    assert_eq!(watchdog.get("/-/ready?group=small-llms&engine=qwen-b"), 200);
    assert_eq!(watchdog.ready(), 503);
    let first = ("engine", "qwen-a");
    let metrics = watchdog.await_metrics("quarantine", |metrics| {
        metrics.state("mps_engine_state", &[first], "state") == Some("quarantined")
    });
    assert_eq!(metrics.sum("mps_faults_total", &[first, ("fault", "crash_loop")]), 1.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[("tier", "engine"), first]), 1.0);
    assert_eq!(metrics.sum("mps_restarts_total", &[("tier", "clients")]), 0.0);
    assert_eq!(metrics.sum("mps_group_generation", &[]), 1.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

/// A scene whose first engine has another command.
fn with_command(command: &[&str]) -> Scene {
    let mut scene = Scene::set();
    let command: Vec<Value> = command.iter().map(|word| Value::from(*word)).collect();
    scene.engine(0).insert("command".to_owned(), command.into());
    scene
}

#[test]
fn an_engine_command_that_does_not_exist_is_quarantined_and_the_sibling_serves() {
    quarantined(with_command(&["/nonexistent/vllm", "serve"]), "/nonexistent/vllm");
}

#[test]
fn an_engine_that_exits_at_once_is_quarantined_and_the_sibling_serves() {
    quarantined(with_command(&["false"]), "it ended with status 1 before it served");
}

#[test]
fn an_engine_that_never_gets_ready_is_quarantined_and_the_sibling_serves() {
    let mut scene = with_command(&["sleep", "1000"]);
    scene.engine(0).insert("start_timeout".to_owned(), "1s".into());
    quarantined(scene, "it did not get ready within 1 s");
}
