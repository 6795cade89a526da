//! What others on the machine can do to a watchdog: hold its port, show it their secrets, stand in its way.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use toml::Value;

use crate::support::http;
use crate::support::processes;
use crate::support::scene::{Scene, eventually, program};
use crate::support::watchdog::Watchdog;

const SECRETS: [&str; 6] =
    ["FORkey0123456789abcdef", "FORplain4711", "FORurl0815", "FORshort", "FORvariable", "FORbearer42"];

/// A CUDA program of a stranger, with all its secrets on its command line.
fn stranger(scene: &Scene) -> Child {
    let [key, plain, url, short, variable, bearer] = SECRETS;
    let mut command = Command::new(scene.stage.program());
    command.args(["sim", "foreign", "spin", "--api-key", &format!("sk-{key}"), "--password", plain]);
    command.args(["--url", &format!("http://u:{url}@h/"), "-p", short, "--env", &format!("PLAIN={variable}")]);
    command.args(["-H", &format!("Authorization: Bearer {bearer}"), "--x", "<b>\u{1b}[31m\u{202e}"]);
    command.args(["--seconds", "600", "--gap", "1000000", "--memory", "4GiB", "--gpu"]).arg(scene.stage.gpu_socket());
    command.env("CUDA_MPS_PIPE_DIRECTORY", "/nonexistent").env("HF_TOKEN", key);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// All text below a directory.
fn text_in(directory: &Path) -> String {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let text = |path: &Path| match path.is_dir() {
        true => text_in(path),
        false => String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned(),
    };
    entries.map(|entry| text(&entry.path())).collect()
}

fn client(scene: &Scene, words: &[&str]) -> String {
    let socket = scene.directory().join("control.sock");
    let answer = Command::new(program()).arg("--control-socket").arg(socket).args(words).output().unwrap();
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

#[test]
fn what_a_strangers_command_line_holds_is_nowhere_to_be_read() {
    let mut scene = Scene::set();
    let told = scene.directory().join("hook");
    let hook = format!("cat >>{}", told.display());
    let hooks = scene.configuration.entry("hooks").or_insert(toml::Table::new().into());
    hooks.as_table_mut().unwrap().insert("on_fault".to_owned(), vec!["sh", "-c", &hook].into());
    let mut watchdog = scene.serving();
    let mut stranger = stranger(&scene);
    let event = watchdog.await_event("foreign_process", &format!("process {} (", stranger.id()));
    assert!(event.message().contains(" sim foreign spin --api-key [redacted]"), "{}", event.message());
    let state = Path::new(scene.configuration["state_directory"].as_str().unwrap()).to_owned();
    eventually("the incident's file", || text_in(&state.join("incidents")).contains("foreign_process").then_some(()));
    eventually("the hook", || fs::read_to_string(&told).ok().filter(|text| text.contains("foreign_process")));
    let pages = ["/", "/?live", "/metrics", "/api/v1/status", "/api/v1/incidents"];
    let mut shown = pages.map(|path| (path.to_owned(), http::get(watchdog.address(), path).unwrap().1)).to_vec();
    for words in [&["status"][..], &["status", "--json"], &["incidents"], &["incidents", "--json"]] {
        shown.push((words.join(" "), client(&scene, words)));
    }
    shown.push(("log".to_owned(), watchdog.told()));
    shown.push(("state".to_owned(), text_in(&state)));
    shown.push(("hook".to_owned(), fs::read_to_string(&told).unwrap()));
    assert!(shown.iter().all(|(_, text)| !text.is_empty()));
    for (place, text) in &shown {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} stands in {place}: {text}");
        }
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{place} drives a terminal: {text}");
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    watchdog.stop();
    scene.assert_nothing_is_left();
}

fn listen_on(scene: &mut Scene, addresses: &[SocketAddr]) {
    let web = scene.configuration["web"].as_table_mut().unwrap();
    let addresses: Vec<Value> = addresses.iter().map(|address| address.to_string().into()).collect();
    web.insert("listen_addresses".to_owned(), addresses.into());
}

#[test]
fn a_taken_port_is_told_of_and_had_once_it_is_free_and_the_groups_are_watched_meanwhile() {
    let mut scene = Scene::set();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    listen_on(&mut scene, &[address, "127.0.0.1:0".parse().unwrap()]);
    let mut watchdog = scene.start();
    let told = watchdog.await_event("http_down", &format!("can't listen on {address}: it is in use by"));
    assert!(told.message().contains("tried again"), "{}", told.message());
    // The other one is served.
    watchdog.await_serving();
    let status = client(&scene, &["status"]);
    assert!(status.contains("HTTP") && status.contains(&address.to_string()), "{status}");
    drop(taken);
    watchdog.await_event("http_up", &address.to_string());
    assert_eq!(http::get(address, "/-/healthy").unwrap().0, 200);
    assert!(!client(&scene, &["status"]).contains(&address.to_string()));
    assert_eq!(watchdog.generation(), 1);
    watchdog.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_port_that_a_stranger_took_after_a_crash_keeps_no_group_down() {
    let mut scene = Scene::set();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    listen_on(&mut scene, &[address]);
    drop(free);
    let mut first = scene.serving();
    first.crash();
    let taken = TcpListener::bind(address).unwrap();
    let mut next = scene.start();
    next.await_event("http_down", "it is in use by");
    for engine in ["qwen-a", "qwen-b"] {
        next.await_engine("serving", engine);
    }
    drop(taken);
    next.await_event("http_up", "");
    next.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn a_start_that_is_refused_leaves_the_engines_that_serve() {
    let scene = Scene::set();
    let mut first = scene.serving();
    first.crash();
    let serving = scene.living();
    let socket = scene.directory().join("control.sock");
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "mine").unwrap();
    let mut refused = scene.start();
    assert_eq!(refused.ended().code(), Some(69), "{}", refused.told());
    assert!(serving.iter().all(|process| processes::lives(process.pid)), "{serving:#?}");
    fs::remove_file(&socket).unwrap();
    let mut next: Watchdog = scene.serving();
    next.stop();
    scene.assert_nothing_is_left();
}

#[test]
fn sockets_of_a_supervisor_are_served_in_place_of_the_configured_addresses() {
    let mut scene = Scene::set();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    listen_on(&mut scene, &[taken.local_addr().unwrap()]);
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut watchdog = Watchdog::start_with_socket(&scene.file(), &passed);
    assert_eq!(watchdog.address(), passed.local_addr().unwrap());
    watchdog.await_serving();
    assert_eq!(watchdog.count("http_down", ""), 0);
    watchdog.stop();
    scene.assert_nothing_is_left();
}
