//! Suspicions: how strongly each engine is suspected of a fault of the whole group, why, and by which evidence.

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{EngineName, Moment};

words!(
    /// How strongly the evidence speaks against an engine, strongest first.
    Strength {
        /// The engine did it: what was measured leaves no other.
        Convicted = "convicted",
        /// More speaks against it than against any other, and it is no proof.
        Suspected = "suspected",
        /// It may have done it, as others may.
        Weak = "weak",
        /// It did not do it.
        Cleared = "cleared",
    }
);

/// What is thought of one engine after a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Name of the engine.
    pub engine: EngineName,
    /// Strength of the suspicion.
    pub strength: Strength,
    /// Why, a sentence each; also what was found and is no proof.
    pub why: Vec<String>,
}

words!(
    /// Where a piece of evidence comes from.
    EvidenceSource {
        /// The MPS server's log.
        ServerLog = "server_log",
        /// The driver's Xid, from the kernel log or as an event.
        Xid = "xid",
        /// An error in an engine's output.
        Output = "output",
        /// The end of a process, or of its connection to the server.
        Exit = "exit",
        /// What an engine said of its requests.
        Load = "load",
        /// NVML's word on device memory.
        Memory = "memory",
        /// What the watchdog itself did.
        Watchdog = "watchdog",
    }
);

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceLine {
    /// Time of the evidence itself.
    pub at: Moment,
    /// Where it comes from.
    pub source: EvidenceSource,
    /// Which engine it is about; `None`: all of them, or that is not known.
    pub engine: Option<EngineName>,
    /// Sentence for people.
    pub text: String,
}
