//! The metrics page: every metric as data, counters kept from events, gauges from one status, and their text.

pub mod catalogue;
mod engine_gauges;
mod exposition;
mod gauges;
mod gpu_gauges;
mod imbalance;
mod known_series;
mod own_process;
mod samples;
mod sharing_gauges;
mod tally;

pub(super) use exposition::Exposition;
pub(super) use gauges::Readings;
pub(super) use own_process::write as write_own_process;
pub(super) use tally::Tally;
