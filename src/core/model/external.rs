//! Engines that are configured and that others run: where each is found, and through whom it is restarted.

use std::fmt;
use std::path::PathBuf;

use super::{Custody, Powers};

/// A configured engine that others run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Where its processes are found.
    pub at: ExternalAt,
    /// The way in which it is restarted.
    pub restart_by: RestartBy,
}

/// Where the processes of an engine are found that others run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalAt {
    /// A unit of the system's systemd, with its ending.
    SystemdUnit(String),
    /// A container of Docker or Podman, by its name or its id.
    Container(String),
    /// A cgroup, by its path below the root of the hierarchy.
    Cgroup(String),
    /// A file that holds the pid of the main process.
    PidFile(PathBuf),
    /// A regular expression that the command line of the main process matches, and that of no other tree.
    CommandMatches(String),
}

/// The way in which a control daemon or an engine is restarted that others run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RestartBy {
    /// Nobody: it is said who has to do it.
    #[default]
    Nobody,
    /// TERM, then KILL; its supervisor starts it again by itself.
    Signal,
    /// Its systemd or its container engine.
    Supervisor,
    /// These commands, each a program and its arguments.
    Commands {
        /// The command that ends it, and returns once it has ended.
        stop: Vec<String>,
        /// The command that starts it, and returns once it is started.
        start: Vec<String>,
    },
}

impl ExternalAt {
    /// The key of the configuration that names it.
    pub fn key(&self) -> &'static str {
        match self {
            ExternalAt::SystemdUnit(_) => "systemd_unit",
            ExternalAt::Container(_) => "container",
            ExternalAt::Cgroup(_) => "cgroup",
            ExternalAt::PidFile(_) => "pid_file",
            ExternalAt::CommandMatches(_) => "command_matches",
        }
    }

    /// The value of that key.
    pub fn value(&self) -> String {
        match self {
            ExternalAt::SystemdUnit(name) | ExternalAt::Container(name) => name.clone(),
            ExternalAt::Cgroup(path) => path.clone(),
            ExternalAt::PidFile(path) => path.display().to_string(),
            ExternalAt::CommandMatches(pattern) => pattern.clone(),
        }
    }

    /// Whether it names a supervisor that can be asked.
    pub fn has_a_supervisor(&self) -> bool {
        matches!(self, ExternalAt::SystemdUnit(_) | ExternalAt::Container(_))
    }
}

impl fmt::Display for ExternalAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value();
        match self {
            ExternalAt::SystemdUnit(_) => write!(f, "unit {value}"),
            ExternalAt::Container(_) => write!(f, "container {value}"),
            ExternalAt::Cgroup(_) => write!(f, "cgroup {value}"),
            ExternalAt::PidFile(_) => write!(f, "pid file {value}"),
            ExternalAt::CommandMatches(_) => write!(f, "command that matches `{value}`"),
        }
    }
}

impl RestartBy {
    /// Whose such a daemon or engine is, and what may be done to it.
    pub fn custody(&self) -> Custody {
        Custody::Others(match self {
            RestartBy::Nobody => Powers::Look,
            RestartBy::Signal => Powers::Signal,
            RestartBy::Supervisor | RestartBy::Commands { .. } => Powers::Supervisor,
        })
    }
}
