//! Stands in for a study's arithmetic and its report.

use serde::Serialize;

use super::results::Study;
use crate::model::Baseline;

/// What to do.
#[derive(Clone, Debug, Serialize)]
pub struct Recommendation {
    /// In words.
    pub sentences: Vec<String>,
}

/// For the terminal.
pub fn table(study: &Study, _width: usize) -> String {
    format!("{} cells\n", study.cells.len())
}

/// The report.
pub fn html(_study: &Study) -> String {
    "<!DOCTYPE html>\n".to_owned()
}

/// What the numbers come to.
pub fn recommend(_study: &Study) -> Recommendation {
    Recommendation { sentences: Vec::new() }
}

/// How fast each engine is alone.
pub fn baselines(_study: &Study) -> Vec<Baseline> {
    Vec::new()
}
