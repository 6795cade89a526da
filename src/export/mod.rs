//! What the outside sees: metrics, HTTP, log lines. It reads events and the last status, and decides nothing.

pub mod concerns;
pub mod document;
mod exporter;
pub mod history;
pub mod http;
mod incident_cost;
mod incidents;
pub mod log;
mod log_queue;
pub mod metrics;
pub mod needed;
mod node;
mod open_incident;
pub mod page;
pub mod sentence;
pub mod story;
#[cfg(test)]
pub(crate) mod testing;
mod wall;

pub use exporter::{BuildInfo, Exporter, NoPage, TooOld};
pub use log_queue::LogGuard;
pub use metrics::catalogue;
pub use node::node_name;
pub use story::Story;
