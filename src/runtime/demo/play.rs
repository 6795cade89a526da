//! Sets the stage, runs the watchdog over it for as long as asked, and takes everything away again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::unbounded_channel;

use crate::cli::{self, DemoOptions, ExitStatus, LogOptions};
use crate::config::{self, DEFAULT_LISTEN};
use crate::sim::{Layout, Stage, Traffic};

use super::audience::Spectator;
use super::scenery;
use super::schedule::Schedule;
use crate::runtime::build::Wishes;
use crate::runtime::control::SocketWish;
use crate::runtime::run::{open_log, supervise};
use crate::runtime::signals;

/// The simulated engines' time to start: long enough for a restart to be seen.
pub(super) const STARTUP: Duration = Duration::from_millis(1500);
/// What is logged where nothing was asked for: the story says what happens.
const USUAL_LEVEL: tracing::Level = tracing::Level::WARN;
/// Ports after the default one that are tried where it is in use.
const MORE_PORTS: u16 = 20;
/// Directory that a printed configuration names: a demo's own has another name each time.
const PRINTED_DIRECTORY: &str = "/tmp/mpswarden-demo";

/// Why a demo can't be played.
struct CannotPlay {
    status: ExitStatus,
    why: String,
}

impl From<io::Error> for CannotPlay {
    fn from(error: io::Error) -> Self {
        CannotPlay { status: ExitStatus::Software, why: format!("the demo can't be played: {error}") }
    }
}

/// Plays the demo. The control socket is in its own directory unless the command line names another.
pub fn demo(options: DemoOptions, control_socket: Option<PathBuf>) -> ExitCode {
    let log = LogOptions { level: options.log_level.unwrap_or(USUAL_LEVEL), format: options.log_format };
    let guard = match open_log(&log) {
        Ok(guard) => guard,
        Err(status) => return status.into(),
    };
    let played = if options.print_config { print(&options) } else { play(&options, control_socket) };
    drop(guard);
    match played {
        Ok(status) => status.into(),
        Err(CannotPlay { status, why }) => {
            cli::complain(&why);
            status.into()
        }
    }
}

/// Prints the configuration of a demo with these options. The ports of its engines are free now.
fn print(options: &DemoOptions) -> Result<ExitStatus, CannotPlay> {
    let layout = Layout::plan(Path::new(PRINTED_DIRECTORY), &scenery::options(options)?)?;
    let listen = options.listen.first().copied().unwrap_or(DEFAULT_LISTEN);
    cli::say(&format!(
        "# What `mpswarden demo` runs with. Each demo has a directory of its own, in place of {PRINTED_DIRECTORY}, and \
         other ports.\n{}",
        layout.configuration(&listen.to_string())
    ));
    Ok(ExitStatus::Success)
}

fn play(options: &DemoOptions, control_socket: Option<PathBuf>) -> Result<ExitStatus, CannotPlay> {
    options.refusal().map_or(Ok(()), |why| Err(CannotPlay { status: ExitStatus::Usage, why }))?;
    let directory = directory()?;
    let stage = Arc::new(set(directory.path(), options)?);
    let (listen, taken_port) = listen(options);
    let configuration = config::parse(&stage.configuration(&listen[0].to_string()), Path::new("demo.toml"));
    let configuration = configuration.map_err(io::Error::other)?;
    let control_socket = SocketWish::of(control_socket, &directory.path().join("control.sock"));
    let traffic = Traffic::of_stage(&stage)?;
    let (sender, requests) = unbounded_channel();
    let hangup = Arc::new(Notify::new());
    let (over, ended) = mpsc::channel::<()>();
    let spectator = Arc::new(Spectator::of(options, control_socket.path().to_owned(), taken_port));
    let schedule = Schedule::play(options, stage.clone(), spectator.clone(), sender.clone(), ended)?;
    let wishes = Wishes {
        listen,
        telemetry_path: options.telemetry_path.clone(),
        web_config_file: options.web_config_file.clone(),
        control_socket,
        requests,
        audience: Some(spectator.clone()),
        file: None,
        hangup: hangup.clone(),
        exit_for_restart: None,
    };
    let status = supervise(&configuration, wishes, options.seed, |sender| signals::follow(sender, hangup), sender);
    drop(over);
    // A thread that panicked has injected all that it could.
    let _ = schedule.join();
    let requests = traffic.finish();
    if status == ExitStatus::Success {
        spectator.sum_up(requests);
    }
    drop(stage);
    Ok(status)
}

/// A directory of the demo's own.
fn directory() -> Result<tempfile::TempDir, CannotPlay> {
    tempfile::Builder::new().prefix("mpswarden-").tempdir().map_err(|error| {
        let why = format!(
            "no directory can be made for the demo in {}: {error}; name another one: TMPDIR=/tmp mpswarden demo",
            std::env::temp_dir().display()
        );
        CannotPlay { status: ExitStatus::Unavailable, why }
    })
}

fn set(directory: &Path, options: &DemoOptions) -> Result<Stage, CannotPlay> {
    let stage = Stage::set(directory, &scenery::options(options)?).map_err(|error| {
        if error.kind() != io::ErrorKind::InvalidFilename {
            return error.into();
        }
        let why = format!("TMPDIR is too long for the demo: {error}; name a shorter one: TMPDIR=/tmp mpswarden demo");
        CannotPlay { status: ExitStatus::Unavailable, why }
    })?;
    let known: Vec<&str> = stage.engine_names().collect();
    let mut named = options.injections.iter().filter_map(|injection| injection.engine.as_deref());
    if let Some(unknown) = named.find(|name| !known.contains(name)) {
        let why = format!("there is no engine `{unknown}`; there are {}", known.join(", "));
        return Err(CannotPlay { status: ExitStatus::Usage, why });
    }
    Ok(stage)
}

/// Addresses that HTTP listens on: those that were asked for, else the first free one from the default one on, which is
/// then given with the port that is taken.
fn listen(options: &DemoOptions) -> (Vec<SocketAddr>, Option<u16>) {
    if !options.listen.is_empty() {
        return (options.listen.clone(), None);
    }
    let usual = DEFAULT_LISTEN.port();
    let candidates = (usual..=usual.saturating_add(MORE_PORTS)).map(|port| SocketAddr::new(DEFAULT_LISTEN.ip(), port));
    // Whoever takes it meanwhile is reported as for any other address.
    let free = candidates.into_iter().find(|address| TcpListener::bind(address).is_ok()).unwrap_or(DEFAULT_LISTEN);
    (vec![free], Some(usual).filter(|_| free != DEFAULT_LISTEN))
}
