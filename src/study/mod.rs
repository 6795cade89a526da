//! Whether sharing a GPU under MPS pays for these engines: the experiment, its arithmetic and its report.

mod actions;
pub mod analysis;
mod arrangement;
mod baselines;
mod client;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod client_tests;
pub mod compare;
mod drive;
mod figures;
mod files;
pub mod limits;
mod load;
mod loads;
mod noise;
mod progress;
pub mod recommend;
mod report;
mod request;
pub mod results;
mod sampling;
mod schedule;
mod sentences;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod server_tests;
pub mod spread;
mod sse;
mod table;
mod tally;
pub mod thresholds;

pub use arrangement::{Manner, Patience};
pub use baselines::baselines;
pub use drive::{Experiment, Subject};
pub use files::StudyFiles;
pub use load::serve as serve_load;
pub use progress::Progress;
pub use recommend::{Recommendation, recommend};
pub use report::html;
pub use sampling::SampledGpu;
pub use schedule::estimate;
pub use table::table;
