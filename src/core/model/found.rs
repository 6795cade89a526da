//! Engines that others started and that were found running.

use serde::{Deserialize, Serialize};

use super::{EngineName, ProcessId};

/// What holds a tree of processes together that others started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bounds {
    /// A cgroup, by its path in /proc/PID/cgroup.
    Cgroup(String),
    /// A process group of a session, by their numbers.
    Group {
        /// Number of the process group.
        group: u32,
        /// Number of its session.
        session: u32,
    },
    /// A process with its descendants, and its session where it leads one.
    Tree(ProcessId),
}

/// A container, as those who run it name it. What is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerName {
    /// Name of its pod.
    pub pod: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Its own name, or its short id.
    pub container: String,
}

/// An engine that was found running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its main process: the oldest of its tree.
    pub main: ProcessId,
    /// What holds its tree together.
    pub bounds: Bounds,
}

/// An engine that nobody configured, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEngine {
    /// Name of the engine here.
    pub name: EngineName,
    /// Place of its processes.
    pub found: Found,
    /// What those who run it call it.
    pub container: ContainerName,
    /// Where it answers, `http://host:port`; empty: that is not known.
    pub url: String,
}
