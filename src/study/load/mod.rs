//! Load on the engines of one run: what is asked for, and what came of it. It is made by a process of its own, so that
//! what the study does beside it costs it nothing, and what it costs itself can be told.

mod course;
mod generator;
mod pace;
mod process;
mod window;

#[cfg(test)]
pub(super) use course::Course;
#[cfg(test)]
pub(super) use generator::generate;
pub use generator::serve;
pub(super) use pace::Pace;
#[cfg(test)]
pub(super) use pace::{first, pause};
pub(super) use process::{LoadProcess, Step};
#[cfg(test)]
pub(super) use window::{Rules, Seen};

use serde::{Deserialize, Serialize};

use super::client::Target;
use super::request::Lengths;
use super::results::Measured;

/// What load there is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LoadOrder {
    /// The engines that have work.
    pub engines: Vec<Worker>,
    pub lengths: Lengths,
    pub pace: Pace,
    /// Seconds of load at least before what counts.
    pub warm_up: f64,
    /// Seconds that count, at least.
    pub seconds: f64,
    /// Upper bound of the seconds before what counts, and of those that count, each.
    pub longest: f64,
}

/// One engine that has work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    pub engine: String,
    pub target: Target,
    /// Requests in flight; with an open pace, the most that there may be.
    pub concurrency: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Loaded {
    /// What each engine did, in the order's order.
    pub engines: Vec<Measured>,
    /// The first failure of a request, with its engine.
    pub failures: Vec<(String, String)>,
    /// Why nothing of it counts.
    pub not_measured: Option<String>,
}
