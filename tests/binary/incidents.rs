//! Incidents outlive the watchdog: on disk as they happen, read back by the next one, and in a bundle without
//! secrets.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use mpswarden::sim::Injection;
use serde_json::{Value, json};

use crate::binary::steps::Step;
use crate::support::scene::{Scene, eventually, program};
use crate::support::watchdog::Watchdog;

const KEPT: usize = 100;

fn directory(scene: &Scene) -> PathBuf {
    Path::new(scene.configuration["state_directory"].as_str().unwrap()).join("incidents")
}

/// Every file's name and content, oldest first.
fn on_disk(scene: &Scene) -> Vec<(String, Value)> {
    let entries = fs::read_dir(directory(scene)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Some((name, serde_json::from_slice(&fs::read(path).ok()?).unwrap_or_default()))
    };
    paths.iter().filter_map(read).collect()
}

/// Waits until the latest on disk has this result.
fn await_result(scene: &Scene, result: &Value) -> (String, Value) {
    eventually(&format!("an incident on disk with the result {result}"), || {
        on_disk(scene).pop().filter(|(_, incident)| incident["result"] == *result)
    })
}

fn recovers(scene: &Scene, watchdog: &Watchdog) {
    let mark = watchdog.mark();
    scene.inject(Injection::IllegalAddress);
    watchdog.await_line_after(mark, "the recovery", |line| line.is("serving", "restart of all clients ended serving"));
}

/// The exit code, stdout and stderr of `mpswarden incidents`.
fn incidents(words: &[&str]) -> (i32, String, String) {
    let output = Command::new(program()).arg("incidents").args(words).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Asks the running watchdog.
fn asked(scene: &Scene, words: &[&str]) -> (i32, String, String) {
    let socket = scene.directory().join("control.sock").display().to_string();
    incidents(&[words, &["--control-socket", &socket]].concat())
}

#[test]
fn a_fault_is_on_disk_and_is_read_there_when_nobody_runs() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    recovers(&scene, &watchdog);
    let (id, incident) = await_result(&scene, &json!("serving"));
    assert_eq!((incident["fault"].as_str(), incident["id"].as_str()), (Some("gpu_fault"), Some(id.as_str())));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(directory(&scene)), mode(directory(&scene).join(format!("{id}.json")))), (0o700, 0o600));
    watchdog.await_metrics("a writing", |metrics| {
        metrics.sum("mpswarden_incident_writes_total", &[("result", "ok")]) > 0.0
    });
    watchdog.stop();
    let state = directory(&scene).parent().unwrap().display().to_string();
    let (code, out, err) = incidents(&["--state-directory", &state]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains(&id) && out.contains("serving"), "{out}");
    let (code, out, _) = incidents(&[&id, "--config", &scene.file().display().to_string()]);
    assert!(code == 0 && out.starts_with("gpu_fault in small-llms  serving\n"), "{out}");
    let (code, _, err) = incidents(&["no-such-id", "--state-directory", &state]);
    assert!(code == 69 && err.contains("no incident \"no-such-id\""), "{err}");
    let (code, _, err) = incidents(&["--state-directory", "/nonexistent"]);
    assert!(code == 69 && err.contains("/nonexistent can't be read"), "{err}");
}

#[test]
fn what_a_crash_cut_off_is_told_by_the_next_watchdog() {
    let (scene, mut watchdog) = Step::Backoff.reached();
    let (id, incident) = await_result(&scene, &Value::Null);
    assert_eq!(incident["ended_at"], Value::Null);
    watchdog.crash();
    let mut next = scene.serving();
    let (code, out, err) = asked(&scene, &[&id]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("gpu_fault in small-llms  watchdog_ended\n"), "{out}");
    let (_, closed) = await_result(&scene, &json!("watchdog_ended"));
    let last = closed["lines"].as_array().unwrap().last().unwrap()["at"].clone();
    assert_eq!((closed["id"].as_str(), &closed["ended_at"]), (Some(id.as_str()), &last));
    next.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn only_the_newest_are_kept_and_a_bad_one_is_named() {
    let scene = Scene::set();
    let mut watchdog = scene.serving();
    recovers(&scene, &watchdog);
    let (_, incident) = await_result(&scene, &json!("serving"));
    watchdog.stop();
    for number in 0..KEPT + 20 {
        let id = format!("20200101T000000.{number:03}-small-llms-gpu_fault");
        let mut old = incident.clone();
        old["id"] = json!(id);
        fs::write(directory(&scene).join(format!("{id}.json")), old.to_string()).unwrap();
    }
    fs::write(directory(&scene).join("20270101T000000.000-torn.json"), "{\"id\": ").unwrap();
    let mut watchdog = scene.serving();
    watchdog.await_line("the bad one", |line| line.message().contains("20270101T000000.000-torn.json: EOF"));
    let (_, out, _) = asked(&scene, &["--json"]);
    let known: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(known["incidents"].as_array().unwrap().len(), KEPT - 1);
    recovers(&scene, &watchdog);
    eventually("the oldest to go", || (on_disk(&scene).len() == KEPT).then_some(()));
    watchdog.stop();
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_costs_no_recovery() {
    let scene = Scene::set();
    fs::create_dir_all(directory(&scene).parent().unwrap()).unwrap();
    fs::write(directory(&scene), "in its place").unwrap();
    let mut watchdog = scene.serving();
    recovers(&scene, &watchdog);
    watchdog.await_line("the trouble", |line| line.message().starts_with("incidents can't be written to"));
    watchdog.await_metrics("a failure", |metrics| {
        metrics.sum("mpswarden_incident_writes_total", &[("result", "failed")]) > 0.0
    });
    assert_eq!(watchdog.ready(), 200);
    fs::remove_file(directory(&scene)).unwrap();
    watchdog
        .await_line("its end", |line| line.message().contains("are written to") && line.message().contains("again"));
    await_result(&scene, &json!("serving"));
    watchdog.stop();
}

/// The parts of a bundle by their names in it.
fn parts(bundle: &Path) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    for part in tar::Archive::new(GzDecoder::new(File::open(bundle).unwrap())).entries().unwrap() {
        let mut part = part.unwrap();
        let mut text = String::new();
        part.read_to_string(&mut text).unwrap();
        let path = part.path().unwrap().into_owned();
        let name: PathBuf = path.components().skip(1).collect();
        parts.push((name.display().to_string(), text));
    }
    parts
}

fn part<'a>(parts: &'a [(String, String)], name: &str) -> &'a str {
    parts.iter().find(|(known, _)| known == name).map_or_else(|| panic!("no {name}: {parts:#?}"), |(_, text)| text)
}

/// A scene with secrets in every place that a configuration has, one engine of which says them all.
fn with_secrets() -> Scene {
    let mut scene = Scene::set();
    let file = scene.directory().join("qwen-a.env");
    fs::write(&file, "DB_PASSWORD=\"s3cret four\"\n").unwrap();
    let says = "echo \"I have $HF_TOKEN and $LICENSE and $DB_PASSWORD\"; echo api_key=s3cret-seven; exec \"$@\"";
    scene.wrap(0, &["env", "AWS_SECRET_ACCESS_KEY=s3cret-five", "sh", "-c", says, "sh"]);
    let engine = scene.engine(0);
    let environment = engine.entry("environment").or_insert_with(|| toml::Table::new().into());
    let environment = environment.as_table_mut().unwrap();
    environment.insert("HF_TOKEN".to_owned(), "s3cret-one".into());
    environment.insert("LICENSE".to_owned(), "Zq81kd02mmQ7s3cret".into());
    environment.insert("PLAIN".to_owned(), "s3cret-two".into());
    engine.insert("environment_file".to_owned(), file.display().to_string().into());
    let hook = ["true", "https://me:s3cret-six@example.com/", "-H", "Authorization: Bearer s3cret-three"];
    let hooks = toml::Table::from_iter([("on_held".to_owned(), hook.map(toml::Value::from).to_vec().into())]);
    scene.configuration.insert("hooks".to_owned(), hooks.into());
    scene
}

#[test]
fn a_bundle_has_what_a_person_would_ask_for_and_no_secret() {
    let scene = with_secrets();
    let mut watchdog = scene.serving();
    recovers(&scene, &watchdog);
    let (id, _) = await_result(&scene, &json!("serving"));
    let apart = scene.stage.directory().join("log/apart");
    fs::create_dir_all(&apart).unwrap();
    fs::write(apart.join("daemon.log"), "of the second control daemon").unwrap();
    let bundle = scene.directory().join("bundle.tar.gz");
    let name = bundle.display().to_string();
    let (code, out, err) = asked(&scene, &[&id, "--bundle", &name, "--with-engine-logs"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("look through it before you send it"), "{out}");
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);

    let parts = parts(&bundle);
    let incident: Value = serde_json::from_str(part(&parts, "incident.json")).unwrap();
    assert_eq!(incident["id"].as_str(), Some(id.as_str()));
    assert!(part(&parts, "incident.txt").starts_with("gpu_fault in small-llms  serving\n"));
    let status: Value = serde_json::from_str(part(&parts, "status.json")).unwrap();
    assert_eq!(status["groups"][0]["name"], "small-llms");
    assert!(part(&parts, "configuration.toml").contains("PLAIN = \"[redacted]\""));
    assert!(part(&parts, "logs/qwen-a.log").contains("I have [redacted] and [redacted] and [redacted]"));
    for log in ["logs/daemon.log", "logs/qwen-b.log", "logs/apart/daemon.log"] {
        part(&parts, log);
    }
    assert!(part(&parts, "kernel.log").contains("Xid"));
    assert!(part(&parts, "version.json").contains("revision"));
    let manifest = part(&parts, "MANIFEST");
    assert!(manifest.contains("logs/qwen-a.log") && manifest.contains("wherever they stand"), "{manifest}");
    assert!(manifest.contains("prompts of users, and answers to them, may stand there"), "{manifest}");
    let left = parts.iter().find(|(_, text)| text.contains("s3cret"));
    assert!(left.is_none(), "{left:#?}");

    let (code, _, err) = asked(&scene, &[&id, "--bundle", &name]);
    assert!(code == 69 && err.contains("is there already: name another, or add --force"), "{err}");
    assert_eq!(asked(&scene, &[&id, "--bundle", &name, "--force"]).0, 0);
    let (code, _, err) = asked(&scene, &["no-such-id", "--bundle", "/nonexistent/x"]);
    assert!(code == 69 && err.contains("no incident"), "{err}");
    watchdog.stop();
}

#[test]
fn a_bundle_can_be_made_when_nobody_runs() {
    let scene = with_secrets();
    let mut watchdog = scene.serving();
    recovers(&scene, &watchdog);
    let (id, _) = await_result(&scene, &json!("serving"));
    watchdog.stop();
    let bundle = scene.directory().join("bundle.tar.gz");
    let file = scene.file().display().to_string();
    let (code, _, err) = incidents(&[&id, "--config", &file, "--bundle", &bundle.display().to_string()]);
    assert_eq!(code, 0, "{err}");
    let parts = parts(&bundle);
    part(&parts, "logs/daemon.log");
    let manifest = part(&parts, "MANIFEST");
    assert!(manifest.contains("missing  status.json: no watchdog was asked"), "{manifest}");
    // Nobody asked for what engines wrote, which may be what their users did.
    assert!(manifest.contains("left out logs/qwen-a.log") && manifest.contains("--with-engine-logs"), "{manifest}");
    let has_words =
        |(name, text): &(String, String)| name.ends_with("qwen-a.log") || text.contains("I have [redacted]");
    assert!(!parts.iter().any(has_words), "{parts:#?}");
    assert!(!parts.iter().any(|(_, text)| text.contains("s3cret")));
}
