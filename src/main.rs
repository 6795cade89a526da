//! Arguments and exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<_> = std::env::args_os().collect();
    mpswarden::sim::dispatch(&argv).unwrap_or(ExitCode::from(64))
}
