//! The product on hosts as people have them (README.md beside this file says how): the package under a real systemd, the
//! image in a container. Python plays them, so that they run over any package without a build.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::deploy::package_of;
use crate::support::needs;

/// Exit status of a play that this machine can't have.
const SKIPPED: i32 = 77;

/// Plays it, unless a program is missing, or this machine can't have it.
fn play(script: &str, arguments: &[&Path]) {
    let Some(python) = needs::program("python3", "python3") else { return };
    let mut command = Command::new(python);
    command.arg(Path::new("tests/hosts").join(script)).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let required = std::env::var_os("MPSWARDEN_REQUIRE_ALL").is_some_and(|value| value == "1");
    if output.status.code() == Some(SKIPPED) && !required {
        // Not eprintln!, which the harness swallows for tests that pass.
        let _ = writeln!(std::io::stderr(), "{script}: {said}");
        return;
    }
    assert!(output.status.success(), "{script}: {}\n{said}", output.status);
}

#[test]
fn the_package_lives_on_a_debian_with_systemd_from_its_installation_to_its_purge() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(old) = package_of(old.path(), "0.1.0-1").map(|package| (old, package)) else { return };
    let Some(new) = package_of(new.path(), "0.1.0-2").map(|package| (new, package)) else { return };
    play("systemd.py", &[&old.1, &new.1]);
}

#[test]
fn units_of_daemon_and_engines_are_watched_and_start_in_order_behind_the_gate() {
    play("units.py", &[Path::new(env!("CARGO_BIN_EXE_mpswarden"))]);
}

#[test]
fn the_stand_in_for_kubelet_does_what_kubelet_does() {
    play("kubelet_test.py", &[]);
}

#[test]
fn the_sidecars_pod_recovers_in_order_from_a_fault_in_one_engines_container() {
    play("sidecar.py", &[Path::new(env!("CARGO_BIN_EXE_mpswarden"))]);
}

#[test]
fn the_node_agent_follows_daemons_and_pods_that_it_did_not_start() {
    play("agent.py", &[Path::new(env!("CARGO_BIN_EXE_mpswarden"))]);
}

#[test]
fn engines_in_units_of_others_are_found_and_restarted_through_systemd() {
    play("external_units.py", &[Path::new(env!("CARGO_BIN_EXE_mpswarden"))]);
}

#[test]
fn the_image_runs_by_the_command_that_the_documentation_shows() {
    play("container.py", &[Path::new(env!("CARGO_BIN_EXE_mpswarden"))]);
}
