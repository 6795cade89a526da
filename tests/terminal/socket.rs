//! The socket of a real watchdog: whose it is, what becomes of it, and what mad clients can do.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::scene::{Scene, eventually, program};
use crate::support::watchdog::Watchdog;
use crate::terminal::player::{answer, asked, client, raw, said};

/// The kernel's overflow user, `nobody`.
const NOBODY: u32 = 65534;

fn socket(scene: &Scene) -> PathBuf {
    scene.directory().join("control.sock")
}

/// A watchdog whose socket answers.
fn listening(scene: &Scene) -> Watchdog {
    let watchdog = scene.start();
    watchdog.await_line("the control socket", |line| line.message().starts_with("taking orders on"));
    watchdog
}

fn refusal(answer: &serde_json::Value) -> (&str, &str) {
    let error = &answer["error"];
    (error["kind"].as_str().unwrap_or_default(), error["text"].as_str().unwrap_or_default())
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_watchdog() {
    let scene = Scene::with(1);
    let mut watchdog = listening(&scene);
    let found = fs::symlink_metadata(socket(&scene)).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    assert_eq!(asked(&socket(&scene), &["status"]).0, 0);
    watchdog.await_serving();
    watchdog.stop();
    assert!(!socket(&scene).exists());
    let (code, _, err) = asked(&socket(&scene), &["status"]);
    assert_eq!(code, 69);
    assert!(err.contains("there is no control socket"), "{err}");
}

#[test]
fn the_socket_of_a_crashed_watchdog_is_replaced() {
    let scene = Scene::with(1);
    listening(&scene).crash();
    let (code, _, err) = asked(&socket(&scene), &["status"]);
    assert_eq!(code, 69);
    assert!(err.contains("not running any more"), "{err}");
    let _second = listening(&scene);
    assert_eq!(asked(&socket(&scene), &["status"]).0, 0);
}

#[test]
fn a_second_watchdog_on_the_same_socket_is_refused_and_the_first_goes_on() {
    let (first, second) = (Scene::with(1), Scene::with(1));
    let _watchdog = listening(&first);
    let mut command = Command::new(program());
    command.arg("run").arg("--config").arg(second.file()).arg("--control-socket").arg(socket(&first));
    let (code, _, err) = said(&command.output().unwrap());
    assert_eq!(code, 69, "{err}");
    assert!(err.contains("give this one another --control-socket"), "{err}");
    assert_eq!(asked(&socket(&first), &["status"]).0, 0);
}

#[test]
fn garbage_gets_an_error_and_the_next_caller_an_answer() {
    let scene = Scene::with(1);
    let _watchdog = listening(&scene);
    for (bytes, told) in [
        (&b"\n"[..], "this is no call"),
        (b"GET / HTTP/1.1\r\n\r\n", "this is no call"),
        (b"\xff\xfe\x00\n", "this is no call"),
        (b"{\"version\":1,\"call\":\"sing\"}\n", "no such call"),
        (b"{\"version\":1,\"call\":\"order\",\"verb\":\"restart\"}\n", "no such call"),
        (b"{\"version\":7,\"call\":\"status\"}\n", "this mpswarden speaks 1"),
        (b"{\"version\":1,\"call\":\"status\"}", "its end of line is missing"),
    ] {
        let answer = raw(&socket(&scene), bytes);
        let (kind, text) = refusal(&answer);
        assert_eq!(kind, "malformed", "{text}");
        assert!(text.contains(told), "{text}");
    }
    let deep = [vec![b'['; 60_000], vec![b'\n']].concat();
    assert_eq!(refusal(&raw(&socket(&scene), &deep)).0, "malformed");
    let endless = vec![b'x'; 1 << 20];
    assert!(refusal(&raw(&socket(&scene), &endless)).1.contains("over 64 KiB"));
    assert_eq!(raw(&socket(&scene), b"{\"version\":1,\"call\":\"version\"}\n")["ok"]["protocol"], 1);
}

#[test]
fn half_a_call_is_given_up_after_5_s() {
    let scene = Scene::with(1);
    let _watchdog = listening(&scene);
    let mut stream = UnixStream::connect(socket(&scene)).unwrap();
    stream.write_all(b"{\"version\":1,").unwrap();
    let answer = answer(&stream);
    assert!(refusal(&answer).1.contains("no whole call within 5 s"), "{answer}");
}

#[test]
fn a_flood_of_connections_is_refused_and_delays_nothing() {
    let scene = Scene::with(1);
    let watchdog = listening(&scene);
    // They say nothing for as long as they may: a client that comes meanwhile is answered so.
    let busy = eventually("a refusal for want of a place", || {
        let flood: Vec<_> = (0..64).filter_map(|_| UnixStream::connect(socket(&scene)).ok()).collect();
        let last = flood.last()?;
        last.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(last), &mut line).ok()?;
        Some(line).filter(|line| !line.is_empty())
    });
    assert!(busy.contains("16 control connections are open already"), "{busy}");
    watchdog.await_serving();
    eventually("a place", || (asked(&socket(&scene), &["status"]).0 == 0).then_some(()));
}

#[test]
fn what_the_core_refuses_ends_with_69_and_its_sentence() {
    let scene = Scene::with(1);
    let watchdog = listening(&scene);
    watchdog.await_serving();
    let before = watchdog.engines();
    for words in [&["restart", "no-such-group"][..], &["stop", "no-such-group/x"], &["resume", "no-such-group"]] {
        let (code, out, err) = asked(&socket(&scene), words);
        assert_eq!((code, out.as_str()), (69, ""), "{words:?}: {err}");
        assert!(err.starts_with("mpswarden: ") && err.trim_end().len() > 20, "{err}");
    }
    let stop = raw(&socket(&scene), b"{\"version\":1,\"call\":\"order\",\"verb\":\"stop\"}\n");
    assert!(refusal(&stop).1.contains("SIGTERM"), "{stop}");
    assert_eq!(watchdog.engines(), before);
}

#[test]
fn another_user_can_neither_connect_nor_be_answered() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED another_user_can_neither_connect_nor_be_answered: only root can be another user; sudo");
        return;
    }
    let scene = Scene::with(1);
    let mut watchdog = listening(&scene);
    fs::set_permissions(scene.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = scene.directory().join("client");
    fs::copy(program(), &copy).unwrap();
    let as_nobody = || {
        let mut command = Command::new(&copy);
        command.arg("--control-socket").arg(socket(&scene)).arg("status").uid(NOBODY).gid(NOBODY);
        said(&command.output().unwrap())
    };
    let (code, _, err) = as_nobody();
    assert_eq!(code, 77, "{err}");
    assert!(err.contains("is not yours"), "{err}");
    // Even where its mode was opened by mistake, the caller is checked.
    fs::set_permissions(socket(&scene), fs::Permissions::from_mode(0o666)).unwrap();
    let (code, _, err) = as_nobody();
    assert_eq!(code, 77, "{err}");
    assert!(err.contains("user 65534 may not ask"), "{err}");
    assert_eq!(asked(&socket(&scene), &["status"]).0, 0);
    watchdog.signal(Signal::SIGTERM);
    watchdog.ended();
}

#[test]
fn a_socket_that_was_asked_for_and_cannot_be_had_is_refused() {
    let scene = Scene::with(1);
    let start = |path: &str| {
        let mut command = Command::new(program());
        command.arg("run").arg("--config").arg(scene.file()).args(["--control-socket", path]);
        said(&command.output().unwrap())
    };
    let (code, _, err) = start(&format!("/tmp/{}", "x".repeat(110)));
    assert_eq!(code, 69, "{err}");
    assert!(err.contains("115 bytes long, 107 at most"), "{err}");
    let (code, _, err) = start("/proc/mpswarden/control.sock");
    assert!(code == 69 || code == 77, "{code}: {err}");
    assert!(err.contains("can't make the control socket"), "{err}");
    assert!(client(&socket(&scene), &["status"]).output().unwrap().status.code() == Some(69));
}
