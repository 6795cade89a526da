//! What the outside sees: metrics, HTTP, log lines. It reads events and the last status, and decides nothing.

mod answer;
pub mod catalogue;
mod connection;
mod engine_gauges;
mod exporter;
mod exposition;
mod gauges;
mod gpu_gauges;
mod gzip;
pub mod http;
mod imbalance;
mod incidents;
mod known_series;
pub mod log;
mod log_queue;
mod open_incident;
mod own_process;
mod pace;
pub mod page;
mod port_holder;
mod samples;
pub mod sentence;
mod site;
pub mod story;
mod tally;
#[cfg(test)]
mod testing;
mod wall;
pub mod web;

pub use exporter::{BuildInfo, Exporter, TooOld};
pub use log_queue::LogGuard;
pub use story::Story;
