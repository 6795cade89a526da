//! Files and directories that others made: what blocks or never ends stops nothing, links are not followed, and a
//! directory of another user is refused before anything is made in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, mkfifo};

use crate::support::scene::{Scene, program};
use crate::support::watchdog::Watchdog;

fn state(scene: &Scene) -> PathBuf {
    PathBuf::from(scene.configuration["state_directory"].as_str().unwrap())
}

fn set(scene: &mut Scene, key: &str, path: &Path) {
    let mps = scene.group()["mps"].as_table_mut().unwrap();
    mps.insert(key.to_owned(), path.display().to_string().into());
}

/// The control socket answers.
fn ordered(scene: &Scene) {
    let mut command = std::process::Command::new(program());
    command.arg("--control-socket").arg(scene.directory().join("control.sock"));
    let answer = command.args(["hold", "small-llms", "--reason", "x", "--dry-run"]).output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
}

fn refused(scene: &Scene, parts: &[&str]) {
    let mut watchdog = scene.start();
    assert_eq!(watchdog.ended().code(), Some(77), "{}", watchdog.told());
    for part in parts {
        assert!(watchdog.told().contains(part), "{part}: {}", watchdog.told());
    }
    scene.assert_nothing_is_left();
}

/// Its environment file becomes this; the engine dies.
fn environment_becomes(what: &str, becomes: impl Fn(&Path)) {
    let mut scene = Scene::set();
    scene.recovery("engine_budget", 2);
    scene.recovery("backoff", toml::toml! { next = "10ms" });
    let file = scene.directory().join("env");
    fs::write(&file, "A=1\n").unwrap();
    scene.engine(0).insert("environment_file".to_owned(), file.display().to_string().into());
    let mut watchdog = scene.serving();
    fs::remove_file(&file).unwrap();
    becomes(&file);
    let before = watchdog.engines();
    let kill =
        |index: usize| nix::sys::signal::kill(nix::unistd::Pid::from_raw(before[index].main as i32), Signal::SIGKILL);
    kill(0).unwrap();
    watchdog.await_event("action_failed", what);
    watchdog.await_engine("quarantined", "qwen-a");
    ordered(&scene);
    kill(1).unwrap();
    watchdog.await_engine("engine_died", "qwen-b");
    watchdog.await_metrics("the sibling serves again", |metrics| {
        let second = [("engine", "qwen-b")];
        metrics.state("mps_engine_state", &second, "state") == Some("serving")
            && metrics.sum("mps_restarts_total", &second) == 1.0
    });
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_environment_file_that_blocks_stops_its_engine_alone() {
    environment_becomes("it is a FIFO", |file| mkfifo(file, Mode::S_IRWXU).unwrap());
}

#[test]
fn an_environment_file_without_an_end_stops_its_engine_alone() {
    environment_becomes("it is a device", |file| symlink("/dev/zero", file).unwrap());
}

#[test]
fn a_memory_that_blocks_or_leads_elsewhere_is_told_and_kept_aside() {
    let scene = Scene::set();
    let victim = scene.directory().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::create_dir_all(state(&scene)).unwrap();
    mkfifo(&state(&scene).join("memory.json"), Mode::S_IRWXU).unwrap();
    symlink(&victim, state(&scene).join("processes.json")).unwrap();
    symlink(&victim, state(&scene).join("memory.tmp")).unwrap();
    let mut watchdog = scene.serving();
    watchdog.await_line("the memory", |line| line.message().contains("it is a FIFO"));
    watchdog.await_line("the record", |line| line.message().contains("it is a link"));
    watchdog.stop();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    scene.assert_nothing_is_left();
}

#[test]
fn baselines_or_a_configuration_that_block_are_refused_at_a_reload() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let refused = |watchdog: &Watchdog, part: &str| {
        let mark = watchdog.mark();
        watchdog.signal(Signal::SIGHUP);
        let line = watchdog.await_line_after(mark, "reload_failed", |line| line.event() == "reload_failed");
        assert!(line.message().contains(part), "{}", line.message());
    };
    let baselines = state(&scene).join("baselines");
    fs::create_dir_all(&baselines).unwrap();
    let baselines = baselines.join("small-llms.json");
    mkfifo(&baselines, Mode::S_IRWXU).unwrap();
    refused(&watchdog, "small-llms.json can't be read: it is a FIFO");
    fs::remove_file(&baselines).unwrap();
    symlink("/dev/zero", &baselines).unwrap();
    refused(&watchdog, "small-llms.json can't be read: it is a device");
    fs::remove_file(&baselines).unwrap();
    let file = scene.file();
    fs::remove_file(&file).unwrap();
    mkfifo(&file, Mode::S_IRWXU).unwrap();
    refused(&watchdog, "mpswarden.toml: can't be read: it is a FIFO");
    ordered(&scene);
    assert_eq!(watchdog.ready(), 200);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn links_in_the_place_of_logs_and_of_the_lock_are_not_followed() {
    let mut scene = Scene::set();
    scene.recovery("engine_budget", 2);
    scene.recovery("backoff", toml::toml! { next = "10ms" });
    let (victim, log) = (scene.directory().join("victim"), scene.directory().join("linked"));
    fs::write(&victim, "precious").unwrap();
    fs::create_dir(&log).unwrap();
    set(&mut scene, "log_directory", &log);
    symlink(&victim, log.join("qwen-a.log")).unwrap();
    let mut watchdog = scene.start();
    watchdog.await_engine("quarantined", "qwen-a");
    watchdog.await_engine("serving", "qwen-b");
    assert!(watchdog.told().contains("qwen-a.log`: it is a link"), "{}", watchdog.told());
    watchdog.stop();
    fs::remove_file(state(&scene).join("lock")).unwrap();
    symlink(&victim, state(&scene).join("lock")).unwrap();
    let mut watchdog = scene.start();
    assert_eq!(watchdog.ended().code(), Some(69), "{}", watchdog.told());
    assert!(watchdog.told().contains("it is a link"), "{}", watchdog.told());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    scene.assert_nothing_is_left();
}

#[test]
fn a_directory_that_others_may_write_is_refused_before_anything_is_made() {
    for key in ["log_directory", "state_directory"] {
        let mut scene = Scene::set();
        let open = scene.directory().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        match key {
            "log_directory" => set(&mut scene, key, &open.join("below")),
            _ => drop(scene.configuration.insert(key.to_owned(), open.join("below").display().to_string().into())),
        }
        refused(&scene, &[key, "everybody may write", "chmod o-w"]);
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    }
}

#[test]
fn a_directory_or_a_link_of_another_user_is_refused_and_he_is_named() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut scene = Scene::set();
    let (theirs, link) = (scene.directory().join("theirs"), scene.directory().join("link"));
    fs::create_dir(&theirs).unwrap();
    let nobody = Some(Uid::from_raw(65534));
    chown(&theirs, nobody, None).unwrap();
    for key in ["log_directory", "pipe_directory"] {
        let mut scene = Scene::set();
        set(&mut scene, key, &theirs);
        refused(&scene, &[key, "belongs to user `nobody`", "chown 0 "]);
    }
    symlink(scene.directory(), &link).unwrap();
    let not_followed = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    nix::unistd::fchownat(nix::fcntl::AT_FDCWD, &link, nobody, None, not_followed).unwrap();
    set(&mut scene, "log_directory", &link.join("log"));
    refused(&scene, &["is a link, which user `nobody` made"]);
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
}
