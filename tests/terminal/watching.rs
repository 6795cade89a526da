//! `status --watch`: block by block where there is no terminal, and on a terminal that is given back as it was.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use mpswarden::model::GroupState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::needs;
use crate::support::scene::{eventually, program};
use crate::terminal::made;
use crate::terminal::player::{Player, asked, client, ok};

/// A watchdog whose group serves at the first look, and recovers from then on.
fn changing() -> Player {
    let mut looks = 0;
    Player::answering(move |_| {
        looks += 1;
        let mut status = made::well();
        status.groups[0].state = if looks == 1 { GroupState::Serving } else { GroupState::Recovering };
        ok(&made::document(&status))
    })
}

/// A client that does not outlive its test.
struct Watching(Child);

impl Watching {
    fn of(command: &mut Command) -> Watching {
        Watching(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stdout.take().unwrap()).lines().map(Result::unwrap)
    }

    fn errors(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.0.stderr.take().unwrap()).lines().map(Result::unwrap)
    }

    fn interrupt(&self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGINT).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_terminal_each_look_is_a_block_with_its_time_until_ctrl_c() {
    let player = changing();
    let mut watching = Watching::of(&mut client(&player.socket(), &["status", "--watch"]));
    let mut lines = watching.lines();
    let time = lines.next().unwrap();
    assert!(time.ends_with('Z') && time.len() == "2026-11-22T23:05:02Z".len(), "{time}");
    assert!(lines.any(|line| line.starts_with("small-llms  serving")));
    assert!(lines.any(|line| line.starts_with("small-llms  recovering")), "the next look is shown");
    watching.interrupt();
    assert_eq!(watching.code(), Some(0));
    assert!(lines.all(|line| !line.contains('\u{1b}')), "nothing drives what is no terminal");
}

#[test]
fn programs_get_one_document_a_line() {
    let player = changing();
    let mut watching = Watching::of(&mut client(&player.socket(), &["status", "--watch", "--json"]));
    let states: Vec<String> = watching
        .lines()
        .take(2)
        .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap()["groups"][0]["state"].to_string())
        .collect();
    assert_eq!(states, ["\"serving\"", "\"recovering\""]);
    // Nobody reads any more: it has no reason to go on.
    assert_eq!(watching.code(), Some(0));
}

#[test]
fn a_watchdog_that_does_not_answer_at_first_ends_it_and_one_that_restarts_does_not() {
    let (code, _, err) = asked(std::path::Path::new("/nonexistent/control.sock"), &["status", "--watch"]);
    assert!(code == 69 && err.contains("there is no control socket"), "{err}");
    let silent = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&silent);
    let player = Player::answering(move |_| match away.load(Ordering::Relaxed) {
        true => "{\"version\":1,\"error\":{\"kind\":\"unavailable\",\"text\":\"it restarts\"}}\n".to_owned(),
        false => ok(&made::document(&made::well())),
    });
    let mut watching = Watching::of(&mut client(&player.socket(), &["status", "--watch"]));
    let (mut lines, mut errors) = (watching.lines(), watching.errors());
    assert!(lines.any(|line| line.starts_with("small-llms  serving")));
    silent.store(true, Ordering::Relaxed);
    assert_eq!(errors.next().unwrap(), "mpswarden: it restarts");
    silent.store(false, Ordering::Relaxed);
    assert!(lines.any(|line| line.starts_with("small-llms  serving")), "it is asked again");
    watching.interrupt();
    assert_eq!(watching.code(), Some(0));
    assert_eq!(errors.next(), None, "it is said once");
}

#[test]
fn one_that_nobody_reads_ends_though_the_watchdog_does_not_answer() {
    let mut looks = 0;
    let player = Player::answering(move |_| {
        looks += 1;
        match looks {
            1 => ok(&made::document(&made::well())),
            _ => "{\"version\":1,\"error\":{\"kind\":\"unavailable\",\"text\":\"it restarts\"}}\n".to_owned(),
        }
    });
    let mut watching = Watching::of(&mut client(&player.socket(), &["status", "--watch"]));
    let mut lines = watching.lines();
    assert!(lines.any(|line| line.starts_with("small-llms  serving")));
    drop(lines);
    assert_eq!(watching.code(), Some(0));
}

#[test]
fn a_terminal_is_given_back_as_it_was() {
    let Some(script) = needs::program("script", "bsdutils") else { return };
    let player = changing();
    let typed = format!("exec {} --control-socket {} status --watch", program().display(), player.socket().display());
    let mut child = Command::new(script)
        .args(["--quiet", "--return", "--command", &typed, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (send, seen) = mpsc::channel();
    let mut out = child.stdout.take().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = out.read(&mut bytes) {
            let _ = send.send(String::from_utf8_lossy(&bytes[..read]).into_owned());
        }
    });
    let mut shown = String::new();
    eventually("two looks", || {
        shown.extend(seen.try_iter());
        (shown.contains("serving") && shown.contains("recovering")).then_some(())
    });
    assert!(shown.contains("\u{1b}[?1049h") && shown.contains("Ctrl-C ends it"), "{shown:?}");
    // As a person types it: the terminal makes the signal of it.
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    shown.extend(seen.iter());
    let (_, after) = shown.rsplit_once("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l").expect("it is given back");
    assert!(after.contains("small-llms") && after.contains("recovering"), "what was seen last stays: {after:?}");
}
