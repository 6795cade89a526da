//! What a study measured, as plain data: the JSON of its report. Computes nothing.

use serde::{Deserialize, Serialize};

use crate::model::Baseline;

/// A whole study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// Version of mpswarden.
    pub version: String,
    /// Seconds since 1970, UTC, at its beginning.
    pub began: u64,
    /// Seconds that it took.
    pub took: f64,
    /// The group's name.
    pub group: String,
    /// The GPU's name, `NVIDIA H200`.
    pub gpu: String,
    /// The GPU and the engines are simulated: the figures say nothing of real ones.
    #[serde(default)]
    pub simulated: bool,
    /// The driver's version.
    pub driver: Option<String>,
    /// The engines, in the configuration's order.
    pub engines: Vec<StudiedEngine>,
    /// What was asked for.
    pub plan: Plan,
    /// What was measured, in the order of the plan's grid.
    pub cells: Vec<Cell>,
    /// What could not be measured and why, for people.
    pub problems: Vec<String>,
    /// How fast each engine is alone.
    pub baselines: Vec<Baseline>,
}

/// One engine of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudiedEngine {
    /// Name of the engine.
    pub name: String,
    /// The model it says it serves.
    pub model: Option<String>,
    /// CUDA_MPS_ACTIVE_THREAD_PERCENTAGE that it had under MPS.
    pub sm_percentage: Option<f64>,
}

/// What a study does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Prompt lengths, tokens.
    pub prompts: Vec<u32>,
    /// Output lengths, tokens; 1: prefill only.
    pub outputs: Vec<u32>,
    /// Requests in flight, of each engine.
    pub concurrencies: Vec<u32>,
    /// Seconds of each run that count.
    pub seconds: f64,
    /// Seconds of load before them.
    pub warm_up: f64,
    /// Runs of each arrangement in each cell, interleaved.
    pub repeats: u32,
}

/// One point of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Tokens of each prompt.
    pub prompt: u32,
    /// Tokens of each output.
    pub output: u32,
    /// Requests in flight, of each engine that has work in the runs `alone`, `mps` and `time_sliced`.
    pub concurrency: u32,
    /// What was run, each repeat one.
    pub runs: Vec<Run>,
}

/// Which engines have work and how they share the GPU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrangement {
    /// One engine has the cell's concurrency, the others have no work; no MPS, no limits: the whole GPU.
    Alone(String),
    /// One engine has the load of all of them together; no MPS, no limits.
    Consolidated(String),
    /// All have work, under MPS with their limits.
    Mps,
    /// All have work, without MPS: the GPU is time-sliced.
    TimeSliced,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Arrangement of the run.
    pub arrangement: Arrangement,
    /// Number of the repeat, from 0.
    pub repeat: u32,
    /// Each engine that had work.
    pub engines: Vec<Measured>,
}

/// What one engine did in one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Name of the engine.
    pub engine: String,
    /// Seconds that count.
    pub seconds: f64,
    /// Requests that ended well in them.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Prompt tokens of requests whose first token came in them.
    pub prompt_tokens: u64,
    /// Tokens that came in them.
    pub generation_tokens: u64,
    /// Requests in flight, on average.
    pub running: f64,
    /// Seconds from a request to its first token: each percentile.
    pub ttft: Option<Percentiles>,
    /// Seconds from one token of a request to the next, on its average: each percentile.
    pub tpot: Option<Percentiles>,
}

/// Percentiles of one quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: f64,
    /// Nine of ten are below.
    pub p90: f64,
    /// 99 of 100 are below.
    pub p99: f64,
}
