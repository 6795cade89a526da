//! The command line. Reads arguments, touches nothing.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::configuration::{Configuration, LISTEN};
use super::exit::ExitStatus;
use super::suggest::nearest;
use super::{units, values};

/// What `demo --inject` can do to the simulated group.
pub const INJECTIONS: [&str; 17] = [
    "illegal-address",
    "trap",
    "linger",
    "sigkill-busy",
    "sigkill-idle",
    "device-oom",
    "host-oom",
    "leak",
    "hang",
    "zombie",
    "server-kill",
    "control-kill",
    "control-wedge",
    "outside-mps",
    "foreign-process",
    "foreign-fault",
    "xid-79",
];

/// When the demo's first fault comes, if none is asked for, and each later one after it.
const FIRST_FAULT: Duration = Duration::from_secs(15);
const BETWEEN_FAULTS: Duration = Duration::from_secs(60);

/// The watchdog and Prometheus exporter for NVIDIA MPS groups.
#[derive(Debug, Parser)]
#[command(name = "mpswarden", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Supervise the groups in a file until SIGTERM or SIGINT.
    Run(RunOptions),
    /// Print the effective configuration, or every problem at once.
    Check {
        /// The configuration.
        file: PathBuf,
    },
    /// The same watchdog over a simulated GPU, MPS daemon and engines, with traffic.
    Demo(DemoOptions),
}

/// Of `run`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct RunOptions {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where HTTP listens, in place of the configuration's addresses; may be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_parser = listen_address)]
    pub listen: Vec<SocketAddr>,
    /// Where the metrics are.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    pub telemetry_path: String,
    /// Of the log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Of `demo`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct DemoOptions {
    /// How many engines share the GPU.
    #[arg(long, value_name = "N", default_value = "3", value_parser = engines)]
    pub engines: usize,
    /// How long it lasts.
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = length)]
    pub length: Duration,
    /// A fault, of one engine, at a time: FAULT[:ENGINE]@TIME. May be given several times.
    /// Without it: an illegal address after 15 s and every 60 s.
    #[arg(long = "inject", value_name = "FAULT[:ENGINE]@TIME")]
    pub injections: Vec<Injection>,
    /// Where HTTP listens; may be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_parser = listen_address,
          default_values_t = [LISTEN])]
    pub listen: Vec<SocketAddr>,
    /// Where the metrics are.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    pub telemetry_path: String,
    /// Where randomness comes from: the same number, the same story.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Of the log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct LogOptions {
    /// The least level that is logged: error, warn, info, debug or trace.
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info", value_parser = level)]
    pub level: tracing::Level,
    /// How a line looks.
    #[arg(long = "log.format", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people and the journal.
    Text,
    /// One JSON object a line.
    Json,
}

/// A fault that the demo injects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// One of [`INJECTIONS`].
    pub fault: String,
    /// Which engine; `None`: the demo chooses.
    pub engine: Option<String>,
    /// After the demo's start.
    pub at: Duration,
}

impl Arguments {
    /// The arguments, or the exit code after help, version or what is wrong has been printed.
    pub fn read(argv: &[OsString]) -> Result<Arguments, ExitStatus> {
        Arguments::try_parse_from(argv).map_err(|error| {
            // Nobody is left to tell where even stderr is closed.
            let _ = error.print();
            if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Success }
        })
    }
}

impl RunOptions {
    /// Where HTTP listens: the command line's addresses, else the configuration's.
    pub fn listen_addresses(&self, configuration: &Configuration) -> Vec<SocketAddr> {
        match self.listen.is_empty() {
            true => configuration.web.listen_addresses.clone(),
            false => self.listen.clone(),
        }
    }
}

impl DemoOptions {
    /// What is injected: what was asked for, else an illegal address after 15 s and every 60 s; by time.
    pub fn schedule(&self) -> Vec<Injection> {
        let mut schedule = self.injections.clone();
        let mut at = FIRST_FAULT;
        while self.injections.is_empty() && at < self.length {
            schedule.push(Injection { fault: "illegal-address".to_owned(), engine: None, at });
            at += BETWEEN_FAULTS;
        }
        schedule.sort_by_key(|injection| injection.at);
        schedule
    }
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, at) = text.rsplit_once('@').ok_or("FAULT[:ENGINE]@TIME, as in trap:engine-1@15s")?;
        let (fault, engine) = match what.split_once(':') {
            Some((fault, engine)) => (fault, Some(engine.to_owned())),
            None => (what, None),
        };
        if !INJECTIONS.contains(&fault) {
            return Err(match nearest(fault, INJECTIONS) {
                Some(known) => format!("no such fault; did you mean {known}?"),
                None => format!("no such fault; there are {}", INJECTIONS.join(", ")),
            });
        }
        if engine.as_ref().is_some_and(String::is_empty) {
            return Err("name the engine after the colon, or leave both out".to_owned());
        }
        Ok(Injection { fault: fault.to_owned(), engine, at: length(at)? })
    }
}

fn length(text: &str) -> Result<Duration, String> {
    units::duration(text).ok_or_else(|| units::DURATION_HINT.to_owned())
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    values::listen_address(text).ok_or_else(|| "an IP address and a port, as in 127.0.0.1:10677".to_owned())
}

fn telemetry_path(text: &str) -> Result<String, String> {
    match text.strip_prefix('/') {
        Some(rest)
            if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("a path, as in /metrics".to_owned()),
    }
}

fn level(text: &str) -> Result<tracing::Level, String> {
    let known = ["error", "warn", "info", "debug", "trace"];
    match known.contains(&text) {
        true => text.parse().map_err(|_| known.join(", ")),
        false => Err(format!("one of {}", known.join(", "))),
    }
}

fn engines(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=16).contains(count)).ok_or_else(|| "1 to 16".to_owned())
}
