//! Whether sharing a GPU under MPS pays for these engines: the experiment, its arithmetic and its report.

mod arrangement;
mod client;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod client_tests;
mod connection;
mod drive;
mod hands;
mod load;
mod progress;
mod request;
pub mod results;
mod schedule;
mod sse;
mod stub;
mod tally;

pub use arrangement::{Manner, Patience};
pub use drive::{Experiment, Subject};
pub use progress::Progress;
pub use schedule::estimate;
pub use stub::{baselines, html, recommend, table};
