//! Orders, their answers and `--wait`, against a socket that the test plays.

use std::process::Stdio;

use mpswarden::model::{EngineState, GroupState, HeldReason, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::scene::eventually;
use crate::support::schema;
use crate::terminal::made;
use crate::terminal::player::{Player, asked, client, ok, said};

fn plan() -> Value {
    let goal = json!({ "goal": "group_serves", "group": "small-llms", "generation": 3 });
    json!({ "steps": ["kill all 3 engines at once"], "goals": [goal] })
}

/// A watchdog that takes every order, and shows this status at each look.
fn taking(mut look: impl FnMut(u64) -> Status + Send + 'static) -> Player {
    let mut looks = 0;
    Player::answering(move |call| match call["call"].as_str() {
        Some("state") => {
            looks += 1;
            ok(&made::document(&look(looks)))
        }
        _ => ok(&plan()),
    })
}

/// The group after the order, so many seconds later.
fn later(seconds: u64, state: GroupState, generation: u32) -> Status {
    let mut status = made::well();
    status.at = made::at(1000 + seconds);
    status.groups[0].state = state;
    status.groups[0].generation = generation;
    status
}

#[test]
fn an_order_says_what_it_comes_to_and_ends_at_once() {
    let player = taking(|_| made::well());
    let (code, out, err) = asked(&player.socket(), &["restart", "small-llms"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "ordered:\n  - kill all 3 engines at once\n", ""));
    let (code, out, _) = asked(&player.socket(), &["restart", "small-llms", "--dry-run"]);
    assert_eq!((code, out.as_str()), (0, "it would:\n  - kill all 3 engines at once\n"));
    let (code, out, _) = asked(&player.socket(), &["restart", "small-llms", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&out).unwrap()), (0, plan()));
}

#[test]
fn what_is_ordered_arrives_as_it_was_written() {
    let player = Player::answering(|call| {
        let expected = json!({
            "version": 1, "call": "order", "dry_run": true,
            "verb": "hold", "lasts_seconds": 7200.0, "reason": "new model",
        });
        assert_eq!(call, &expected);
        ok(&json!({ "steps": [], "goals": [] }))
    });
    let words = ["hold", "--all", "--for", "2h", "--reason", "new model", "--dry-run"];
    assert_eq!(asked(&player.socket(), &words).0, 0);
}

#[test]
fn waiting_ends_when_the_goal_is_reached() {
    let player = taking(|look| match look {
        1 => later(0, GroupState::Serving, 2),
        2 => later(1, GroupState::Recovering, 3),
        _ => later(2, GroupState::Serving, 3),
    });
    let (code, out, err) = asked(&player.socket(), &["restart", "small-llms", "--wait"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("small-llms serves in generation 3, after "), "{out}");
}

#[test]
fn a_group_that_stays_held_ends_the_wait_with_69_and_why() {
    let player = taking(|look| {
        let mut status = later(look * 2, GroupState::Held, 3);
        status.groups[0].held = Some((HeldReason::MemoryNotBack, "12 GiB are not back".to_owned()));
        status
    });
    let (code, _, err) = asked(&player.socket(), &["restart", "small-llms", "--wait"]);
    assert_eq!(code, 69, "{err}");
    let why = "it came to nothing: small-llms is held (memory_not_back): 12 GiB are not back";
    assert!(err.contains(why), "{err}");
}

#[test]
fn a_group_that_is_held_for_a_moment_does_not_end_the_wait() {
    let player = taking(|look| match look {
        1 => later(0, GroupState::Held, 2),
        2 => later(1, GroupState::Recovering, 3),
        _ => later(9, GroupState::Serving, 3),
    });
    assert_eq!(asked(&player.socket(), &["resume", "small-llms", "--wait"]).0, 0);
}

#[test]
fn the_wait_is_bounded_and_says_how_far_it_came() {
    let player = taking(|look| later(look, GroupState::Recovering, 3));
    let (code, _, err) = asked(&player.socket(), &["restart", "small-llms", "--wait", "--timeout", "500ms"]);
    assert_eq!(code, 69);
    assert!(err.contains("not done after 0 s: small-llms is recovering"), "{err}");
    assert!(err.contains("the order stays in place"), "{err}");
}

#[test]
fn a_group_that_left_the_configuration_ends_the_wait() {
    let player = taking(|look| Status { at: made::at(1000 + 2 * look), groups: Vec::new(), ..made::well() });
    let (code, _, err) = asked(&player.socket(), &["restart", "small-llms", "--wait"]);
    assert_eq!(code, 69);
    assert!(err.contains("small-llms is not there any more"), "{err}");
}

#[test]
fn ctrl_c_leaves_the_order_in_place_and_says_so() {
    let (looked, looks) = std::sync::mpsc::channel();
    let player = taking(move |look| {
        let _ = looked.send(());
        later(look, GroupState::Recovering, 3)
    });
    let mut command = client(&player.socket(), &["restart", "small-llms", "--wait"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Ctrl-C is listened to before the first look.
    eventually("a look at the status", || looks.try_recv().ok());
    eventually("another look", || looks.try_recv().ok());
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let (code, _, err) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, 130, "{err}");
    assert!(err.contains("the order stays in place"), "{err}");
}

#[test]
fn a_refusal_ends_with_69_its_sentence_and_its_json() {
    let refusal = json!({ "version": 1, "error": { "kind": "refused", "text": "no such group: there are a, b" } });
    let player = Player::answering(move |_| refusal.to_string() + "\n");
    let (code, out, err) = asked(&player.socket(), &["stop", "c", "--json"]);
    assert_eq!((code, err.as_str()), (69, "mpswarden: no such group: there are a, b\n"));
    let expected = json!({ "error": { "kind": "refused", "text": "no such group: there are a, b" } });
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
}

#[test]
fn a_watchdog_that_answers_nothing_garbage_or_in_other_words_is_told_apart() {
    for (answer, told) in [
        ("", "hung up without an answer"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "answered what is no answer of mpswarden's"),
        ("{\"version\":2,\"ok\":{}}\n", "words of version 2"),
        ("{\"version\":1,\"ok\":{}}\n", "does not understand"),
    ] {
        let player = Player::answering(move |_| answer.to_owned());
        let (code, out, err) = asked(&player.socket(), &["status"]);
        assert_eq!((code, out.as_str()), (69, ""), "{err}");
        assert!(err.contains(told), "{err}");
    }
}

#[test]
fn an_incident_is_shown_by_its_name_and_json_is_the_document() {
    let document = json!({ "incidents": made::incidents().iter().map(|one| (**one).clone()).collect::<Vec<_>>() });
    let answer = document.clone();
    let player = Player::answering(move |_| ok(&answer));
    let (code, out, _) = asked(&player.socket(), &["incidents"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{out}");
    let (code, out, _) = asked(&player.socket(), &["incidents", "20261122T230502.000-small-llms-gpu_fault"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("gpu_fault in small-llms  serving\n"), "{out}");
    let (_, out, _) = asked(&player.socket(), &["incidents", "--json"]);
    let shown: Value = serde_json::from_str(&out).unwrap();
    schema::assert_is("incidents", &shown);
    assert_eq!(shown["incidents"].as_array().unwrap().len(), document["incidents"].as_array().unwrap().len());
}

/// How the wait for this goal ends, where every look shows this.
fn waited(goal: Value, look: impl Fn(u64) -> Status + Send + 'static) -> (i32, String, String) {
    let mut looks = 0;
    let player = Player::answering(move |call| match call["call"].as_str() {
        Some("state") => {
            looks += 1;
            ok(&made::document(&look(looks)))
        }
        _ => ok(&json!({ "steps": [], "goals": [goal] })),
    });
    asked(&player.socket(), &["evict", "small-llms/qwen-a", "--wait", "--timeout", "20s"])
}

/// Three engines, of which qwen-a is in this state and incarnation, with a process or none.
fn with_engine(look: u64, state: EngineState, incarnation: u32, lives: bool) -> Status {
    let mut status = later(2 * look, GroupState::Degraded, 2);
    let engine = &mut status.groups[0].engines[0];
    (engine.state, engine.incarnation) = (state, incarnation);
    if !lives {
        engine.main = None;
        engine.clients.clear();
    }
    status
}

#[test]
fn an_engine_serves_only_in_the_incarnation_that_was_promised() {
    let goal = || json!({ "goal": "engine_serves", "group": "small-llms", "engine": "qwen-a", "incarnation": 2 });
    let (code, out, err) = waited(goal(), |look| match look {
        1 => with_engine(look, EngineState::Serving, 1, true),
        2 => with_engine(look, EngineState::Stopped, 1, false),
        _ => with_engine(look, EngineState::Serving, 2, true),
    });
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("small-llms/qwen-a serves in incarnation 2"), "{out}");
    let (code, _, err) = waited(goal(), |look| with_engine(look, EngineState::Quarantined, 2, false));
    assert_eq!(code, 69);
    assert!(err.contains("small-llms/qwen-a is quarantined"), "{err}");
}

#[test]
fn an_engine_is_stopped_only_once_none_of_its_processes_is_left() {
    let goal = json!({ "goal": "engine_stopped", "group": "small-llms", "engine": "qwen-a" });
    let (code, out, err) = waited(goal, |look| match look {
        1 => with_engine(look, EngineState::Stopping, 1, true),
        2 => with_engine(look, EngineState::Stopped, 1, true),
        _ => with_engine(look, EngineState::Stopped, 1, false),
    });
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("small-llms/qwen-a is stopped"), "{out}");
}

#[test]
fn an_order_without_goals_is_done_at_once() {
    let player = Player::answering(|_| ok(&json!({ "steps": ["hold small-llms"], "goals": [] })));
    let (code, out, _) = asked(&player.socket(), &["hold", "small-llms", "--reason", "x", "--wait"]);
    assert_eq!((code, out.as_str()), (0, "ordered:\n  - hold small-llms\ndone at once\n"));
}
