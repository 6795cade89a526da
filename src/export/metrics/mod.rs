//! The metrics page: every metric as data, counters kept from events, gauges from one status, and the collectors that
//! hand both to the `prometheus` crate.

pub mod catalogue;
mod collectors;
mod engine_gauges;
mod families;
mod gauges;
mod gpu_gauges;
mod imbalance;
mod known_series;
mod own_process;
mod samples;
mod sharing_gauges;
mod tally;
mod unavailable;

pub(super) use collectors::{Pages, Snapshot};
pub(super) use tally::Tally;
