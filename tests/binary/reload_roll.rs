//! A changed configuration that the core carries out: engines and groups come, go and roll, and no other is touched.

use nix::sys::signal::Signal;
use toml::Value;

use crate::support::scene::{Scene, eventually};
use crate::support::watchdog::{EnginePids, Watchdog};

/// SIGHUP, and the sentence of what was applied.
fn reload(scene: &Scene, watchdog: &Watchdog) -> String {
    scene.file();
    let mark = watchdog.mark();
    watchdog.signal(Signal::SIGHUP);
    let line = watchdog.await_line_after(mark, "a reload", |line| line.event().starts_with("reload"));
    assert_eq!(line.event(), "reloaded", "{}", line.message());
    line.message().to_owned()
}

fn engine(watchdog: &Watchdog, name: &str) -> Option<EnginePids> {
    watchdog.engines().into_iter().find(|engine| engine.name == name)
}

fn main_of(watchdog: &Watchdog, name: &str) -> i64 {
    engine(watchdog, name).unwrap_or_else(|| panic!("no engine {name}")).main
}

fn environment(value: &str) -> Value {
    toml::Table::from_iter([("SHADE".to_owned(), Value::from(value))]).into()
}

#[test]
fn only_the_engine_that_changed_rolls_and_it_has_the_new_environment() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    let (a, b) = (main_of(&watchdog, "qwen-a"), main_of(&watchdog, "qwen-b"));
    scene.engine(1).insert("environment".to_owned(), environment("blue"));
    let told = reload(&scene, &watchdog);
    assert!(told.ends_with("small-llms/qwen-b rolls (environment)"), "{told}");
    let new = eventually("qwen-b in a new process", || {
        engine(&watchdog, "qwen-b").map(|engine| engine.main).filter(|main| ![0, b].contains(main))
    });
    watchdog.await_serving();
    let given = std::fs::read_to_string(format!("/proc/{new}/environ")).unwrap();
    assert!(given.split('\0').any(|variable| variable == "SHADE=blue"));
    assert_eq!((main_of(&watchdog, "qwen-a"), watchdog.generation()), (a, 1));
    assert_eq!(watchdog.metrics().sum("mps_faults_total", &[]), 0.0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn engines_that_changed_roll_one_after_the_other() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    for place in 0..2 {
        scene.engine(place).insert("environment".to_owned(), environment("red"));
    }
    // The log comes after readiness: the last line of the start may be on its way still.
    watchdog.await_engine("serving", "qwen-b");
    let mark = watchdog.mark();
    reload(&scene, &watchdog);
    for name in ["qwen-a", "qwen-b"] {
        watchdog.await_line_after(mark, name, |line| line.event() == "serving" && line.engine() == name);
    }
    watchdog.await_serving();
    let lines = watchdog.lines().split_off(mark);
    let of_engines = lines.iter().filter(|line| ["exited", "serving"].contains(&line.event()) && line.engine() != "");
    let mut order: Vec<_> = of_engines.map(|line| (line.engine(), line.event())).collect();
    // An engine serves, and its restart ended serving.
    order.dedup();
    let expected = ["qwen-a", "qwen-b"].map(|name| [(name, "exited"), (name, "serving")]).concat();
    assert_eq!(order, expected);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn an_engine_that_is_removed_is_stopped_and_leaves_the_metrics_and_comes_back_when_it_is_added() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    let a = main_of(&watchdog, "qwen-a");
    let removed = scene.group()["engine"].as_array_mut().unwrap().remove(1);
    let told = reload(&scene, &watchdog);
    assert!(told.ends_with("small-llms/qwen-b is stopped and removed"), "{told}");
    eventually("qwen-b to be gone", || engine(&watchdog, "qwen-b").is_none().then_some(()));
    watchdog.await_metrics("no qwen-b", |metrics| metrics.sum("mps_engine_state", &[("engine", "qwen-b")]) == 0.0);
    assert_eq!((main_of(&watchdog, "qwen-a"), watchdog.ready()), (a, 200));
    scene.group()["engine"].as_array_mut().unwrap().push(removed);
    let told = reload(&scene, &watchdog);
    assert!(told.ends_with("small-llms/qwen-b is added"), "{told}");
    eventually("qwen-b", || engine(&watchdog, "qwen-b").filter(|engine| engine.main != 0));
    watchdog.await_serving();
    assert_eq!(main_of(&watchdog, "qwen-a"), a);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_group_that_gets_a_new_name_is_stopped_and_a_new_one_is_started() {
    let mut scene = Scene::set();
    let mut watchdog = scene.serving();
    scene.group().insert("name".to_owned(), "renamed".into());
    let mps = scene.group()["mps"].as_table_mut().unwrap();
    for (key, name) in [("pipe_directory", "pipe-2"), ("log_directory", "log-2")] {
        let path = mps[key].as_str().unwrap().to_owned();
        mps.insert(key.to_owned(), std::path::Path::new(&path).with_file_name(name).display().to_string().into());
    }
    let told = reload(&scene, &watchdog);
    assert!(told.contains("small-llms is stopped and removed; renamed is added with qwen-a, qwen-b"), "{told}");
    eventually("the new group", || (watchdog.get("/-/ready?group=renamed") == 200).then_some(()));
    eventually("the old one to be gone", || (watchdog.ready() == 404).then_some(()));
    watchdog.stop();
    scene.assert_nothing_is_left();
}
