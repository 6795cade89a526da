//! Whether sharing a GPU under MPS pays for these engines: the experiment, its arithmetic and its report.

pub mod analysis;
mod baselines;
mod figures;
mod loads;
pub mod recommend;
pub mod results;
mod sentences;
pub mod spread;
pub mod thresholds;

pub use baselines::baselines;
pub use recommend::{Recommendation, recommend};
