//! What the MPS control daemon and server write and answer, as recorded. Pure: text in, values out;
//! what is not known says nothing.

use crate::model::{ServerLine, ServerState};

/// A log line's own time. The daemon writes local time; the watchdog starts it with TZ=UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Milliseconds since 1970 in UTC.
    pub unix_millis: u64,
}

/// What a line of the daemon's log is to the watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MpsLine {
    /// A line that says this, at this time.
    Said(Stamp, ServerLine),
    /// A server's words in which something went wrong.
    Trouble(u32, String),
    /// It is known, and says nothing that matters.
    Chatter {
        /// A server writes it, and not the control daemon.
        server: bool,
    },
    /// A server's line that is not known.
    Strange(u32, String),
    /// It has not the form of such a line.
    Formless,
}

/// One line `[2026-11-22 19:42:36.957 Server   624] Server is handling a fatal GPU error.`, in the words of drivers from
/// r450 to today. Older servers write as `Other` all their life, newer ones while they start, some as `Legacy Server`.
pub fn hear(line: &str) -> MpsLine {
    let Some((stamp, who, pid, text)) = framed(line) else { return MpsLine::Formless };
    let is_server = who != "Control";
    let text = if is_server { without_the_name(text) } else { text };
    let said = if is_server { of_server(pid, text) } else { of_control(text) };
    match said {
        Some(said) => MpsLine::Said(stamp, said),
        None if is_server && is_chatter(text) => MpsLine::Chatter { server: true },
        None if is_server && is_trouble(text) => MpsLine::Trouble(pid, text.to_owned()),
        None if is_server => MpsLine::Strange(pid, text.to_owned()),
        None => MpsLine::Chatter { server: false },
    }
}

/// What a line says; `None` for one that says nothing to the watchdog.
pub fn parse(line: &str) -> Option<(Stamp, ServerLine)> {
    let MpsLine::Said(stamp, said) = hear(line) else { return None };
    Some((stamp, said))
}

/// Stamp, writer, its pid and the text. The writer may be of two words.
fn framed(line: &str) -> Option<(Stamp, &str, u32, &str)> {
    let (head, text) = line.strip_prefix('[')?.split_once("] ")?;
    let (stamp, writer) = head.split_at_checked(23)?;
    let (who, pid) = writer.trim().rsplit_once(' ')?;
    let who = who.trim_end();
    matches!(who, "Control" | "Server" | "Other" | "Legacy Server").then_some(())?;
    Some((parse_stamp(stamp)?, who, pid.parse().ok()?, text.trim_end()))
}

/// Drivers before r525 say with each line which server it is.
fn without_the_name(text: &str) -> &str {
    let names = ["Volta MPS Server: ", "Volta MPS: ", "MPS Server: "];
    names.iter().find_map(|name| text.strip_prefix(name)).unwrap_or(text)
}

/// A server's line.
fn of_server(server: u32, text: &str) -> Option<ServerLine> {
    match text {
        "Server is handling a fatal GPU error." | "Server is handling a fatal GPU error" => {
            return Some(ServerLine::Fatal { server });
        }
        "The following devices will be reset:" => return Some(ServerLine::TornAll { server }),
        "Exiting" => return Some(ServerLine::Leaving { server }),
        "Client process disconnected" => return Some(ServerLine::SomeoneGone { server }),
        _ => {}
    }
    if let Some(rest) = text.strip_prefix("Client disconnected. Number of active client contexts is ") {
        let (contexts, _) = number(rest)?;
        return Some(ServerLine::SomeoneLeft { server, contexts });
    }
    // By one of today's two spellings, or by both numbers alone.
    if let Some(rest) = text.strip_prefix("Client {") {
        let (client, rest) = number(rest.strip_prefix("PID: ").unwrap_or(rest))?;
        return match rest.trim_end_matches('.') {
            rest if rest.ends_with("} connected") => Some(ServerLine::Connected { server, client }),
            rest if rest.contains("} exiting") => Some(ServerLine::Exiting { server, client }),
            rest if rest.contains("} on device ") && rest.ends_with(" to be torn down") => {
                Some(ServerLine::Torn { server, client })
            }
            rest if rest.ends_with("} encountered a fatal GPU error") => Some(ServerLine::Blamed { server, client }),
            _ => None,
        };
    }
    if let Some(rest) = text.strip_prefix("Client process ") {
        let (client, rest) = number(rest)?;
        return (rest.trim_end_matches('.') == " disconnected").then_some(ServerLine::Disconnected { server, client });
    }
    if let Some(rest) = text.strip_prefix("Failed to accept new client. Maximum number of clients (") {
        let (limit, rest) = number(rest)?;
        return (rest == ") reached.").then_some(ServerLine::Full { server, limit });
    }
    let (client, rest) = number(text.strip_prefix("Failed to accept client {PID: ")?)?;
    let status = rest.split_once("} with status ")?.1.parse().ok()?;
    Some(ServerLine::Refused { server, client, status })
}

/// How lines of a server begin that say nothing to the watchdog, of the drivers that were seen.
const BEGINNINGS: [&str; 32] = [
    "Start",
    "Connecting to control daemon",
    "MPS Server connecting to control daemon",
    "connecting to control daemon",
    "Initializing server process",
    "Creating server context on device",
    "Destroy server context on device",
    "Created anonymous shared memory region",
    "Creating worker thread",
    "worker created",
    "CUDA MPS Server for Linux",
    "Display Driver version",
    "Active Threads Percentage set",
    "activeThreadsPercentage set",
    "Device pinned memory limit",
    "Server Priority set",
    "Server has started",
    "MPS Server is started",
    "Received new client request",
    "Status of client",
    "status of client",
    "Server failed to recevie command",
    "Server failed to receive command",
    "Receive command failed, assuming client exit",
    "All clients belonging to error",
    "The following devices will be reset",
    "The following client process",
    "Server has been notified to shutdown",
    "Server was unable to shutdown",
    "Waiting for current clients to finish",
    "Server teardown in progress",
    "MPS server requesting client",
];
/// And how they end.
const ENDINGS: [&str; 3] = ["is associated", "to be torn down", "Client termination succeeded."];

fn is_chatter(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        || BEGINNINGS.iter().any(|known| text.starts_with(known))
        || ENDINGS.iter().any(|known| text.ends_with(known))
}

/// Whether something went wrong, in whatever words. They are kept as words: nothing follows from what they say.
fn is_trouble(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let words = [
        "fail",
        "error",
        "unable",
        "cannot",
        "can't",
        "could not",
        "not supported",
        "denied",
        "invalid",
        "fatal",
        "not permitted",
        "unsupported",
        "refus",
        "exclusive",
        "in use",
        "busy",
    ];
    words.iter().any(|word| text.contains(word))
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
    end_of(rest).map(|(status, signal)| match signal {
        Some(signal) => ServerLine::Signalled { server, signal },
        None => ServerLine::Exited { server, status },
    })
}

/// How a server ended: its status, and the signal where there was one.
fn end_of(text: &str) -> Option<(i32, Option<i32>)> {
    let text = text.trim_end_matches('.');
    if let Some(status) = text.strip_prefix(" exited with status ") {
        return Some((status.trim().parse().ok()?, None));
    }
    let by = [
        " exited with signal ",
        " exited due to signal ",
        " terminated by signal ",
        " killed by signal ",
        " was killed by signal ",
    ];
    let (signal, _) = number(by.iter().find_map(|by| text.strip_prefix(by))?)?;
    Some((-1, Some(signal.try_into().ok()?)))
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
#[path = "mps_log_tests.rs"]
mod tests;
