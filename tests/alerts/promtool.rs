//! promtool and amtool accept what is shipped.

use std::ffi::OsStr;
use std::process::Command;

use crate::alerts::shipped::{files, folder};
use crate::support::needs;

fn accepts(command: &mut Command) {
    let output = command.current_dir(folder("alerts")).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&told));
}

fn promtool(arguments: &[&str], ending: &str) {
    let Some(promtool) = needs::program("promtool", "prometheus") else { return };
    let files = files(&folder("alerts"), ending);
    accepts(Command::new(promtool).args(arguments).args(files.iter().map(|path| path.as_os_str() as &OsStr)));
}

#[test]
fn promtool_accepts_the_rules() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], ".rules.yaml");
}

#[test]
fn the_rules_pass_their_tests() {
    promtool(&["test", "rules"], ".test.yaml");
}

#[test]
fn amtool_accepts_the_example() {
    let Some(amtool) = needs::program("amtool", "prometheus-alertmanager") else { return };
    accepts(Command::new(amtool).args(["check-config", "alertmanager.example.yml"]));
}
