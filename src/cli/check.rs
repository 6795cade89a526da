//! `mpswarden check`, and the reading of a configuration that a command names: every problem goes to stderr.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::exit::ExitStatus;
use crate::config::{self, Configuration, Problems};
use crate::text::plain::lines;

/// Prints the effective configuration to stdout, or every problem to stderr.
pub fn check(file: &Path) -> ExitCode {
    shown(file).unwrap_or_else(ExitCode::from)
}

/// The configuration that `load` loads; else the exit status, once every problem is on stderr.
pub fn read(load: impl FnOnce() -> Result<Configuration, Problems>) -> Result<Configuration, ExitStatus> {
    load().map_err(|problems| {
        tell(&problems.to_string());
        ExitStatus::of(&problems)
    })
}

fn shown(file: &Path) -> Result<ExitCode, ExitStatus> {
    let configuration = read(|| config::load(file))?;
    configuration.warnings().iter().for_each(|warning| tell(&format!("{}: warning: {warning}", file.display())));
    let shown = configuration.shown().map_err(|why| (tell(&why), ExitStatus::Software).1)?;
    // A reader that went away (a pager) is no fault of the configuration.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// Writes it to stderr, without what would drive a terminal, and lives on where that is closed.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", lines(line));
}
