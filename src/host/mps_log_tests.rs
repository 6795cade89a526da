//! The daemon's log in the words of several drivers, as recorded and as reported.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn recordings() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    let mut logs: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("daemon.log"))
        .filter(|path| path.exists())
        .collect();
    logs.sort();
    let name = |path: &PathBuf| path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    logs.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

fn kind(line: ServerLine) -> &'static str {
    match line {
        ServerLine::Starting { .. } => "starting",
        ServerLine::Ready { .. } => "ready",
        ServerLine::Exited { .. } => "exited",
        ServerLine::Blamed { .. } => "blamed",
        ServerLine::Leaving { .. } => "leaving",
        ServerLine::Fatal { .. } => "fatal",
        ServerLine::Connected { .. } => "connected",
        ServerLine::Exiting { .. } => "exiting",
        ServerLine::Disconnected { .. } => "disconnected",
        ServerLine::Refused { .. } => "refused",
        ServerLine::Full { .. } => "full",
        ServerLine::Pending { .. } => "pending",
        ServerLine::Signalled { .. } => "signalled",
        ServerLine::Torn { .. } => "torn",
        ServerLine::TornAll { .. } => "torn all",
        ServerLine::SomeoneLeft { .. } => "someone left",
        ServerLine::SomeoneGone { .. } => "someone gone",
    }
}

#[test]
fn every_kind_of_line_is_found_as_often_as_it_was_recorded() {
    let mut counts = BTreeMap::new();
    for (_, log) in recordings() {
        for (_, line) in log.lines().filter_map(parse) {
            *counts.entry(kind(line)).or_insert(0) += 1;
        }
    }
    let expected = [
        ("blamed", 4),
        ("connected", 60),
        ("disconnected", 26),
        ("exited", 12),
        ("exiting", 26),
        ("fatal", 5),
        ("leaving", 10),
        ("pending", 1),
        ("ready", 13),
        ("refused", 1),
        ("starting", 13),
        ("torn", 12),
        ("torn all", 5),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn a_client_killed_while_busy_is_said_to_exit_long_before_its_neighbours_fault() {
    let (_, log) = recordings().into_iter().find(|(name, _)| name == "sigkill_busy_client").unwrap();
    let at = |wanted| log.lines().filter_map(parse).find(|(_, line)| *line == wanted).unwrap().0.unix_millis;
    let (left, fatal) = (ServerLine::Exiting { server: 757, client: 769 }, ServerLine::Fatal { server: 757 });
    assert_eq!(at(fatal) - at(left), 162);
}

#[test]
fn stamps_of_a_recording_never_run_backwards_by_much() {
    for (name, log) in recordings() {
        let stamps: Vec<_> = log.lines().filter_map(parse).map(|(stamp, _)| stamp.unix_millis).collect();
        assert!(stamps.windows(2).all(|pair| pair[1] + 50 >= pair[0]), "{name}");
    }
}

#[test]
fn the_fatal_line_names_its_server_and_its_millisecond() {
    let line = "[2026-11-22 19:42:36.957 Server   624] Server is handling a fatal GPU error.";
    let stamp = Stamp { unix_millis: 1_795_376_556_957 };
    assert_eq!(parse(line), Some((stamp, ServerLine::Fatal { server: 624 })));
}

#[test]
fn a_start_names_the_user_that_is_served_and_a_pending_client_its_own() {
    let line = "[2026-11-22 19:43:14.360 Control   885] Starting new server 912 for user 1001";
    assert_eq!(parse(line).unwrap().1, ServerLine::Starting { server: 912, uid: 1001 });
    let line = "[2026-11-22 19:43:14.362 Control   885] NEW CLIENT 907 from user 0: Server is not ready, push client to pending list";
    assert_eq!(parse(line).unwrap().1, ServerLine::Pending { client: 907, uid: 0 });
    let line = "[2026-11-22 19:43:14.360 Control   885] Starting new server 912 for user root";
    assert_eq!(parse(line), None, "a user that is no number");
}

#[test]
fn a_refused_client_comes_with_its_error() {
    let line = "[2026-11-22 19:42:41.1 Server 665] x";
    assert_eq!(parse(line), None, "a short stamp");
    let line =
        "[2026-11-22 19:42:41.123 Server   665] Failed to accept client {PID: 694, Context ID: 0} with status 807";
    assert_eq!(parse(line).unwrap().1, ServerLine::Refused { server: 665, client: 694, status: 807 });
}

#[test]
fn a_server_that_takes_no_more_says_how_many_it_takes() {
    let line =
        "[2026-11-23 02:06:59.331 Server   697] Failed to accept new client. Maximum number of clients (48) reached.";
    assert_eq!(parse(line).unwrap().1, ServerLine::Full { server: 697, limit: 48 });
    assert_eq!(parse(&line.replace("48", "many")), None);
}

#[test]
fn answers_are_read_as_recorded() {
    assert_eq!(pids(""), Some(vec![]));
    assert_eq!(pids("484\n493\n"), Some(vec![484, 493]));
    assert_eq!(pids("Server 1 not found\n"), None);
    assert_eq!(server_state("ACTIVE\n"), Some(ServerState::Active));
    assert_eq!(server_state("FAULT\n"), Some(ServerState::Fault));
    assert_eq!(server_state("Server 1 not found\n"), Some(ServerState::None));
    assert_eq!(server_state("Unknown command \"x\"\n"), None);
}

fn said(text: &str) -> Option<ServerLine> {
    parse(&format!("[2021-06-27 07:30:58.151 {text}")).map(|(_, line)| line)
}

#[test]
fn every_line_that_was_recorded_is_known() {
    for (name, log) in recordings() {
        for line in log.lines() {
            let heard = hear(line);
            assert!(
                !matches!(heard, MpsLine::Strange(..) | MpsLine::Formless | MpsLine::Trouble(..)),
                "{name}: {heard:?} {line}"
            );
        }
    }
}

#[test]
fn a_whole_day_of_r460_is_known_and_its_clients_have_no_names() {
    let log = include_str!("../../tests/fixtures/mps_logs/r460.log");
    let heard: Vec<MpsLine> = log.lines().map(hear).collect();
    let strange = |heard: &&MpsLine| matches!(heard, MpsLine::Strange(..) | MpsLine::Formless | MpsLine::Trouble(..));
    assert_eq!(heard.iter().find(strange), None);
    let lines: Vec<ServerLine> = log.lines().filter_map(parse).map(|(_, line)| line).collect();
    let count = |wanted: &str| lines.iter().filter(|line| kind(**line) == wanted).count();
    assert_eq!(["pending", "starting", "ready", "someone left", "someone gone"].map(count), [2, 1, 1, 3, 3]);
    assert!(lines.contains(&ServerLine::SomeoneLeft { server: 17, contexts: 2 }));
}

#[test]
fn older_drivers_write_as_other_and_say_volta() {
    assert_eq!(
        said("Other    17] Volta MPS: Server is handling a fatal GPU error."),
        Some(ServerLine::Fatal { server: 17 })
    );
    let blamed = Some(ServerLine::Blamed { server: 17, client: 11641 });
    assert_eq!(said("Other    17] Volta MPS: Client {11641, 1} encountered a fatal GPU error."), blamed);
    assert_eq!(said("Other    17] Client {PID: 11641, Context: 1} encountered a fatal GPU error."), blamed);
    let gone = Some(ServerLine::Disconnected { server: 17, client: 9 });
    assert_eq!(said("Other    17] Volta MPS: Client process 9 disconnected"), gone);
    assert_eq!(
        said("Other    17] Volta MPS: Client process disconnected"),
        Some(ServerLine::SomeoneGone { server: 17 })
    );
}

#[test]
fn the_end_of_a_server_is_read_in_its_spellings() {
    let ended = |text: &str| said(&format!("Control     1] Server 95 {text}"));
    assert_eq!(ended("exited with status 1"), Some(ServerLine::Exited { server: 95, status: 1 }));
    assert_eq!(ended("exited with status -1"), Some(ServerLine::Exited { server: 95, status: -1 }));
    assert_eq!(ended("terminated by signal 11."), Some(ServerLine::Signalled { server: 95, signal: 11 }));
    assert_eq!(ended("was killed by signal 9"), Some(ServerLine::Signalled { server: 95, signal: 9 }));
    assert_eq!(ended("exited"), None);
}

#[test]
fn what_went_wrong_with_a_server_is_kept_in_its_own_words() {
    let heard = |text: &str| hear(&format!("[2024-04-29 11:22:10.441 {text}"));
    let trouble = |words: &str| MpsLine::Trouble(425, words.to_owned());
    assert_eq!(
        heard("Legacy Server   425] Failed to start : invalid argument"),
        trouble("Failed to start : invalid argument")
    );
    assert_eq!(
        heard("Other   425] Failed to start : operation not supported"),
        trouble("Failed to start : operation not supported")
    );
    assert_eq!(heard("Server   425] Device is in exclusive mode"), trouble("Device is in exclusive mode"));
    assert_eq!(heard("Server   425] The sky is green"), MpsLine::Strange(425, "The sky is green".to_owned()));
    assert_eq!(
        heard("Control     1] Server encountered a fatal exception. Shutting down"),
        MpsLine::Chatter { server: false }
    );
    assert_eq!(hear("{\"level\":\"info\"}"), MpsLine::Formless);
}

#[test]
fn a_client_without_a_pid_of_ours_waits_as_user() {
    let pending = Some(ServerLine::Pending { client: 0, uid: 1000 });
    assert_eq!(
        said("Control    73] NEW CLIENT 0 from user 1000: Server is not ready, push client to pending list"),
        pending
    );
}

proptest! {
    #[test]
    fn arbitrary_lines_never_panic(line in any::<String>()) {
        let _ = parse(&line);
        let _ = pids(&line);
        let _ = server_state(&line);
    }

    #[test]
    fn mutated_lines_never_panic(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
                                 with in any::<Vec<u8>>()) {
        let logs: Vec<String> = recordings().into_iter().map(|(_, log)| log).collect();
        let lines: Vec<&str> = logs.iter().flat_map(|log| log.lines()).collect();
        let mut bytes = lines[pick.index(lines.len())].as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + with.len() / 2).min(bytes.len()), with);
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }
}
