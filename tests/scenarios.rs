//! One text file an incident: its intent, what happens, and everything that the core decides, with its times.
//!
//! Lines of a file: `#` says the intent, `policy KEY VALUE` changes the default policy, `begin INPUT` breaks something
//! before the start, `at TIME INPUT` breaks
//! something (`world/breaks.rs` has the words), `from TIME` leaves out what was decided before, `until TIME`
//! ends it. The lines below each, indented, are the
//! decision: rewritten by `UPDATE=1 cargo test --test scenarios` and reviewed as a diff.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mpswarden::decide::Policy;
use mpswarden::decide::policy::{IsolationMode, Quarantine, StartOrder, UnknownClients, WhenSpent};
use mpswarden::model::gpu::ComputeMode;
use mpswarden::model::{Fault, GpuIdentity, Mode, Moment};
use world::{World, policies, words};

#[test]
fn every_incident_is_decided_as_its_file_says() {
    let update = std::env::var_os("UPDATE").is_some();
    let (files, next, wrong) = (files(), AtomicUsize::new(0), Mutex::new(Vec::new()));
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
    let right = play("until 5\n");
    assert_eq!(first_difference(&right, &play(&right)), None);
    let late = right.replacen("0.040 do start server", "0.041 do start server", 1);
    assert_ne!(late, right);
    assert!(first_difference(&late, &play(&late)).is_some());
}

#[test]
fn a_decision_that_no_line_expects_fails() {
    let right = play("until 5\n");
    let shorter: String =
        right.lines().filter(|line| !line.contains("do start server")).map(|line| format!("{line}\n")).collect();
    assert!(first_difference(&shorter, &play(&shorter)).is_some());
}

/// Each scenario, in the folder of its subject.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let subjects = entries(&root).filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = subjects.flat_map(|subject| entries(&subject)).collect();
    files.sort();
    files
}

/// Plays a file's inputs and writes the file anew, with what was decided.
fn play(text: &str) -> String {
    let inputs: Vec<&str> = text.lines().filter(|line| !line.starts_with("  ")).collect();
    let settings = inputs.iter().filter_map(|line| line.strip_prefix("policy "));
    let mut world = World::new(settings.fold(policies::one_group(&["qwen-a", "qwen-b", "qwen-c"]), set));
    for line in inputs.iter().filter_map(|line| line.strip_prefix("begin ")) {
        let input = world.parse(line);
        world.break_it(input);
    }
    let mut written = String::new();
    let mut pending: Option<String> = None;
    for line in inputs {
        if let Some(time) = line.strip_prefix("from ") {
            world.run_until(moment(time));
            world.journal.clear();
        }
        if let Some(rest) = line.strip_prefix("at ").or_else(|| line.strip_prefix("until ")) {
            let (time, input) = rest.split_once(' ').unwrap_or((rest, ""));
            world.run_until(moment(time));
            flush(&mut world, &mut written);
            pending = (!input.is_empty()).then(|| input.to_owned());
        }
        writeln!(written, "{line}").unwrap();
        if let Some(input) = pending.take() {
            let input = world.parse(&input);
            world.break_it(input);
        }
    }
    for line in words::status(&world.dog.status(world.now)) {
        writeln!(written, "  {line}").unwrap();
    }
    assert!(world.violations.is_empty(), "rules broken: {:?}\n{written}", world.violations);
    written
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

fn set(mut policy: Policy, setting: &str) -> Policy {
    let words: Vec<&str> = setting.split_whitespace().collect();
    let seconds = |text: &str| Duration::from_secs(text.parse().unwrap());
    if let ["groups", names @ ..] = words.as_slice() {
        let engines = ["one", "two"];
        policy.groups = names.iter().map(|name| policies::group(name, &engines)).collect();
        return policy;
    }
    let group = &mut policy.groups[0];
    match words.as_slice() {
        ["mode", "observe"] => group.mode = Mode::Observe,
        ["newcomers_hang", "enforce"] => drop(group.faults.insert(Fault::NewcomersHang, Mode::Enforce)),
        ["observe", fault] => {
            let fault = Fault::ALL.iter().find(|known| known.as_str() == *fault).unwrap();
            group.faults.insert(*fault, Mode::Observe);
        }
        ["unknown_clients", "kill_on_fault"] => group.unknown_clients = UnknownClients::KillOnFault,
        ["isolation"] => group.isolation.mode = IsolationMode::Enforce,
        ["isolation", "observe"] => group.isolation.mode = IsolationMode::Observe,
        ["isolation_window", time] => group.isolation.window = seconds(time),
        ["quarantine", "apart"] => group.isolation.quarantine = Quarantine::Apart,
        ["quarantine", "outside"] => group.isolation.quarantine = Quarantine::Outside,
        ["quarantine", "stopped"] => group.isolation.quarantine = Quarantine::Stopped,
        ["engines", names @ ..] => group.engines = names.iter().map(|name| policies::engine(name)).collect(),
        ["gpu", "absent"] => policy.gpus[0] = GpuIdentity::absent(policy.gpus[0].uuid.clone(), None),
        ["exclusive"] => policy.gpus[0].compute_mode = ComputeMode::ExclusiveProcess,
        ["budget", number] => group.recovery.budget = number.parse().unwrap(),
        ["engine_budget", number] => group.recovery.engine_budget = number.parse().unwrap(),
        ["when_spent", "hold"] => group.recovery.when_spent = WhenSpent::Hold,
        ["when_spent", "slow"] => group.recovery.when_spent = WhenSpent::Slow,
        ["most", time] => group.recovery.backoff.most = seconds(time),
        ["hang_after", time] => group.engines.iter_mut().for_each(|engine| engine.hang_after = seconds(time)),
        ["sm_limited", name] => {
            group.engines.iter_mut().filter(|e| e.name.as_str() == *name).for_each(|e| e.sm_limited = true);
        }
        ["stable_after", time] => group.recovery.stable_after = seconds(time),
        ["start", "staggered"] => group.recovery.start = StartOrder::Staggered,
        ["start", "parallel"] => group.recovery.start = StartOrder::Parallel,
        ["device_memory_limit", gib] => {
            let limit = gib.parse::<u64>().unwrap() << 30;
            group.engines.iter_mut().for_each(|engine| engine.device_memory_limit = Some(limit));
        }
        ["probe", names @ ..] => {
            group.engines.iter_mut().filter(|e| names.contains(&e.name.as_str())).for_each(|e| e.probe = true);
        }
        ["advice_after", time] => group.overlap.advice_after = seconds(time),
        ["most_slowdown", factor] => group.overlap.most_slowdown = Some(factor.parse().unwrap()),
        ["baseline", rest @ ..] => group.overlap.baselines.push(policies::baseline(rest)),
        ["memory_timeout", time] => group.recovery.memory_timeout = seconds(time),
        _ => panic!("`policy {setting}` is no setting"),
    }
    policy
}
