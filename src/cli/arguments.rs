//! The command line. Reads arguments, touches nothing.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::attached::attached;
use super::client_arguments::{ClientCommand, length};
#[cfg(feature = "demo")]
use super::demo_arguments::DemoOptions;
use super::exit::ExitStatus;
use super::init::InitOptions;
#[cfg(not(feature = "demo"))]
use super::no_demo_arguments::DemoOptions;
use super::study_arguments::StudyOptions;
use crate::config::{self, Configuration, Problems};

/// The watchdog and Prometheus exporter for NVIDIA MPS groups.
#[derive(Debug, Parser)]
#[command(name = "mpswarden", version, arg_required_else_help = true)]
pub struct Arguments {
    /// The command that was given.
    #[command(subcommand)]
    pub command: Command,
    /// The unix socket over which a running mpswarden is asked and takes orders
    /// [env: MPSWARDEN_CONTROL_SOCKET, not of demo] [default: /run/mpswarden/control.sock; of demo: one in its own
    /// directory].
    #[arg(long, global = true, value_name = "PATH")]
    pub control_socket: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Supervise the groups in a file until SIGTERM or SIGINT.
    Run(RunOptions),
    /// Print the effective configuration, or every problem at once; warn of what would fail later.
    Check(CheckOptions),
    /// Write a configuration to begin with, for the GPUs that are there; never over another file.
    Init(InitOptions),
    /// Print completions for a shell: `mpswarden completions bash > /etc/bash_completion.d/mpswarden`.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or that of a command: `mpswarden man | man -l -`.
    Man {
        /// The command.
        command: Option<String>,
        /// Write the pages of all commands into this directory instead.
        #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
        directory: Option<PathBuf>,
    },
    /// Stand in front of an engine that others start, and become it once its group is ready: `gate -- COMMAND`.
    #[command(disable_help_flag = true)]
    Gate {
        /// Write the same as a small static program, for images without mpswarden, to this path instead.
        #[arg(long, value_name = "FILE")]
        install: Option<PathBuf>,
        /// See `mpswarden gate --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
    /// The same watchdog over a simulated GPU, MPS daemon and engines, with traffic.
    #[cfg_attr(not(feature = "demo"), command(hide = true))]
    Demo(DemoOptions),
    /// Measure whether sharing the GPU under MPS pays for a group's engines: each alone, all under MPS, all without.
    Study(Box<StudyOptions>),
    /// The load of a study; `study` starts it.
    #[command(hide = true)]
    StudyLoad,
    /// A question or an order to a running watchdog.
    #[command(flatten)]
    Client(ClientCommand),
}

/// Options of `check`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CheckOptions {
    /// The configuration.
    pub file: PathBuf,
    /// End with 78 where there is a warning: what may not be meant, or is not there on this machine.
    #[arg(long)]
    pub strict: bool,
}

/// Options of `run`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct RunOptions {
    /// The configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "attach", conflicts_with = "attach")]
    pub config: Option<PathBuf>,
    /// Instead of a configuration: look after the control daemon in this pipe directory, which others run, and after its
    /// clients; change nothing.
    #[arg(long, value_name = "PIPE_DIRECTORY")]
    pub attach: Option<PathBuf>,
    /// A GPU of that daemon, an index or a UUID; may be given several times [default: those that it was given, or all
    /// that there are].
    #[arg(long, value_name = "GPU", requires = "attach")]
    pub gpu: Vec<String>,
    /// Open a gate in that directory, for engines with `mpswarden gate` in front.
    #[arg(long, requires = "attach")]
    pub gate: bool,
    /// End with status 88 once whoever runs the engines has had to restart all of them, or their control daemon, for so
    /// long: in their pod its rules then restart all containers.
    #[arg(long, value_name = "DURATION", value_parser = length)]
    pub exit_for_restart: Option<Duration>,
    /// Where HTTP listens, in place of the configuration's addresses; may be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", value_parser = listen_address)]
    pub listen: Vec<SocketAddr>,
    /// TLS, passwords and headers, in the format of Prometheus' exporter-toolkit.
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
    /// Where the metrics are.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    pub telemetry_path: String,
    /// Options of the log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Options of the log.
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
    /// Lines for people and the journal.
    Text,
    /// One JSON object a line.
    Json,
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
    /// The configuration that was named, or that of the daemon that is there; or everything that is wrong with it.
    pub fn configuration(&self) -> Result<Configuration, Problems> {
        match (&self.config, &self.attach) {
            (Some(file), _) => config::load(file),
            (None, attach) => {
                let mut made = attached(attach.as_deref().unwrap_or(Path::new(".")), &self.gpu)?;
                made.groups.iter_mut().for_each(|group| group.mps.gate = self.gate);
                Ok(made)
            }
        }
    }

    /// The addresses that HTTP listens on: the command line's, else the configuration's.
    pub fn listen_addresses(&self, configuration: &Configuration) -> Vec<SocketAddr> {
        match self.listen.is_empty() {
            true => configuration.web.listen_addresses.clone(),
            false => self.listen.clone(),
        }
    }
}

pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    config::listen_address(text).ok_or_else(|| "an IP address and a port, as in 127.0.0.1:10677".to_owned())
}

pub(super) fn telemetry_path(text: &str) -> Result<String, String> {
    match text.strip_prefix('/') {
        Some(rest)
            if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("a path, as in /metrics".to_owned()),
    }
}

pub(super) fn level(text: &str) -> Result<tracing::Level, String> {
    let known = ["error", "warn", "info", "debug", "trace"];
    match known.contains(&text) {
        true => text.parse().map_err(|_| known.join(", ")),
        false => Err(format!("one of {}", known.join(", "))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, ExitStatus> {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Arguments::read(&argv).map(|arguments| arguments.command)
    }

    #[test]
    fn the_commands_are_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn usage_errors_end_with_64_and_help_and_version_with_0() {
        for line in ["mpswarden", "mpswarden fly", "mpswarden run", "mpswarden check", "mpswarden study --engines 0"] {
            assert_eq!(read(line).unwrap_err(), ExitStatus::Usage, "{line}");
        }
        for line in ["mpswarden --help", "mpswarden --version", "mpswarden study --help"] {
            assert_eq!(read(line).unwrap_err(), ExitStatus::Success, "{line}");
        }
    }

    #[test]
    fn addresses_on_the_command_line_come_before_the_configuration() {
        let Ok(Command::Run(options)) = read("mpswarden run --config x --web.listen-address :9 --log.format json")
        else {
            panic!("run with a file is right");
        };
        assert_eq!(options.listen, ["0.0.0.0:9".parse().unwrap()]);
        assert_eq!(options.log.format, LogFormat::Json);
    }
}
