//! Asks a group's control daemon for its server, the server's state and its clients, and makes
//! observations of its log. A refused or unanswered command is told as what it is, never as "none".

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Hands;
use super::reports::Reports;
use crate::model::{CommandResult, GroupName, Moment, Observation, ServerLine, ServerState};

/// A read is answered within this or not at all (a healthy daemon needs 2 ms).
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// One line of a group's daemon log, with `parse` as the log's reader: the line's own time and what
/// it says, given when it was read. `None`: it says nothing that matters.
pub fn log_line(
    group: &GroupName,
    line: &str,
    read_at: Moment,
    parse: impl Fn(&str, Moment) -> Option<(Moment, ServerLine)>,
) -> Option<Observation> {
    let (stamped, line) = parse(line, read_at)?;
    Some(Observation::Log { group: group.clone(), line, stamped })
}

pub(super) async fn look_server(
    hands: Rc<dyn Hands>,
    group: GroupName,
    server: Option<u32>,
    bound: Duration,
    reports: Reports,
) -> Result<(), String> {
    let daemon = Daemon { hands, group, until: Instant::now() + bound, reports };
    let server = match server {
        Some(server) => Some(server),
        // A daemon has one server at a time, for one user.
        None => pids(&daemon.ask("get_server_list").await?)?.first().copied(),
    };
    let state = match server {
        Some(server) => state(&daemon.ask(&format!("get_server_status {server}")).await?, server)?,
        None => ServerState::None,
    };
    let server = server.filter(|_| state != ServerState::None);
    daemon.reports.observed(Observation::Server { group: daemon.group, server, state });
    Ok(())
}

pub(super) async fn look_clients(
    hands: Rc<dyn Hands>,
    group: GroupName,
    server: u32,
    bound: Duration,
    reports: Reports,
) -> Result<(), String> {
    let daemon = Daemon { hands, group, until: Instant::now() + bound, reports };
    let clients = pids(&daemon.ask(&format!("get_client_list {server}")).await?)?;
    daemon.reports.observed(Observation::Clients { group: daemon.group, server, clients });
    Ok(())
}

/// One group's control daemon, for as long as a look lasts.
struct Daemon {
    hands: Rc<dyn Hands>,
    group: GroupName,
    until: Instant,
    reports: Reports,
}

impl Daemon {
    /// The answer to one command; what became of it is an observation of its own.
    async fn ask(&self, command: &str) -> Result<String, String> {
        let timeout = self.until.saturating_duration_since(Instant::now()).min(READ_TIMEOUT);
        let (result, answer) = self.hands.command(&self.group, command, timeout).await;
        self.reports.observed(Observation::Command { group: self.group.clone(), result });
        match result {
            CommandResult::Answered => Ok(answer),
            _ => Err(format!("control daemon of {}: {command}: {result}", self.group)),
        }
    }
}

/// A pid a line; nothing at all is an empty list.
fn pids(answer: &str) -> Result<Vec<u32>, String> {
    let words = answer.split_whitespace();
    words
        .map(|word| word.parse().map_err(|_| format!("the control daemon's answer is no list of pids: {answer:?}")))
        .collect()
}

fn state(answer: &str, server: u32) -> Result<ServerState, String> {
    match answer.trim() {
        "INITIALIZING" => Ok(ServerState::Initializing),
        "ACTIVE" => Ok(ServerState::Active),
        "FAULT" => Ok(ServerState::Fault),
        gone if gone == format!("Server {server} not found") => Ok(ServerState::None),
        _ => Err(format!("the control daemon's answer is no server state: {answer:?}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_answers_are_understood() {
        assert_eq!(pids(""), Ok(vec![]));
        assert_eq!(pids("484\n493\n"), Ok(vec![484, 493]));
        assert_eq!(state("ACTIVE\n", 486), Ok(ServerState::Active));
        assert_eq!(state("FAULT\n", 486), Ok(ServerState::Fault));
        assert_eq!(state("Server 1 not found\n", 1), Ok(ServerState::None));
    }

    #[test]
    fn an_answer_in_another_dialect_is_not_taken_for_none() {
        assert!(pids("Unknown command \"get_server_list\"\n").is_err());
        assert!(pids("Server 7 not found\n").is_err());
        assert!(state("Ready\n", 486).is_err());
        assert!(state("", 486).is_err());
        assert!(state("Server 1 not found\n", 486).is_err());
    }

    #[test]
    fn a_log_line_keeps_its_own_time() {
        let (group, read_at) = (GroupName::from("g"), Moment::from_nanos(9));
        let fatal = ServerLine::Fatal { server: 7 };
        let seen = log_line(&group, "fatal", read_at, |_, _| Some((Moment::from_nanos(5), fatal)));
        assert_eq!(seen, Some(Observation::Log { group: group.clone(), line: fatal, stamped: Moment::from_nanos(5) }));
        assert_eq!(log_line(&group, "chatter", read_at, |_, _| None), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in ".*") {
            let _ = (pids(&answer), state(&answer, 1));
        }
    }
}
