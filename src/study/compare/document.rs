//! A comparison for programs.

use serde::Serialize;

use super::entry::{Comparison, Entry};
use crate::study::analysis::Load;
use crate::study::recommend::{Advised, Choice};

/// All of a comparison.
#[derive(Debug, Serialize)]
pub struct ComparisonDocument<'a> {
    /// The studies, in the order in which they were given.
    studies: Vec<StudyInIt<'a>>,
    /// Every load that any of them has.
    loads: Vec<LoadInIt<'a>>,
    /// What people must know before they compare them.
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct StudyInIt<'a> {
    name: &'a str,
    version: &'a str,
    began: u64,
    group: &'a str,
    gpu: &'a str,
    simulated: bool,
    driver: Option<&'a str>,
    ended_early: bool,
    models: Vec<Option<&'a str>>,
    /// How many of its engines shared, and with which percentage.
    engines: usize,
    percentage: Option<f64>,
    choice: Choice,
    sentences: &'a [String],
}

#[derive(Debug, Serialize)]
struct LoadInIt<'a> {
    #[serde(flatten)]
    load: Load,
    /// What each study that has it says of it.
    studies: Vec<SaidOfIt<'a>>,
}

#[derive(Debug, Serialize)]
struct SaidOfIt<'a> {
    study: &'a str,
    #[serde(flatten)]
    advised: &'a Advised,
}

impl Comparison {
    /// All of it, to be written as JSON.
    pub fn document(&self) -> ComparisonDocument<'_> {
        let loads = self.loads.iter().map(|load| LoadInIt { load: *load, studies: self.said(*load) });
        ComparisonDocument {
            studies: self.entries.iter().map(StudyInIt::of).collect(),
            loads: loads.collect(),
            notes: &self.notes,
        }
    }

    fn said(&self, load: Load) -> Vec<SaidOfIt<'_>> {
        let said = self.entries.iter().filter_map(|entry| {
            let advised = entry.recommended.loads.iter().find(|advised| advised.load == load)?;
            Some(SaidOfIt { study: &entry.name, advised })
        });
        said.collect()
    }
}

impl<'a> StudyInIt<'a> {
    fn of(entry: &'a Entry) -> StudyInIt<'a> {
        let Entry { name, study, analysis, recommended } = entry;
        StudyInIt {
            name,
            version: &study.version,
            began: study.began,
            group: &study.group,
            gpu: &study.gpu,
            simulated: study.simulated,
            driver: study.driver.as_deref(),
            ended_early: study.ended_early,
            models: study.engines.iter().map(|engine| engine.model.as_deref()).collect(),
            engines: analysis.engines.len(),
            percentage: analysis.sharing.percentage,
            choice: recommended.choice,
            sentences: &recommended.sentences,
        }
    }
}
