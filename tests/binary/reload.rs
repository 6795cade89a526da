//! A changed configuration while engines serve: what is wrong with it changes nothing, what is refused says the cure,
//! what can be applied is applied. The core's own part is in `reload_roll`.

use std::fs;

use nix::sys::signal::Signal;
use toml::Value;

use crate::support::scene::Scene;
use crate::support::watchdog::{Line, Watchdog};

/// SIGHUP, and the line that says what came of it.
fn reload(watchdog: &Watchdog, event: &str) -> Line {
    let mark = watchdog.mark();
    watchdog.signal(Signal::SIGHUP);
    watchdog.await_line_after(mark, event, |line| line.event() == event)
}

/// A reload that is refused for these reasons, and the engines that serve on.
fn refused(scene: &Scene, watchdog: &mut Watchdog, reasons: &[&str]) {
    let before = watchdog.engines();
    let line = reload(watchdog, "reload_failed");
    for reason in reasons {
        assert!(line.message().contains(reason), "{reason}: {}", line.message());
    }
    assert_eq!((watchdog.engines(), watchdog.ready()), (before, 200));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_unchanged_file_is_said_to_be_so_and_nothing_happens() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    let before = watchdog.engines();
    let line = reload(&watchdog, "reloaded");
    assert!(line.message().contains("nothing changed"), "{}", line.message());
    assert_eq!((watchdog.engines(), watchdog.ready()), (before, 200));
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_bad_file_keeps_the_old_one_in_force_and_every_problem_is_told() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    scene.engine(0).insert("comand".to_owned(), "x".into());
    scene.engine(1).insert("sm_percentage".to_owned(), 200.into());
    scene.file();
    refused(&scene, &mut watchdog, &["unknown key `comand`", "`sm_percentage` can't be 200"]);
}

#[test]
fn a_file_that_is_gone_keeps_the_old_one_in_force_and_a_mended_one_is_taken_up() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    fs::remove_file(scene.directory().join("mpswarden.toml")).unwrap();
    let line = reload(&watchdog, "reload_failed");
    assert!(line.message().contains("can't be read"), "{}", line.message());
    scene.file();
    reload(&watchdog, "reloaded");
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn what_a_running_group_can_not_change_is_refused_with_the_cure() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    let elsewhere = Value::from(scene.directory().join("elsewhere").display().to_string());
    scene.group()["mps"].as_table_mut().unwrap().insert("pipe_directory".to_owned(), elsewhere.clone());
    scene.configuration.insert("state_directory".to_owned(), elsewhere);
    // Nothing of a refused file is applied, whatever else it holds.
    scene.group().insert("mode".to_owned(), "observe".into());
    scene.file();
    let reasons =
        ["small-llms: mps.pipe_directory", "give the group a new name", "state_directory", "restart mpswarden"];
    refused(&scene, &mut watchdog, &reasons);
}

#[test]
fn a_gpu_that_is_not_there_is_refused() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    scene.group().insert("gpu".to_owned(), 7.into());
    scene.file();
    refused(&scene, &mut watchdog, &["there is no GPU 7"]);
}

#[test]
fn a_new_group_on_an_occupied_pipe_directory_is_refused() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    let mut twin = scene.group().clone();
    twin.insert("name".to_owned(), "twin".into());
    scene.group().insert("name".to_owned(), "other".into());
    scene.configuration["group"] = vec![Value::from(twin)].into();
    for place in 0..2 {
        scene.engine(place).insert("name".to_owned(), format!("twin-{place}").into());
    }
    scene.file();
    refused(&scene, &mut watchdog, &["group `twin`", "is used by the control daemon"]);
}

#[test]
fn what_only_a_start_takes_up_is_told_each_time_and_the_rest_is_taken_up() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    let web = scene.configuration["web"].as_table_mut().unwrap();
    web.insert("listen_addresses".to_owned(), vec![Value::from("127.0.0.1:1")].into());
    scene.group().insert("mode".to_owned(), "observe".into());
    scene.file();
    let line = reload(&watchdog, "reloaded");
    assert!(line.message().contains("mode \"enforce\" -> \"observe\""), "{}", line.message());
    assert_eq!(watchdog.status()["mode"], "observe", "the status is older than the line");
    let again = reload(&watchdog, "reloaded");
    let later = "web takes effect at the next start of mpswarden";
    assert!(again.message().ends_with(later) && line.message().contains(later), "{}", again.message());
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn hooks_are_told_of_a_fault_and_of_the_recovery_and_a_reload_changes_them() {
    let mut scene = Scene::set();
    let told = |name: &str| scene_file(&scene, name);
    let (fault, recovered) = (told("fault"), told("recovered"));
    let script = |path: &str| -> Value { ["sh", "-c", "cat >\"$0\"", path].map(Value::from).to_vec().into() };
    let hooks = toml::Table::from_iter([("on_fault".to_owned(), script(&fault))]);
    scene.configuration.insert("hooks".to_owned(), hooks.into());
    let mut watchdog = scene.serving();
    scene.configuration["hooks"].as_table_mut().unwrap().insert("on_recovered".to_owned(), script(&recovered));
    scene.file();
    let line = reload(&watchdog, "reloaded");
    assert!(line.message().contains("hooks: on_recovered changed"), "{}", line.message());
    scene.inject(mpswarden::sim::Injection::ServerKill);
    watchdog.await_event("hook", "on_fault ended: ok");
    watchdog.await_event("hook", "on_recovered ended: ok");
    for (path, event) in [(fault, "fault"), (recovered, "recovered")] {
        let message: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!((&message["event"], &message["group"]), (&event.into(), &"small-llms".into()));
    }
    watchdog.stop();
    scene.assert_nothing_is_left();
}

fn scene_file(scene: &Scene, name: &str) -> String {
    scene.directory().join(name).display().to_string()
}
