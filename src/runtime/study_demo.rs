//! `mpswarden study --demo`: the same study over simulated engines, on a stage that goes when it ends.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{ExitStatus, StudyOptions};
use crate::config;
use crate::sim::{Stage, StageOptions};

use super::refusal::Refusal;
use super::study::{logged, on_runtime};
use super::study_order::StudyOrder;

/// Simulated engines, and the time that they take to start.
const ENGINES: usize = 3;
const STARTUP: Duration = Duration::from_millis(200);

/// Studies simulated engines.
pub fn study_demo(options: &StudyOptions) -> ExitCode {
    logged(|| on_stage(options))
}

fn on_stage(options: &StudyOptions) -> Result<ExitCode, Refusal> {
    let unset = |error: io::Error| Refusal::io("set the simulated stage", &error);
    let directory = tempfile::Builder::new().prefix("mpswarden-").tempdir().map_err(unset)?;
    let program = std::env::current_exe().map_err(unset)?;
    let engines = options.engines.unwrap_or(ENGINES);
    let wanted = StageOptions { startup: STARTUP, ..StageOptions::lifelike(program).with_engines(engines) };
    let stage = Stage::set(directory.path(), &wanted).map_err(unset)?;
    let configuration = config::parse(&stage.configuration("127.0.0.1:0"), Path::new("demo.toml"))
        .map_err(|problems| Refusal { status: ExitStatus::Software, why: problems.to_string() })?;
    on_runtime(StudyOrder::of_demo(configuration, options)?, None)
}
