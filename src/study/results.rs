//! What a study measured, as plain data: the JSON of its report. Computes nothing.

use serde::{Deserialize, Serialize};

use super::limits::Used;
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
    /// It was ended by a signal before everything was measured.
    #[serde(default)]
    pub ended_early: bool,
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
    /// Seconds of each run that count, at least.
    pub seconds: f64,
    /// Seconds of load before them, at least.
    pub warm_up: f64,
    /// Upper bound of the seconds before what counts, and of those that count, each.
    #[serde(default)]
    pub longest: f64,
    /// Runs of each arrangement in each cell, interleaved.
    pub repeats: u32,
    /// Requests a second to each engine; `None`: as many as are in flight, each followed by the next.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Numbers of engines that are tried together; empty: all of them.
    #[serde(default)]
    pub engines_swept: Vec<usize>,
    /// Active thread percentages that all engines are tried with; empty: those of the configuration.
    #[serde(default)]
    pub percentages: Vec<f64>,
}

/// How the GPU is shared, where a study tries several ways: the first engines of the group, and their percentage.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Variant {
    /// Number of engines that have work.
    pub engines: usize,
    /// CUDA_MPS_ACTIVE_THREAD_PERCENTAGE of each; `None`: as the configuration has it.
    pub percentage: Option<f64>,
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

impl Plan {
    /// Every way of sharing that is tried under MPS, with `engines` in all.
    pub fn variants(&self, engines: usize) -> Vec<Variant> {
        let swept = if self.engines_swept.is_empty() { vec![engines] } else { self.engines_swept.clone() };
        let percentages: Vec<Option<f64>> =
            if self.percentages.is_empty() { vec![None] } else { self.percentages.iter().copied().map(Some).collect() };
        let of = |percentage: &Option<f64>| {
            let percentage = *percentage;
            swept.iter().map(move |engines| Variant { engines: *engines, percentage }).collect::<Vec<_>>()
        };
        percentages.iter().flat_map(of).collect()
    }
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
    /// How many shared, and with which percentage; `None`: all engines as configured, or one alone.
    #[serde(default)]
    pub variant: Option<Variant>,
    /// Number of the repeat, from 0.
    pub repeat: u32,
    /// Each engine that had work; empty: nothing of it counts.
    pub engines: Vec<Measured>,
    /// What it used beside the GPU's memory.
    #[serde(default)]
    pub used: Used,
    /// Why nothing of it counts.
    #[serde(default)]
    pub not_measured: Option<String>,
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
    /// Requests that began and ended well in them.
    #[serde(default)]
    pub whole: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Prompt tokens of requests that were on their way to their first token in them, by the share of that time.
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
