//! What the kernel probe saw of a group, and how fast its engines are alone and together. Plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{EngineName, Moment};

/// One window of the kernel probe: every probed client of a group over the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlapWindow {
    /// Time that every one of them covers.
    pub sampled: Duration,
    /// Part of `sampled` with exactly so many clients' kernels on the GPU, by their number from 0; they add up to
    /// `sampled`.
    pub by_clients: Vec<Duration>,
    /// Part of `sampled` in which an engine had a kernel on the GPU.
    pub busy: Vec<(EngineName, Duration)>,
    /// Kernels that were counted.
    pub kernels: u64,
    /// Records that were dropped: without times, or with times from elsewhere.
    pub dropped: u64,
}

words! {
    /// What an engine's kernel probe does.
    #[derive(Default)]
    ProbeState {
        /// It was not asked for.
        #[default]
        Off = "off",
        /// No process of the engine has spoken yet.
        Waiting = "waiting",
        /// It records kernels when asked to.
        Working = "working",
        /// It can't, and does nothing.
        Unavailable = "unavailable",
    }
}

/// How fast one engine is alone on the GPU, at one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Name of the engine.
    pub engine: EngineName,
    /// Requests that it worked on at once, on average.
    pub running: f64,
    /// Tokens of a prompt, on average.
    pub prompt_tokens: f64,
    /// Tokens generated for a request, on average.
    pub generation_tokens: f64,
    /// Prompt and generated tokens together.
    pub tokens_per_second: f64,
    /// Measurements behind it; 0: it was configured.
    pub samples: u32,
    /// Where it is from.
    pub source: BaselineSource,
    /// When it was measured.
    pub taken: Taken,
}

words! {
    /// Where a baseline is from.
    BaselineSource {
        /// The configuration says so.
        Configured = "configured",
        /// `mpswarden study` measured it.
        Study = "study",
        /// Learnt while its siblings had no work.
        Learnt = "learnt",
    }
}

/// When something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// This watchdog took it.
    At(Moment),
    /// Another watchdog took it, perhaps in another boot: seconds since 1970, UTC.
    Unix(u64),
}

words! {
    /// Why sharing the GPU does not pay.
    AdviceReason {
        /// The engines together get hardly more done than one alone.
        LowGain = "low_gain",
        /// One engine is slowed down by its siblings over its bound.
        Slowdown = "slowdown",
    }
}

/// Sharing has not paid for so long that a person should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// Reason why it does not pay.
    pub reason: AdviceReason,
    /// The engine that is slowed down; `None`: it is about the group.
    pub engine: Option<EngineName>,
    /// Time since which it has not paid, without a break.
    pub since: Moment,
    /// The gain, or the slow-down, of late.
    pub value: f64,
}
