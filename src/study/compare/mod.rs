//! Several studies beside each other: models, GPUs or settings, at the loads that they have in common. Pure but for the
//! reading of their files.

mod document;
mod entry;
mod file;
mod notes;
mod table;

pub use document::ComparisonDocument;
pub use entry::{Comparison, Entry, Given};
pub use file::{StudyFile, read_study};
pub(in crate::study) use table::{range, ratio_words, studies};

use super::analysis::{CellFigures, Load};
use super::spread::Spread;

/// What MPS is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::study) enum Versus {
    /// One engine with the load of all.
    OneEngine,
    /// All engines, without MPS.
    TimeSlicing,
    /// One engine at a time: the gain.
    OneAtATime,
}

impl Versus {
    /// Every one, in the order in which one asks.
    pub(in crate::study) const ALL: [Versus; 3] = [Versus::OneEngine, Versus::TimeSlicing, Versus::OneAtATime];

    /// Title of what is compared.
    pub(in crate::study) fn title(self) -> &'static str {
        match self {
            Versus::OneEngine => "MPS over one engine with the same whole load",
            Versus::TimeSlicing => "MPS over time-slicing",
            Versus::OneAtATime => "MPS over one engine at a time (the gain)",
        }
    }

    /// The ratio of a load.
    pub(in crate::study) fn ratio(self, cell: &CellFigures) -> Option<Spread> {
        match self {
            Versus::OneEngine => cell.over_one,
            Versus::TimeSlicing => cell.over_sliced,
            Versus::OneAtATime => cell.gain,
        }
    }
}

/// A load in words: `prompt 16, output 1, 4 in flight`.
fn load_words(load: &Load) -> String {
    format!("prompt {}, output {}, {} in flight", load.prompt, load.output, load.concurrency)
}
