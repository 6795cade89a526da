//! Whether sharing a GPU under MPS pays for these engines: the experiment, its arithmetic and its report.

pub mod results;
