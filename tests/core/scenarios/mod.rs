//! One text file an incident: its intent, what happens, and everything that the core decides, with its times.
//!
//! `tests/scenarios/README.md` explains the language. The indented lines are the decision: rewritten by
//! `UPDATE=1 cargo test --test core scenarios` and reviewed as a diff. `SCENARIO=isolation/` plays those alone.

mod readme;
mod settings;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use core_world::{World, policies, words};
use mpswarden_core::model::{Event, Moment, What};

/// How a line of a scenario file begins.
const LINES: [&str; 7] = ["#", "policy", "begin", "whole", "from", "at", "until"];

#[test]
fn every_incident_is_decided_as_its_file_says() {
    let update = std::env::var_os("UPDATE").is_some();
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    let mut files = files();
    files.retain(|path| path.to_str().unwrap().contains(&wanted));
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let text = std::fs::read_to_string(path).unwrap();
            let played = play(&text);
            if update {
                std::fs::write(path, played).unwrap();
            } else if let Some(difference) = first_difference(&text, &played) {
                wrong.lock().unwrap().push(format!("{}: {difference}", path.display()));
            }
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, usize::from)).for_each(|_| drop(scope.spawn(work)));
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "UPDATE=1 rewrites them; review the diff\n{}", wrong.join("\n"));
}

#[test]
fn every_scenario_says_what_it_is_about_and_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for path in files() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let spelling = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(spelling && !name.starts_with(|c: char| c.is_ascii_digit()), "{}", path.display());
        assert_eq!(path.extension().unwrap(), "txt", "{}", path.display());
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("# "), "{} has no intent", path.display());
        assert!(names.insert(name), "{}: another has this name", path.display());
    }
}

#[test]
fn a_wrong_expectation_fails() {
    let right = play("whole\nuntil 5\n");
    assert_eq!(first_difference(&right, &play(&right)), None);
    let late = right.replacen("0.040 do start server", "0.041 do start server", 1);
    assert_ne!(late, right);
    assert!(first_difference(&late, &play(&late)).is_some());
}

#[test]
fn a_decision_that_no_line_expects_fails() {
    let right = play("whole\nuntil 5\n");
    let shorter: String =
        right.lines().filter(|line| !line.contains("do start server")).map(|line| format!("{line}\n")).collect();
    assert!(first_difference(&shorter, &play(&shorter)).is_some());
}

#[test]
fn the_first_start_is_left_out_up_to_its_last_engine_and_nothing_else() {
    let whole = play("whole\nat 5 fatal trap\nuntil 20\n");
    let short = play("at 5 fatal trap\nuntil 20\n");
    let served = whole.lines().position(|line| line.contains("qwen-c serves after")).unwrap();
    let rest: Vec<&str> = whole.lines().skip(served + 1).collect();
    assert_eq!(short.lines().collect::<Vec<_>>(), rest);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios")
}

/// Each scenario, in the folder of its subject.
fn files() -> Vec<PathBuf> {
    let entries = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let subjects = entries(&root()).filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = subjects.flat_map(|subject| entries(&subject)).collect();
    files.sort();
    files
}

/// Plays a file's inputs and writes the file anew, with what was decided.
fn play(text: &str) -> String {
    let inputs: Vec<&str> = text.lines().filter(|line| !line.starts_with("  ")).collect();
    let known = |line: &&str| LINES.contains(&line.split(' ').next().unwrap());
    assert!(inputs.iter().all(known), "a line begins with none of {LINES:?}:\n{text}");
    let settings = inputs.iter().filter_map(|line| line.strip_prefix("policy "));
    let mut world = World::new(settings.fold(policies::one_group(&["qwen-a", "qwen-b", "qwen-c"]), settings::set));
    for line in inputs.iter().filter_map(|line| line.strip_prefix("begin ")) {
        let input = world.parse(line);
        world.break_it(input);
    }
    let mut written = String::new();
    let mut first_start_is_to_go = !inputs.contains(&"whole");
    for line in inputs {
        if let Some(time) = line.strip_prefix("from ") {
            first_start_is_to_go = false;
            world.run_until(moment(time));
            world.journal.clear();
        }
        let timed = line.strip_prefix("at ").or_else(|| line.strip_prefix("until "));
        let (time, input) = timed.map_or(("", ""), |rest| rest.split_once(' ').unwrap_or((rest, "")));
        if timed.is_some() {
            if std::mem::take(&mut first_start_is_to_go) {
                leave_out_the_first_start(&mut world, moment(time));
            }
            world.run_until(moment(time));
            flush(&mut world, &mut written);
        }
        writeln!(written, "{line}").unwrap();
        if !input.is_empty() {
            let input = world.parse(input);
            world.break_it(input);
        }
    }
    for line in words::status(&world.dog.status(world.now)) {
        writeln!(written, "  {line}").unwrap();
    }
    assert!(world.violations.is_empty(), "rules broken: {:?}\n{written}", world.violations);
    written
}

/// Forgets what was decided until each engine has served, which has to be before the first input.
fn leave_out_the_first_start(world: &mut World, first: Moment) {
    while !all_have_served(world) {
        let next = world.next_moment().filter(|next| *next < first);
        world.run_until(next.expect("not every engine serves before the first input: say `whole`"));
    }
    world.journal.clear();
}

fn all_have_served(world: &World) -> bool {
    let serving = |event: &&Event| matches!(event.what, What::EngineServing { .. });
    let served: BTreeSet<_> = world.events.iter().filter(serving).map(|event| (&event.group, &event.engine)).collect();
    served.len() == world.policy.groups.iter().map(|group| group.engines.len()).sum::<usize>()
}

fn flush(world: &mut World, written: &mut String) {
    for line in world.journal.drain(..) {
        writeln!(written, "  {line}").unwrap();
    }
}

fn first_difference(expected: &str, played: &str) -> Option<String> {
    if expected == played {
        return None;
    }
    let (mut old, mut new) = (expected.lines(), played.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (old.next(), new.next()) {
            (Some(one), Some(two)) if one == two => {}
            (one, two) => return Some(format!("line {number}\n  expected {one:?}\n  decided  {two:?}")),
        }
    }
}

fn moment(text: &str) -> Moment {
    let seconds: f64 = text.parse().unwrap_or_else(|_| panic!("`{text}` is no time"));
    Moment::ZERO.after(Duration::from_millis((seconds * 1000.0).round() as u64))
}
