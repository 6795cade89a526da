//! What is known about a fault of the whole group at one moment, as plain data. Nothing is judged here.

use std::time::Duration;

use crate::model::{EngineName, Exit, Moment};

/// Everything that is weighed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Evidence {
    /// The fault's own time: the fatal line's stamp, where there is one.
    pub fault_at: Moment,
    /// Kind of the fault in the server's log.
    pub kind: FaultKind,
    /// A process of no engine was a client of the server, or that is not known.
    pub strangers: bool,
    /// A client left shortly before it, and the log of this driver does not say whose.
    pub someone_left: Option<Moment>,
    /// Faults before this one that are remembered and without a conviction.
    pub earlier: u32,
    /// Engines printed errors shortly before it that no fact confirmed: what they print now is worth nothing.
    pub doubtful: bool,
    /// Every engine of the group.
    pub engines: Vec<EngineEvidence>,
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// A fatal line that blames no client: a kernel that traps (measured).
    Trap,
    /// A fatal line that blames a client: an illegal address, or a client that died with work in flight.
    Memory,
    /// No fatal line was seen.
    Unknown,
}

/// What is known of one engine.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EngineEvidence {
    /// Name of the engine.
    pub engine: EngineName,
    /// It had a process at the fault, or shortly before it.
    pub there: bool,
    /// Times since which, and until which reading before the fault, it was seen without work; `None`: it had work, or
    /// that is not known.
    pub idle: Option<(Moment, Moment)>,
    /// Requests running and waiting as last read, and when.
    pub requests: Option<(f64, f64, Moment)>,
    /// The first fatal CUDA error in its output about this fault.
    pub error: Option<(Moment, u32)>,
    /// When its first process left the server, if that was before the fault.
    pub left: Option<Moment>,
    /// How its main process ended, where that was not the watchdog's doing.
    pub exit: Option<(Moment, Exit)>,
    /// The watchdog was taking it out when the fault came.
    pub evicted: bool,
    /// The server's log names it.
    pub blamed: bool,
    /// An Xid's line names it.
    pub in_xid: bool,
    /// Start of its process.
    pub started: Moment,
    /// Bytes of device memory, and when they were read. What a jump would say was never measured.
    pub memory: Option<(u64, Moment)>,
    /// Number of the `earlier` faults in which it was not cleared.
    pub before: u32,
}

impl EngineEvidence {
    /// An engine that is there and of which nothing else is known.
    pub(crate) fn of(engine: EngineName) -> Self {
        EngineEvidence {
            engine,
            there: true,
            idle: None,
            requests: None,
            error: None,
            left: None,
            exit: None,
            evicted: false,
            blamed: false,
            in_xid: false,
            started: Moment::ZERO,
            memory: None,
            before: 0,
        }
    }
}

impl Evidence {
    /// How long before the fault something was.
    pub(crate) fn ahead(&self, at: Moment) -> Duration {
        self.fault_at.since(at)
    }
}
