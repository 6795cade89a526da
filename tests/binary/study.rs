//! `mpswarden study` over the simulated stage: it ends by itself, by a signal and by a crash, and leaves nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use mpswarden::study::results::{Arrangement, Study};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::processes;
use crate::support::scene::{Scene, eventually, program};

/// A grid of one cell that is over in seconds.
const SMALL: [&str; 12] = [
    "--prompts",
    "16",
    "--outputs",
    "4",
    "--concurrency",
    "2",
    "--seconds",
    "0.5",
    "--warm-up",
    "0.1",
    "--repeats",
    "3",
];
/// One that is not.
const LONG: [&str; 4] = ["--seconds", "60", "--repeats", "9"];

/// A study that is under way. Dropping it kills it.
struct Studying {
    child: Child,
    directory: PathBuf,
}

impl Studying {
    /// A study of the group of a scene, with the socket and the directories there.
    fn of(scene: &Scene, more: &[&str]) -> Studying {
        let mut arguments = vec!["--config".to_owned(), scene.file().display().to_string()];
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        Studying::start(scene.directory(), &arguments)
    }

    fn start(directory: &Path, arguments: &[String]) -> Studying {
        let output = File::create(directory.join("study.output")).unwrap();
        let mut command = Command::new(program());
        command.arg("study").args(arguments).arg("--out").arg(directory.join("out"));
        command.arg("--control-socket").arg(directory.join("control.sock")).env("TMPDIR", directory);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Studying { child: command.spawn().unwrap(), directory: directory.to_owned() }
    }

    /// Standard output and standard error so far.
    fn told(&self) -> String {
        fs::read_to_string(self.directory.join("study.output")).unwrap()
    }

    fn await_line(&self, part: &str) {
        eventually(part, || self.told().contains(part).then_some(()));
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        eventually("the study's end", || self.child.try_wait().unwrap())
    }

    /// The code of its end.
    fn code(&mut self) -> Option<i32> {
        self.ended().code()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.directory.join("out").join(name)
    }

    /// The study that was measured.
    fn study(&self) -> Study {
        serde_json::from_slice(&fs::read(self.out("study.json")).unwrap()).unwrap()
    }
}

impl Drop for Studying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_study_measures_every_arrangement_writes_its_files_and_leaves_no_process() {
    let scene = Scene::set();
    let mut studying = Studying::of(&scene, &[&["--group", "small-llms"][..], &SMALL].concat());
    assert_eq!(studying.code(), Some(0), "{}", studying.told());
    scene.assert_nothing_is_left();
    let study = studying.study();
    assert_eq!(
        (study.group.as_str(), study.gpu.as_str(), study.cells.len()),
        ("small-llms", "NVIDIA H200 (simulated)", 1)
    );
    assert!(study.simulated);
    let runs = &study.cells[0].runs;
    let alone = |name: &str| Arrangement::Alone(name.to_owned());
    for (arrangement, engines) in
        [(alone("qwen-a"), 1), (alone("qwen-b"), 1), (Arrangement::TimeSliced, 2), (Arrangement::Mps, 2)]
    {
        let run = runs.iter().find(|run| run.arrangement == arrangement).unwrap();
        assert_eq!(run.engines.len(), engines, "{arrangement:?}");
        for engine in &run.engines {
            assert!(engine.requests > 0 && engine.failed == 0 && engine.prompt_tokens > 0, "{engine:?}");
            assert!(engine.generation_tokens > 0 && engine.ttft.is_some() && engine.tpot.is_some(), "{engine:?}");
            assert!(engine.running > 1.0 && engine.running < 2.01, "{engine:?}");
        }
    }
    assert!(fs::read_to_string(studying.out("study.html")).unwrap().starts_with("<!DOCTYPE html>"));
    let baselines: serde_json::Value =
        serde_json::from_slice(&fs::read(studying.out("baselines.json")).unwrap()).unwrap();
    assert!(baselines["baselines"].is_array());
}

#[test]
fn a_group_that_a_running_watchdog_serves_is_not_studied() {
    let mut scene = Scene::set();
    let watchdog = scene.serving();
    let mut studying = Studying::of(&scene, &SMALL);
    assert_eq!(studying.code(), Some(69), "{}", studying.told());
    assert!(studying.told().contains("is served by the mpswarden that listens on"), "{}", studying.told());
    // Neither where it does not answer: the state directory is its own.
    fs::remove_file(scene.directory().join("control.sock")).unwrap();
    let mut studying = Studying::of(&scene, &SMALL);
    assert_eq!(studying.code(), Some(69), "{}", studying.told());
    assert!(studying.told().contains("is in use by process"), "{}", studying.told());
    // Nor by another configuration with the same pipe directory.
    let other = scene.directory().join("other-state").display().to_string();
    scene.configuration.insert("state_directory".to_owned(), other.into());
    let mut studying = Studying::of(&scene, &SMALL);
    assert_eq!(studying.code(), Some(69), "{}", studying.told());
    assert!(studying.told().contains("is used by the control daemon"), "{}", studying.told());
    assert_eq!(watchdog.ready(), 200);
}

#[test]
fn a_group_that_is_not_there_is_refused_with_the_nearest_name() {
    let scene = Scene::set();
    let mut studying = Studying::of(&scene, &["--group", "smal-llms"]);
    assert_eq!(studying.code(), Some(78), "{}", studying.told());
    assert!(studying.told().contains("did you mean `small-llms`?"), "{}", studying.told());
    scene.assert_nothing_is_left();
}

#[test]
fn a_signal_ends_a_study_clean_and_a_second_one_at_once() {
    for (signals, part) in [(1, " alone: prompt"), (2, " alone: prompt"), (1, "starting the engines")] {
        let scene = Scene::set();
        let mut studying = Studying::of(&scene, &[&SMALL[..6], &LONG].concat());
        studying.await_line(part);
        (0..signals).for_each(|_| studying.signal(Signal::SIGINT));
        assert_eq!(studying.code(), Some(130), "{}", studying.told());
        scene.assert_nothing_is_left();
        assert!(studying.study().problems.iter().any(|problem| problem.contains("ended early by a signal")));
    }
}

#[test]
fn what_a_killed_study_leaves_is_ended_by_the_next() {
    let scene = Scene::set();
    let mut studying = Studying::of(&scene, &[&SMALL[..6], &LONG].concat());
    studying.await_line(" alone: prompt");
    studying.signal(Signal::SIGKILL);
    studying.ended();
    assert!(scene.living().iter().any(processes::Process::is_engine), "engines outlive a study that was killed");
    let mut next = Studying::of(&scene, &SMALL);
    assert_eq!(next.code(), Some(0), "{}", next.told());
    assert!(next.told().contains("ended what an earlier run left"), "{}", next.told());
    scene.assert_nothing_is_left();
}

#[test]
fn an_engine_that_dies_is_told_started_again_and_costs_its_run_alone() {
    let scene = Scene::set();
    let mut studying = Studying::of(&scene, &[&SMALL[..6], &["--seconds", "3", "--warm-up", "0.1"]].concat());
    studying.await_line(" alone: prompt");
    let engines = scene.living();
    engines.iter().find(|process| process.is_engine()).unwrap().signal(Signal::SIGKILL);
    assert_eq!(studying.code(), Some(0), "{}", studying.told());
    let study = studying.study();
    assert!(study.problems.iter().any(|problem| problem.contains("ended with signal 9")), "{:?}", study.problems);
    let ran: Vec<_> = study.cells[0].runs.iter().map(|run| run.arrangement.clone()).collect();
    assert_eq!(ran.len(), 11, "{ran:?}");
    assert!(ran.contains(&Arrangement::Mps), "{ran:?}");
    scene.assert_nothing_is_left();
}

#[test]
fn the_demo_can_be_studied_by_anyone() {
    let directory = tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap();
    let arguments = [&["--demo", "--engines", "2"][..], &SMALL].concat().into_iter().map(str::to_owned);
    let mut studying = Studying::start(directory.path(), &arguments.collect::<Vec<_>>());
    assert_eq!(studying.code(), Some(0), "{}", studying.told());
    assert_eq!(studying.study().cells[0].runs.len(), 12);
    let left = processes::naming(directory.path());
    assert!(left.is_empty(), "left behind: {left:#?}");
}
