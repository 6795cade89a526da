//! What the MPS control daemon and server write and answer, as recorded. Pure: text in, values out;
//! what is not known says nothing.

use crate::model::{ServerLine, ServerState};

/// A log line's own time. The daemon writes local time; the watchdog starts it with TZ=UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Milliseconds since 1970 in UTC.
    pub unix_millis: u64,
}

/// One line `[2026-11-22 19:42:36.957 Server   624] Server is handling a fatal GPU error.`;
/// `None` for a line that says nothing to the watchdog.
pub fn parse(line: &str) -> Option<(Stamp, ServerLine)> {
    let (head, text) = line.strip_prefix('[')?.split_once("] ")?;
    let (stamp, writer) = head.split_at_checked(23)?;
    let mut writer = writer.split_ascii_whitespace();
    let (who, pid) = (writer.next()?, writer.next()?.parse().ok()?);
    let said = match who {
        "Server" => of_server(pid, text.trim_end())?,
        "Control" => of_control(text.trim_end())?,
        _ => return None,
    };
    Some((parse_stamp(stamp)?, said))
}

/// A server's line.
fn of_server(server: u32, text: &str) -> Option<ServerLine> {
    if text == "Server is handling a fatal GPU error." {
        return Some(ServerLine::Fatal { server });
    }
    if text == "Exiting" {
        return Some(ServerLine::Leaving { server });
    }
    if let Some(rest) = text.strip_prefix("Client {PID: ") {
        let (client, rest) = number(rest)?;
        return match rest {
            _ if rest.ends_with("} connected") => Some(ServerLine::Connected { server, client }),
            _ if rest.contains("} exiting.") => Some(ServerLine::Exiting { server, client }),
            _ if rest.ends_with("} encountered a fatal GPU error.") => Some(ServerLine::Blamed { server, client }),
            _ => None,
        };
    }
    if let Some(rest) = text.strip_prefix("Client process ") {
        let (client, rest) = number(rest)?;
        return (rest == " disconnected").then_some(ServerLine::Disconnected { server, client });
    }
    if let Some(rest) = text.strip_prefix("Failed to accept new client. Maximum number of clients (") {
        let (limit, rest) = number(rest)?;
        return (rest == ") reached.").then_some(ServerLine::Full { server, limit });
    }
    let (client, rest) = number(text.strip_prefix("Failed to accept client {PID: ")?)?;
    let status = rest.split_once("} with status ")?.1.parse().ok()?;
    Some(ServerLine::Refused { server, client, status })
}

/// A control daemon's line.
fn of_control(text: &str) -> Option<ServerLine> {
    if let Some(rest) = text.strip_prefix("NEW SERVER ") {
        let (server, rest) = number(rest)?;
        return (rest == ": Ready").then_some(ServerLine::Ready { server });
    }
    if let Some(rest) = text.strip_prefix("Starting new server ") {
        let (server, rest) = number(rest)?;
        let (uid, _) = number(rest.strip_prefix(" for user ")?)?;
        return Some(ServerLine::Starting { server, uid });
    }
    if let Some(rest) = text.strip_prefix("NEW CLIENT ") {
        let (client, rest) = number(rest)?;
        let (uid, rest) = number(rest.strip_prefix(" from user ")?)?;
        return rest.ends_with("push client to pending list").then_some(ServerLine::Pending { client, uid });
    }
    let (server, rest) = number(text.strip_prefix("Server ")?)?;
    let status = rest.strip_prefix(" exited with status ")?.parse().ok()?;
    Some(ServerLine::Exited { server, status })
}

/// The number that `text` begins with, and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// `2026-11-22 19:42:36.957`, by hand: it stands between a fault's line and the decision.
fn parse_stamp(text: &str) -> Option<Stamp> {
    let bytes: &[u8; 23] = text.as_bytes().try_into().ok()?;
    let separators = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':'), (19, b'.')];
    if separators.iter().any(|&(at, byte)| bytes[at] != byte) {
        return None;
    }
    let field = |from: usize, to: usize| -> Option<u64> {
        bytes[from..to].iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
    };
    let days = days_since_1970(field(0, 4)?, field(5, 7)?, field(8, 10)?)?;
    let seconds = ((days * 24 + field(11, 13)?) * 60 + field(14, 16)?) * 60 + field(17, 19)?;
    Some(Stamp { unix_millis: seconds * 1000 + field(20, 23)? })
}

/// Days from 1970-01-01 in the Gregorian calendar; a year counts from March, so that a leap day is its last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + day_of_year).checked_sub(719_468)
}

/// Answer of `get_server_list` or `get_client_list`: pids, one a line; `None` when it is none,
/// `Server 1 not found` for one.
pub fn pids(answer: &str) -> Option<Vec<u32>> {
    answer.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| line.parse().ok()).collect()
}

/// Answer of `get_server_status PID`; `None` for a word that is not known.
pub fn server_state(answer: &str) -> Option<ServerState> {
    match answer.trim() {
        "INITIALIZING" => Some(ServerState::Initializing),
        "ACTIVE" | "Ready" => Some(ServerState::Active),
        "FAULT" => Some(ServerState::Fault),
        text if text.starts_with("Server ") && text.ends_with(" not found") => Some(ServerState::None),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
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
        let line = "[2026-11-23 02:06:59.331 Server   697] Failed to accept new client. Maximum number of clients (48) reached.";
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
}
