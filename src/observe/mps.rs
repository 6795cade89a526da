//! Asks a group's control daemon for its server, the server's state and its clients. A refused or unanswered command is
//! reported as what it is, never as "none".

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::LookIo;
use super::reports::Reports;
use crate::host::mps_log;
use crate::model::{Blindness, CommandResult, DomainId, Observation, ServerState};

/// Upper bound for a command that reads: a healthy daemon needs 2 ms.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn look_server(
    io: Rc<dyn LookIo>,
    domain: DomainId,
    server: Option<u32>,
    bound: Duration,
    reports: Reports,
) -> Result<(), Blindness> {
    let daemon = Daemon { io, domain, until: Instant::now() + bound, reports };
    let server = match server {
        Some(server) => Some(server),
        // A daemon has one server at a time, for one user.
        None => daemon.pids("get_server_list").await?.first().copied(),
    };
    let state = match server {
        Some(server) => daemon.state(server).await?,
        None => ServerState::None,
    };
    let server = server.filter(|_| state != ServerState::None);
    daemon.reports.observed(Observation::Server { domain: daemon.domain, server, state });
    Ok(())
}

pub(super) async fn look_clients(
    io: Rc<dyn LookIo>,
    domain: DomainId,
    server: u32,
    bound: Duration,
    reports: Reports,
) -> Result<(), Blindness> {
    let daemon = Daemon { io, domain, until: Instant::now() + bound, reports };
    let answer = daemon.ask(&format!("get_client_list {server}")).await?;
    if mps_log::server_state(&answer) == Some(ServerState::None) {
        // It ended since it was seen: the daemon says so in the same words as to `get_server_status`.
        daemon.reports.observed(Observation::Server { domain: daemon.domain, server: None, state: ServerState::None });
        return Ok(());
    }
    let clients = understood(mps_log::pids(&answer), &answer)?;
    daemon.reports.observed(Observation::Clients { domain: daemon.domain, server, clients });
    Ok(())
}

/// One group's control daemon, for as long as a look lasts.
struct Daemon {
    io: Rc<dyn LookIo>,
    domain: DomainId,
    until: Instant,
    reports: Reports,
}

impl Daemon {
    /// The answer to one command; what became of it is an observation of its own.
    async fn ask(&self, command: &str) -> Result<String, Blindness> {
        let timeout = self.until.saturating_duration_since(Instant::now()).min(READ_TIMEOUT);
        let (result, answer) = self.io.command(&self.domain, command, timeout).await;
        self.reports.observed(Observation::ControlReply { domain: self.domain.clone(), result });
        match result {
            CommandResult::Answered => Ok(answer),
            CommandResult::NotAsked => Err(Blindness::not_asked(format!("{command} was not asked: {answer}"))),
            _ if answer.is_empty() => {
                Err(Blindness::silent(format!("control daemon of {}: {command}: {result}", self.domain)))
            }
            CommandResult::Refused | CommandResult::Unreachable | CommandResult::Timeout => {
                Err(Blindness::silent(format!("control daemon of {}: {command}: {result}: {answer}", self.domain)))
            }
        }
    }

    async fn pids(&self, command: &str) -> Result<Vec<u32>, Blindness> {
        let answer = self.ask(command).await?;
        understood(mps_log::pids(&answer), &answer)
    }

    async fn state(&self, server: u32) -> Result<ServerState, Blindness> {
        let answer = self.ask(&format!("get_server_status {server}")).await?;
        understood(mps_log::server_state(&answer), &answer)
    }
}

/// What came of an answer; another dialect must not be taken for "none".
fn understood<T>(parsed: Option<T>, answer: &str) -> Result<T, Blindness> {
    parsed.ok_or_else(|| {
        let start: String = answer.chars().take(200).collect();
        Blindness::not_understood(format!("the control daemon said {start:?}"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::model::SourceState;

    #[test]
    fn an_answer_in_another_dialect_is_not_taken_for_none() {
        let answer = "Unknown command \"get_server_list\"\n";
        let error = understood(mps_log::pids(answer), answer).unwrap_err();
        assert_eq!(error.state, SourceState::NotUnderstood);
        assert!(error.why.contains("Unknown command"), "{error:?}");
    }
}
