//! What an engine says of its own load, and what its processes use. Plain figures; nothing is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Moment;
use super::{EngineKind, ProcessId};

/// An engine's load, read from its own metrics (by the names that its dialect has). What it does not show is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineLoad {
    /// Requests that it works on.
    pub running: Option<f64>,
    /// Requests that wait in its queue.
    pub waiting: Option<f64>,
    /// Share of its KV cache in use, 0 to 1.
    pub kv_cache: Option<f64>,
    /// Prompt tokens since its start; vLLM counts a prompt's when its prefill ends.
    pub prompt_tokens: Option<f64>,
    /// Generated tokens since its start.
    pub generation_tokens: Option<f64>,
    /// Requests that ended since its start, well or not.
    pub requests: Option<f64>,
    /// A figure that changes while it works on requests, whatever it counts (iterations, tokens a second): only
    /// whether it moved is of interest.
    pub steps: Option<f64>,
    /// Its model is put to sleep: it takes no request until it is woken.
    pub asleep: Option<bool>,
    /// The model it serves.
    pub model: Option<String>,
    /// Kind of engine whose names the figures have; `None`: no known one.
    pub kind: Option<EngineKind>,
    /// It has no metrics, and how it says so, for people; `None`: it has.
    pub no_metrics: Option<String>,
}

impl EngineLoad {
    /// Requests that it works on and that wait in its queue; `None`: it does not say.
    pub fn in_flight(&self) -> Option<f64> {
        Some(self.running? + self.waiting.unwrap_or(0.0))
    }

    /// The load without requests that no client waits for: with no client connected (`empty`: since when) a gauge that
    /// says what it said `before`, while no counter moved, is one that the engine does not write any more.
    pub fn borne_out(self, before: Option<&EngineLoad>, empty: Option<Moment>) -> EngineLoad {
        let same = |of: fn(&EngineLoad) -> Option<f64>| before.is_some_and(|before| of(before) == of(&self));
        let stands = same(|load| load.generation_tokens) && same(|load| load.prompt_tokens) && same(|load| load.steps);
        if !stands || empty.is_none() {
            return self;
        }
        let none = |requests: Option<f64>| requests.map(|_| 0.0);
        EngineLoad { running: none(self.running), waiting: none(self.waiting), ..self }
    }
}

/// What one process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Identity of the process.
    pub process: ProcessId,
    /// Bytes of host memory it holds.
    pub resident: u64,
    /// User and system CPU time since its start.
    pub cpu: Duration,
    /// Its state letter of /proc/PID/stat: `T` is stopped by a signal, `D` in uninterruptible sleep.
    pub state: char,
}
