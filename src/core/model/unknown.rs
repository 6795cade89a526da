//! What can't be known of an engine, and why: said, never guessed.

use serde::{Deserialize, Serialize};

use super::words::words;

words!(
    /// What is asked of an engine.
    Question {
        /// Settings of MPS, and limits, of its GPU processes.
        Limits = "limits",
        /// Its requests, tokens and cache.
        Load = "load",
        /// Whether a client waits for it, by the connections to its port.
        Traffic = "traffic",
        /// The question whether it hangs.
        Hang = "hang",
    }
);

/// A question without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// What is not known.
    pub question: Question,
    /// Why not, for people.
    pub why: String,
}
