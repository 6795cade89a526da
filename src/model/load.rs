//! What an engine says of its own load, and what its processes use. Plain figures; nothing is judged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ProcessId;

/// An engine's load, read from its own metrics (vLLM's or SGLang's names). What it does not show is `None`.
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
    /// The model it serves.
    pub model: Option<String>,
}

/// What one process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Which.
    pub process: ProcessId,
    /// Bytes of host memory it holds.
    pub resident: u64,
    /// User and system CPU time since its start.
    pub cpu: Duration,
    /// Its state letter of /proc/PID/stat: `T` is stopped by a signal, `D` in uninterruptible sleep.
    pub state: char,
}
