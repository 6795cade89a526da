//! The client commands: from the command line to the control socket, and from how it ended to an exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::runtime::Builder;

use super::client_arguments::{ClientCommand, OrderOptions, StatusOptions};
use super::exit::ExitStatus;
use super::incidents::incidents;
use super::names::Names;
use super::order::Ordering;
use super::terminal::{Ended, Terminal};
use super::watch::watch;
use crate::control::{Call, Client, DEFAULT_SOCKET, Failure, Kind, Seen};
use crate::model::Request;

/// Exit status of a shell for what Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// The variable that names the control socket where the command line does not.
const SOCKET_VARIABLE: &str = "MPSWARDEN_CONTROL_SOCKET";

/// The control socket that the environment names, for `run` and its clients.
pub fn socket_of_environment() -> Option<PathBuf> {
    std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

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
        ClientCommand::Status(StatusOptions { json, watch: true }) => watch(&Terminal::at(socket, json)).await,
        ClientCommand::Status(StatusOptions { json, watch: false }) => Terminal::at(socket, json).status().await,
        ClientCommand::Incidents(options) => incidents(options, socket).await,
        other => match other.how() {
            Some(how) => order(other, how, socket).await,
            None => Ok(Ended::Done),
        },
    }
}

async fn order(command: ClientCommand, how: OrderOptions, socket: &Path) -> Result<Ended, Failure> {
    let OrderOptions { dry_run, wait, timeout, json } = how;
    let terminal = Terminal::at(socket, json);
    let request = requested(command, socket).await.inspect_err(|failure| terminal.json_failure(failure))?;
    let ordering = Ordering { request, dry_run, wait: wait.then_some(timeout) };
    terminal.order(&ordering).await
}

/// The order with whole names.
async fn requested(command: ClientCommand, socket: &Path) -> Result<Option<Request>, Failure> {
    let names = match command.has_bare_name() {
        true => Names::of(&Client::of(socket).ask::<Seen>(Call::Status).await?.status),
        false => Names::default(),
    };
    command.request(&names).map_err(|why| Failure::new(Kind::Refused, why))
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
