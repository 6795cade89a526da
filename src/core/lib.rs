//! The pure core of mpswarden: `model`, the words that all of it shares, and `decide`, what is done about what
//! was seen. Its only dependency is serde, so nothing here can read a clock, wait, or touch the system.

pub mod decide;
pub mod model;
