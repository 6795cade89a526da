//! Turns host readings into observations. Each source that can block has a thread of its own.

mod connections;
pub mod daemon_log;
pub mod engines;
mod fence;
pub mod found;
pub mod gpus;
pub mod kernel_log;
pub mod look;
pub mod mps;
pub mod output;
pub mod overlap;
pub mod processes;
mod reports;
mod traffic;

pub use look::{Answer, LookIo, Observers};
