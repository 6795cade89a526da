//! What people type for an incident, an engine or the socket, against a socket that the test plays.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use mpswarden::model::Incident;
use serde_json::{Value, json};

use crate::support::scene::program;
use crate::terminal::made;
use crate::terminal::player::{Player, asked, ok, said};

/// A watchdog with two groups that both have an engine `phi`; its orders are kept.
fn two_groups() -> (Player, Arc<Mutex<Vec<Value>>>) {
    let ordered = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&ordered);
    let player = Player::answering(move |call| match call["call"].as_str() {
        Some("order") => {
            kept.lock().unwrap().push(json!([call["verb"], call["group"], call["engine"]]));
            ok(&json!({ "steps": ["do it"], "goals": [] }))
        }
        _ => {
            let small = made::group("small", vec![made::engine("qwen-a"), made::engine("phi")]);
            ok(&made::document(&made::status(vec![small, made::group("big", vec![made::engine("phi")])])))
        }
    });
    (player, ordered)
}

#[test]
fn an_engine_whose_name_is_unique_is_ordered_without_its_group() {
    let (player, ordered) = two_groups();
    for words in [["evict", "qwen-a"], ["stop", "qwen-a"], ["stop", "big"]] {
        let (code, out, err) = asked(&player.socket(), &words);
        assert_eq!((code, out.as_str()), (0, "ordered:\n  - do it\n"), "{err}");
    }
    let expected =
        [json!(["evict", "small", "qwen-a"]), json!(["stop", "small", "qwen-a"]), json!(["stop", "big", null])];
    assert_eq!(*ordered.lock().unwrap(), expected);
}

#[test]
fn an_ambiguous_or_unknown_name_orders_nothing_and_names_the_candidates() {
    let (player, ordered) = two_groups();
    let (code, out, err) = asked(&player.socket(), &["evict", "phi"]);
    assert_eq!((code, out.as_str()), (69, ""));
    assert_eq!(err, "mpswarden: phi may be small/phi or big/phi: write the one that you mean\n");
    let (code, out, err) = asked(&player.socket(), &["release", "qwen-b", "--json"]);
    assert_eq!(code, 69);
    assert!(err.contains("did you mean qwen-a?"), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["error"]["kind"], "refused");
    assert_eq!(*ordered.lock().unwrap(), [] as [Value; 0]);
}

#[test]
fn the_environment_names_the_socket_where_the_command_line_does_not() {
    let (player, _) = two_groups();
    let status = |path: &str, words: &[&str]| {
        let mut command = Command::new(program());
        command.args(words).env("MPSWARDEN_CONTROL_SOCKET", path).stdin(Stdio::null());
        said(&command.output().unwrap())
    };
    let socket = player.socket().display().to_string();
    let (code, out, err) = status(&socket, &["status"]);
    assert!(code == 0 && out.contains("small  serving"), "{out}{err}");
    let (code, _, err) = status(&socket, &["--control-socket", "/nonexistent/x", "status"]);
    assert!(code == 69 && err.contains("/nonexistent/x"), "{err}");
    let (_, _, err) = status("", &["status"]);
    assert!(!err.contains("no control socket :"), "an empty one names nothing: {err}");
}

/// A watchdog that remembers two incidents of one group and a later one of another.
fn remembering() -> Player {
    let [mut first, second] = [0, 1].map(|at| Incident::clone(&made::incidents()[at]));
    first.ended_at = Some(made::NOW);
    let other = Incident { id: "20261122T230600.000-big-gpu_fault".to_owned(), group: "big".into(), ..first.clone() };
    let document = json!({ "incidents": [other, first, second] });
    Player::answering(move |_| ok(&document))
}

fn shown(words: &[&str]) -> (i32, String, String) {
    let player = remembering();
    asked(&player.socket(), &[&["incidents"], words].concat())
}

#[test]
fn an_incident_is_shown_by_latest_by_its_number_or_by_the_beginning_of_its_id() {
    for (words, place) in [
        (&["latest"][..], "gpu_fault in big"),
        (&["latest", "--group", "small-llms"], "gpu_fault in small-llms"),
        (&["3"], "engine_died in small-llms/qwen-b"),
        (&["20261122T2305"], "gpu_fault in small-llms"),
    ] {
        let (code, out, err) = shown(words);
        assert!(code == 0 && out.starts_with(place), "{words:?}: {out}{err}");
    }
    let (code, out, err) = shown(&["20261122T230"]);
    assert_eq!((code, out.as_str()), (69, ""));
    for id in ["20261122T230600.000-big-gpu_fault", "20261122T230502.000-small-llms-gpu_fault"] {
        assert!(err.contains(id), "{err}");
    }
    assert_eq!(shown(&["9"]).0, 69);
}

#[test]
fn a_list_may_be_of_one_group_and_of_the_last_hours() {
    let (code, out, _) = shown(&["--group", "small-llms"]);
    let numbers: Vec<&str> = out.lines().skip(1).map(|line| line.trim_start().split(' ').next().unwrap()).collect();
    assert_eq!((code, numbers), (0, vec!["2", "3"]), "numbers are those of the whole list: {out}");
    let (_, out, _) = shown(&["--since", "1m", "--group", "big"]);
    assert_eq!(out, "no incident of group big in the last 1 min is remembered\n");
    let (_, out, _) = shown(&["--group", "big", "--json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["incidents"].as_array().unwrap().len(), 1);
    assert_eq!(document["incidents"][0]["group"], "big");
}
