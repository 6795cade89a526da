//! Newcomers that hang: after a client was killed while it was busy, a server may let no client in any more although it
//! says ACTIVE (NVIDIA knows of it). What is needed to say so: such a death in this server's life, and an engine that
//! has a connection to the daemon's pipe and no client of its own for half a minute.

use std::time::Duration;

use crate::model::Moment;

/// Time for which no client waits by chance: a start has its clients within a second.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(30);

/// A death that such a hang may come from, in the life of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Killed {
    pub server: Option<u32>,
    /// Time of the last kill, and its engine.
    pub last: Option<(Moment, String)>,
}
