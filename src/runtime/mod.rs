//! Wiring: builds everything, spawns everything, runs the core loop, drains.

use std::process::ExitCode;

use crate::config::{Configuration, DemoOptions, RunOptions};

/// Supervises the groups of `configuration` until a signal.
pub fn run(_configuration: Configuration, _options: RunOptions) -> ExitCode {
    ExitCode::SUCCESS
}

/// The same over a simulated GPU.
pub fn demo(_options: DemoOptions) -> ExitCode {
    ExitCode::SUCCESS
}
