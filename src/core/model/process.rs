//! Processes: who they are, who owns them, how they ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DomainId, InstanceId};

/// A process that no reused pid can stand in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The pid in the watchdog's namespace.
    pub pid: u32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub started_at: u64,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

/// A process and what it was started as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// Identity of the process.
    pub process: ProcessId,
    /// Its command line, else its name in brackets: one bounded line without control characters.
    pub text: String,
}

/// Who owns a process: the one answer to "whose is it".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// The main process of one incarnation of an engine.
    Engine(InstanceId),
    /// A domain's MPS control daemon.
    Control(DomainId),
    /// A domain's MPS server.
    Server(DomainId),
}

/// Settings of MPS in one process's environment. What is unset is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MpsEnvironment {
    /// Identity of the process.
    pub process: ProcessId,
    /// CUDA_MPS_PIPE_DIRECTORY is that of its group.
    pub own_pipe: bool,
    /// CUDA_MPS_ACTIVE_THREAD_PERCENTAGE is set.
    pub thread_percentage: bool,
    /// Its value in hundredths of a percent; `None`: it is not set, or to no number.
    pub percentage: Option<u32>,
    /// CUDA_MPS_PINNED_DEVICE_MEM_LIMIT is set.
    pub memory_limit: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// It returned this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
    /// The process is gone; how it ended could not be learnt.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(code) => write!(f, "status {code}"),
            Exit::Signal(number) => write!(f, "signal {number}"),
            Exit::Unknown => f.write_str("unknown status"),
        }
    }
}
