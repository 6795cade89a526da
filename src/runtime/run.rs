//! `mpswarden run`: from a configuration to the end of all its groups.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::LocalSet;

use crate::config::{Configuration, ExitStatus, LogFormat, LogOptions, RunOptions};
use crate::export::web::Gate;
use crate::export::{LogGuard, log};
use crate::host::{clock, notify};

use super::build::{Built, Wishes, build};
use super::control::{DEFAULT_SOCKET, SocketWish};
use super::prepare::prepare;
use super::refusal::Refusal;
use super::signals;

/// Supervises the groups of `configuration` until a signal; `control_socket` as the command line has it.
pub fn run(configuration: Configuration, options: RunOptions, control_socket: Option<PathBuf>) -> ExitCode {
    let guard = match open_log(&options.log) {
        Ok(guard) => guard,
        Err(status) => return status.into(),
    };
    let (sender, requests) = unbounded_channel();
    let hangup = Arc::new(Notify::new());
    let wishes = Wishes {
        listen: options.listen_addresses(&configuration),
        telemetry_path: options.telemetry_path.clone(),
        web_config_file: options.web_config_file.clone(),
        control_socket: SocketWish::of(control_socket, Path::new(DEFAULT_SOCKET)),
        requests,
        story: None,
        file: Some(options.config.clone()),
        hangup: hangup.clone(),
    };
    // Jitter only: that two watchdogs of one rack do not restart in step.
    let seed = clock::now().as_nanos() ^ u64::from(std::process::id());
    let status = supervise(&configuration, wishes, seed, |sender| signals::follow(sender, hangup), sender);
    drop(guard);
    status.into()
}

/// Opens the log. Without one nobody would learn what the watchdog does, so it does not start.
pub(super) fn open_log(options: &LogOptions) -> Result<LogGuard, ExitStatus> {
    let format = match options.format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    log::init(options.level, format).map_err(|_| ExitStatus::Software)
}

/// Prepares, builds and runs the loop on a runtime of its own. `follow` gets the way to make requests.
pub(super) fn supervise<S: Clone>(
    configuration: &Configuration,
    wishes: Wishes,
    seed: u64,
    follow: impl FnOnce(S) -> io::Result<()>,
    requests: S,
) -> ExitStatus {
    match on_runtime(configuration, wishes, seed, follow, requests) {
        Ok(status) => status,
        Err(refusal) => {
            tracing::error!("{refusal}");
            refusal.status
        }
    }
}

fn on_runtime<S: Clone>(
    configuration: &Configuration,
    wishes: Wishes,
    seed: u64,
    follow: impl FnOnce(S) -> io::Result<()>,
    requests: S,
) -> Result<ExitStatus, Refusal> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(|error| Refusal::io("make the runtime", &error))?;
    let local = LocalSet::new();
    let ended = local.block_on(&runtime, async {
        follow(requests).map_err(|error| Refusal::io("follow signals", &error))?;
        let gate = Gate::new(wishes.web_config_file.as_deref()).map_err(Refusal::configuration)?;
        let scheme = gate.scheme();
        let prepared = prepare(configuration, seed).await?;
        let Built { core, server, _control, hooks, keeper, _lock } = build(configuration, prepared, wishes, gate)?;
        for address in &server.local_addresses {
            tracing::info!("serving HTTP on {scheme}://{address}");
        }
        notify::ready();
        let status = core.run().await;
        notify::stopping();
        hooks.finish();
        keeper.finish();
        Ok(status)
    });
    // A thread that hangs in the driver must not keep the process.
    runtime.shutdown_background();
    ended
}
