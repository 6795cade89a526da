//! The soak (README.md beside this file says what it is): the tests of its parts, and its short form. Python plays it, so
//! that the long form runs over any binary without a build.

use std::path::PathBuf;
use std::process::Command;

use crate::support::needs;

/// The programs beside Python that a soak runs.
const PROGRAMS: [(&str, &str); 2] =
    [("prometheus", "prometheus"), ("prometheus-alertmanager", "prometheus-alertmanager")];

/// `python3` in the repository's root; `None`: it is missing.
fn python(arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(needs::program("python3", "python3")?);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

fn succeeds(mut command: Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
}

fn programs_are_there() -> bool {
    let found: Vec<Option<PathBuf>> = PROGRAMS.iter().map(|(name, package)| needs::program(name, package)).collect();
    found.iter().all(Option::is_some)
}

#[test]
fn rules_are_divided_and_stories_expect_what_they_must() {
    let Some(command) = python(&["-m", "unittest", "discover", "-s", "tests/soak"]) else { return };
    succeeds(command);
}

#[test]
fn a_short_soak_has_no_false_alert_and_misses_none() {
    let short = ["tests/soak/soak.py", "--short", "--alertmanager", "--program", env!("CARGO_BIN_EXE_mpswarden")];
    let Some(command) = python(&short) else { return };
    if programs_are_there() {
        succeeds(command);
    }
}
