//! Those who start and end processes of others: systemd and container engines, asked through their own commands, each
//! within a bound. What is asked of them is decided elsewhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use tokio::time::sleep;

use super::bounded::{self, Ran};
use super::containers::Container;
use super::systemd::Unit;
use crate::model::Exit;

/// Upper bound for an answer to a question, and for an order that does not wait for its end.
const ANSWERS: Duration = Duration::from_secs(5);

/// Somebody who runs a control daemon or an engine and can be asked to restart it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// systemd, by the unit.
    Systemd(Unit),
    /// A container engine, by the container.
    Container(Container),
}

/// How a unit or a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plight {
    /// The unit or the container runs.
    Runs {
        /// Pid of its main process; `None`: it has none in particular.
        main: Option<u32>,
        /// Its cgroup, where its supervisor says which.
        cgroup: Option<String>,
    },
    /// Its supervisor starts it, or is about to: why it has no process yet.
    Starts(String),
    /// It is being stopped: how it is.
    Ends(String),
    /// It does not run, and is not about to: how it is.
    Down(String),
    /// It failed, and is not started again: how.
    Failed(String),
    /// There is no such unit or container: which.
    Unknown(String),
}

/// Why a supervisor could not be asked, or did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SupervisorError {
    /// We have no process, descriptor or memory left to ask.
    #[error("{0}")]
    NotAsked(String),
    /// It refused, failed, or did not answer in time.
    #[error("{0}")]
    Failed(String),
}

impl Supervisor {
    /// How it is now.
    pub async fn plight(&self) -> Result<Plight, SupervisorError> {
        match self {
            Supervisor::Systemd(unit) => unit.plight().await,
            Supervisor::Container(container) => container.plight().await,
        }
    }

    /// Has it started. Returns once that was ordered.
    pub async fn start(&self) -> Result<(), SupervisorError> {
        match self {
            Supervisor::Systemd(unit) => unit.start().await,
            Supervisor::Container(container) => container.start().await,
        }
    }

    /// Has it ended, so that it is not started again: in order, and by KILL after `grace`. Returns once that was ordered,
    /// or done.
    pub async fn stop(&self, grace: Duration) -> Result<(), SupervisorError> {
        match self {
            Supervisor::Systemd(unit) => unit.stop(grace).await,
            Supervisor::Container(container) => container.stop(grace).await,
        }
    }

    /// How its main process of this pid ended, where its supervisor says that and the kernel does not.
    pub async fn exit(&self, pid: u32) -> Option<Exit> {
        match self {
            Supervisor::Systemd(unit) => unit.exit(pid).await,
            Supervisor::Container(container) => container.exit().await,
        }
    }
}

/// The environment of a command that restarts what others run: ours, without what marks processes as ours. What it
/// starts is not ours to end.
pub fn environment() -> BTreeMap<OsString, OsString> {
    std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("MPSWARDEN_")).collect()
}

/// Asks by a command. Its answer, whatever its exit status is.
pub(super) async fn ask(words: &[&str]) -> Result<Ran, SupervisorError> {
    within(words, ANSWERS).await
}

/// The same, for an order with a time of its own.
pub(super) async fn within(words: &[&str], bound: Duration) -> Result<Ran, SupervisorError> {
    let command: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    match bounded::run(&command, environment(), "", sleep(bound)).await {
        Ok(ran) => Ok(ran),
        Err(error) if error.is_ours() => Err(SupervisorError::NotAsked(error.to_string())),
        Err(error) => Err(SupervisorError::Failed(error.to_string())),
    }
}

/// Orders by a command, which must succeed.
pub(super) async fn order(words: &[&str], bound: Duration) -> Result<(), SupervisorError> {
    let ran = within(words, bound).await?;
    if ran.succeeded() { Ok(()) } else { Err(SupervisorError::Failed(format!("`{}`: {}", words.join(" "), ran.why()))) }
}

/// Upper bound for an order that returns at once.
pub(super) const AT_ONCE: Duration = ANSWERS;
