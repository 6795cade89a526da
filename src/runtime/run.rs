//! `mpswarden run`: from a configuration to the end of all its groups.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::LocalSet;

use crate::cli::{ExitStatus, LogFormat, LogOptions, RunOptions};
use crate::config::Configuration;
use crate::control::DEFAULT_SOCKET;
use crate::export::{LogGuard, log};
use crate::host::trees::Trees;
use crate::host::{clock, leftovers, notify};
use crate::web::Gate;

use super::build::{Built, Wishes, build};
use super::control::SocketWish;
use super::doors::Doors;
use super::prepare;
use super::refusal::Refusal;
use super::signals;

/// Upper bound for ending what engines left.
const STRAYS_BOUND: Duration = Duration::from_secs(2);

/// Supervises the groups of `configuration` until a signal; `control_socket` as the command line has it.
pub fn run(configuration: Configuration, options: RunOptions, control_socket: Option<PathBuf>) -> ExitCode {
    let guard = match open_log(&options.log) {
        Ok(guard) => guard,
        Err(status) => return status.into(),
    };
    configuration.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let (sender, requests) = unbounded_channel();
    let hangup = Arc::new(Notify::new());
    let wishes = Wishes {
        listen: options.listen_addresses(&configuration),
        telemetry_path: options.telemetry_path.clone(),
        web_config_file: options.web_config_file.clone(),
        control_socket: SocketWish::of(control_socket, Path::new(DEFAULT_SOCKET)),
        requests,
        audience: None,
        file: options.config.clone(),
        hangup: hangup.clone(),
        exit_for_restart: options.exit_for_restart,
    };
    // Jitter only: that two watchdogs of one rack do not restart in step.
    let seed = clock::now().as_nanos() ^ u64::from(std::process::id());
    let status = supervise(&configuration, wishes, seed, |sender| signals::follow(sender, hangup), sender);
    drop(guard);
    status.into()
}

/// Opens the log. Without one what the watchdog does would not be known, so it does not start.
pub(super) fn open_log(options: &LogOptions) -> Result<LogGuard, ExitStatus> {
    let format = match options.format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    log::init(options.level, format, clock::time_of_day).map_err(|error| {
        // The only words that are not in the log.
        let _ = writeln!(io::stderr(), "mpswarden: the log can't be opened: {error}");
        ExitStatus::Software
    })
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

/// What engines hid from their ends. Nothing else of ours runs any more.
async fn end_strays(trees: &Trees) {
    match leftovers::end_strays(&trees.of_others(), clock::now().after(STRAYS_BOUND)).await {
        Ok(ended) if ended.is_empty() => {}
        Ok(ended) => {
            let pids: Vec<String> = ended.iter().map(ToString::to_string).collect();
            tracing::warn!("ended what engines left outside their sessions: processes {}", pids.join(", "));
        }
        Err(error) => tracing::warn!("can't see what engines left: {error}"),
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
        // Everything that can refuse is asked before anything is ended: a start that fails leaves what serves.
        let found = prepare::look(configuration, seed)?;
        let mut doors = Doors::open(&wishes)?;
        let prepared = prepare::take_over(configuration, found).await?;
        doors.http.try_again();
        let Built { core, server, _control, hooks, keeper, _lock } =
            build(configuration, prepared, wishes, gate, doors)?;
        for address in &server.local_addresses {
            tracing::info!("serving HTTP on {scheme}://{address}");
        }
        let (audience, exporter) = (core.audience.clone(), core.exporter.clone());
        audience.iter().for_each(|audience| {
            audience.opened(scheme, &server.local_addresses);
        });
        notify::ready();
        let trees = core.executor.trees();
        let status = core.run().await;
        audience.iter().for_each(|audience| audience.ended(exporter.incidents()));
        notify::stopping();
        hooks.finish();
        end_strays(&trees).await;
        keeper.finish();
        Ok(status)
    });
    // A thread that hangs in the driver must not keep the process.
    runtime.shutdown_background();
    ended
}
