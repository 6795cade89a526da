//! The client commands: from the command line to the control socket, and from how it ended to an exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::runtime::Builder;

use super::client_arguments::{ClientCommand, OrderOptions};
use super::exit::ExitStatus;
use super::incidents::incidents;
use super::order::Ordering;
use super::terminal::{Ended, Terminal};
use crate::control::{DEFAULT_SOCKET, Failure, Kind};

/// Exit status of a shell for what Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Asks a running mpswarden, or orders it to do something.
pub fn client(command: ClientCommand, socket: Option<PathBuf>) -> ExitCode {
    let socket = socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit(Err(Failure::new(Kind::Unavailable, format!("can't make a runtime: {error}")))),
    };
    exit(runtime.block_on(carry_out(command, &socket)))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others are orders")]
async fn carry_out(command: ClientCommand, socket: &Path) -> Result<Ended, Failure> {
    match command {
        ClientCommand::Status { json } => Terminal::at(socket, json).status().await,
        ClientCommand::Incidents(options) => incidents(options, socket).await,
        other => match other.order() {
            Some((request, OrderOptions { dry_run, wait, timeout, json })) => {
                let ordering = Ordering { request, dry_run, wait: wait.then_some(timeout) };
                Terminal::at(socket, json).order(&ordering).await
            }
            None => Ok(Ended::Done),
        },
    }
}

fn exit(ended: Result<Ended, Failure>) -> ExitCode {
    match ended {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(failure) => {
            failure.tell();
            status(failure.kind).into()
        }
    }
}

fn status(kind: Kind) -> ExitStatus {
    match kind {
        Kind::Refused | Kind::Unavailable => ExitStatus::Unavailable,
        Kind::Malformed => ExitStatus::Usage,
        Kind::Denied => ExitStatus::Permission,
    }
}
