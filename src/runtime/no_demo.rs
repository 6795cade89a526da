//! What stands in place of the simulation in a build without the feature `demo`: a refusal that names the cure.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{DemoOptions, ExitStatus, StudyOptions};

/// Refuses `mpswarden demo`.
pub fn demo(_: DemoOptions, _: Option<PathBuf>) -> ExitCode {
    refused("demo")
}

/// Refuses `mpswarden study --demo`.
pub fn study_demo(_: &StudyOptions) -> ExitCode {
    refused("study --demo")
}

fn refused(what: &str) -> ExitCode {
    // Nobody is left to read it where stderr is closed.
    let _ = writeln!(
        std::io::stderr(),
        "mpswarden: `{what}` needs the simulation, which this build was made without: use one made with the feature \
         `demo` (cargo build --features demo)"
    );
    ExitStatus::Usage.into()
}
