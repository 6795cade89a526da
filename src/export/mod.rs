//! What the outside sees: metrics, HTTP, log lines. It reads events and the last status, and decides nothing.

mod answer;
pub mod catalogue;
mod connection;
mod exporter;
mod gauges;
mod gzip;
pub mod http;
pub mod log;
mod log_queue;
mod own_process;
mod pace;
mod port_holder;
mod samples;
pub mod sentence;
mod site;
pub mod story;
mod tally;
mod wall;
pub mod web;

pub use exporter::{BuildInfo, Exporter, TooOld};
pub use log_queue::LogGuard;
pub use story::Story;
