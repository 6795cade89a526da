//! The first commands of a new user: a configuration to begin with, completions, manual pages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use mpswarden::config::load;

use crate::support::scene::{Scene, program};

fn run(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program()).args(words).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn init_writes_a_configuration_for_the_gpus_that_nvml_shows_and_never_writes_over_one() {
    let scene = Scene::with(1);
    scene.file();
    let library = scene.configuration["nvml_library"].as_str().unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new/mpswarden.toml");
    let (code, out, err) = run(&["init", shown(&file), "--nvml-library", &library]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("is written for 1 GPU") && out.contains("mpswarden check"), "{out}");
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("gpu = \"GPU-") && written.contains("NVIDIA H200"), "{written}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    load(&file).unwrap();
    let (code, _, err) = run(&["init", shown(&file), "--nvml-library", &library]);
    assert!(code == Some(69) && err.contains("is there already, and stays as it is"), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn init_without_a_gpu_says_why_and_writes_a_file_to_fill_in() {
    let (code, out, err) = run(&["init", "-", "--nvml-library", "/nonexistent/libnvml.so"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("# No GPU was found here: cannot load the NVML library"), "{out}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mpswarden.toml");
    fs::write(&file, out).unwrap();
    load(&file).unwrap();
    let link = directory.path().join("link.toml");
    std::os::unix::fs::symlink("/nonexistent/x", &link).unwrap();
    let (code, _, err) = run(&["init", shown(&link), "--nvml-library", "/nonexistent/libnvml.so"]);
    assert!(code == Some(69) && err.contains("is there already"), "a link is something, wherever it leads: {err}");
}

#[test]
fn init_shows_the_engines_that_run_without_their_secrets() {
    let words = ["vllm", "serve", "Qwen/Qwen2.5-0.5B", "--port", "18007", "--api-key", "sk-rosebud-4711"];
    let mut engine = Command::new("sh").args(["-c", "sleep 60; true"]).args(words).spawn().unwrap();
    let (code, out, err) = run(&["init", "-", "--nvml-library", "/nonexistent/libnvml.so"]);
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(&format!("# process {}", engine.id())) && out.contains("# name = \"vllm-18007\""), "{out}");
    assert!(!out.contains("rosebud"), "{out}");
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, err) = run(&["completions", shell]);
        assert!(code == Some(0) && out.contains("incidents") && out.contains("control-socket"), "{shell}: {err}");
    }
    assert_eq!(run(&["completions", "csh"]).0, Some(64));
}

#[test]
fn the_program_and_its_commands_have_manual_pages() {
    let (code, out, _) = run(&["man"]);
    assert!(code == Some(0) && out.contains(".TH mpswarden 1") && out.contains("mpswarden\\-check(1)"), "{out}");
    let (code, out, _) = run(&["man", "incidents"]);
    assert!(code == Some(0) && out.contains("\\-\\-since"), "{out}");
    let (code, _, err) = run(&["man", "fly"]);
    assert!(code == Some(64) && err.contains("there is no command fly"), "{err}");
}

#[test]
fn the_pages_of_all_commands_are_written_into_a_directory_that_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert_eq!(run(&["man", "--directory", path]).0, Some(0));
    for page in ["mpswarden.1", "mpswarden-run.1", "mpswarden-incidents.1"] {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
    let (code, _, err) = run(&["man", "--directory", "/nowhere"]);
    assert!(code == Some(69) && err.contains("/nowhere") && err.contains("name a directory"), "{err}");
}
