//! Whoever else is on a domain's GPU and its host, and clients that left its server.

use crate::decide::facts::foreign::Foreign;
use crate::decide::facts::nameless::Nameless;
use crate::decide::facts::newcomers::Killed;
use crate::decide::facts::spread::Seats;
use crate::decide::facts::strangers::Strangers;
use crate::model::Known;

/// Whoever else is on a domain's GPU and its host.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    /// NVML speaks of our pids; false in some containers.
    pub pids_match: bool,
    /// Who computes on its GPU and belongs to no group.
    pub foreign: Foreign,
    /// What /proc says of processes that no engine owns.
    pub strangers: Strangers,
    /// Where its processes are, where its server has several GPUs.
    pub spread: Seats,
    /// Bytes of host memory that are left.
    pub host_available: Known<u64>,
}

/// Clients that left a domain's server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departed {
    /// A client that was killed, in its server's life.
    pub killed: Killed,
    /// A client that left and that the log has no name for.
    pub nameless: Nameless,
}
