//! Whether sharing a GPU under MPS pays for these engines: the experiment, its arithmetic and its report.

pub mod analysis;
mod baselines;
mod columns;
mod figures;
mod loads;
pub mod recommend;
mod report;
pub mod results;
mod sentences;
pub mod spread;
mod table;
pub mod thresholds;

pub use baselines::baselines;
pub use recommend::{Recommendation, recommend};
pub use report::html;
pub use table::table;
