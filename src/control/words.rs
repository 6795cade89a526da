//! The words of the control socket: one line of JSON in, one line of JSON out, then the connection ends.
//! Shapes and bounds only.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::Request;

/// Version of these words. A watchdog answers only calls of its own version.
pub(super) const VERSION: u32 = 1;
/// Bytes of a call, its end of line included.
pub(super) const LONGEST_CALL: usize = 64 * 1024;
/// Bytes of an answer that a client takes: 100 incidents at their longest are 12 MB.
pub(super) const LONGEST_ANSWER: usize = 64 << 20;
/// Upper bound for a whole call to come, and for a whole answer to be taken.
pub(super) const IDLE: Duration = Duration::from_secs(5);
/// Upper bound for an answer of the core loop; it takes milliseconds unless it is stuck.
const CORE_BOUND: Duration = Duration::from_secs(10);
/// Upper bound for a configuration to be read, checked against the driver and applied.
const RELOAD_BOUND: Duration = Duration::from_secs(60);

/// A call of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// The document of `/api/v1/status`.
    Status,
    /// The document of `/api/v1/incidents`.
    Incidents {
        /// Only this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// The status as the client of the same version reads it back: no promise holds for its form.
    State,
    /// All incidents as the client of the same version reads them back: no promise holds for their form.
    Remembered,
    /// Do something; the answer is a [`crate::model::Plan`].
    Order {
        /// The order.
        #[serde(flatten, with = "super::order_words")]
        request: Request,
        /// Only say what it would come to.
        #[serde(default)]
        dry_run: bool,
    },
    /// Take up a changed configuration; the answer is a [`crate::model::Plan`] without goals.
    Reload {
        /// Only say what it would come to.
        #[serde(default)]
        dry_run: bool,
    },
    /// The configuration in force, without its secrets; the answer is a [`crate::model::Setup`].
    Setup,
    /// Asks for the version of the running watchdog.
    Version,
}

impl Call {
    /// Upper bound for its answer.
    pub fn bound(&self) -> Duration {
        if matches!(self, Call::Reload { .. }) { RELOAD_BOUND } else { CORE_BOUND }
    }
}

/// A call with the version of its words.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// See [`VERSION`].
    pub version: u32,
    /// The call.
    #[serde(flatten)]
    pub call: Call,
}

/// An answer with the version of its words: `ok` or `error`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    /// See [`VERSION`].
    pub version: u32,
    /// A document of the call's own shape. (No enum: `RawValue` can't be flattened.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Box<RawValue>>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

impl From<Result<Box<RawValue>, Failure>> for Reply {
    fn from(answered: Result<Box<RawValue>, Failure>) -> Self {
        let (ok, error) = match answered {
            Ok(document) => (Some(document), None),
            Err(failure) => (None, Some(failure)),
        };
        Reply { version: VERSION, ok, error }
    }
}

/// Why a call came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The watchdog can't do it as things stand, or what was waited for did not come.
    Refused,
    /// The call is none, or of another version.
    Malformed,
    /// The caller may not ask.
    Denied,
    /// Nobody answers, or not now.
    Unavailable,
}

/// Why a call came to nothing, with the cure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// Kind of the failure; the exit status goes by it.
    pub kind: Kind,
    /// Sentence for people.
    pub text: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, text: impl fmt::Display) -> Failure {
        Failure { kind, text: text.to_string() }
    }
}
