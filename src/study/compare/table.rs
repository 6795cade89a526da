//! A comparison for a terminal: what each study recommends, then MPS beside each alternative, loads down and studies
//! across.

use super::Versus;
use super::entry::{Comparison, Entry};
use crate::study::analysis::{CellFigures, Load};
use crate::study::figures::{NONE, date, or_none, span, times};
use crate::study::recommend::advice;
use crate::study::sentences::SIMULATED;
use crate::study::spread::Spread;
use crate::study::table::{DOUBT, WIDTHS, beside, figures, laid_out, prose, titled, words};
use crate::text::figures::plural;
use crate::text::screen::cut;

/// Columns that the name of a study takes at most where it stands over its figures.
const LONGEST_HEADING: usize = 24;

impl Comparison {
    /// All of it as text of at most `width` columns (80 to 200), without colours.
    pub fn table(&self, width: usize) -> String {
        let width = width.clamp(WIDTHS.0, WIDTHS.1);
        let mut parts = vec![self.head(width), self.studies(width)];
        parts.extend(Versus::ALL.map(|versus| titled(versus.title(), self.ratios(versus, width), width)));
        parts.push(titled("What each recommends for a load", self.choices(width), width));
        parts.push(titled("What each recommends", self.headlines(width), width));
        let notes: String = self.notes.iter().map(|note| prose("- ", note, width)).collect();
        parts.push(titled("Before you compare them", notes, width));
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn head(&self, width: usize) -> String {
        let simulated = if self.is_simulated() { prose("SIMULATED  ", SIMULATED, width) } else { String::new() };
        let what =
            format!("{} beside each other, {} in all", studies(self.entries.len()), plural(self.loads.len(), "load"));
        simulated + &prose("", &what, width)
    }

    fn studies(&self, width: usize) -> String {
        let each = |of: fn(&Entry) -> String| self.entries.iter().map(of).collect::<Vec<_>>().into_iter();
        let columns = vec![
            words("STUDY", 0, each(|entry| entry.name.clone())),
            words("MODEL", 4, each(Entry::models)),
            words("GROUP", 6, each(|entry| entry.study.group.clone())),
            figures("ENGINES", 2, each(|entry| entry.analysis.engines.len().to_string())),
            words("GPU", 3, each(|entry| entry.study.gpu.clone())),
            words("MEASURED", 5, each(|entry| date(entry.study.began))),
            figures("GAIN", 0, each(|entry| or_none(entry.gain(), range))),
        ];
        laid_out(columns, width)
    }

    fn ratios(&self, versus: Versus, width: usize) -> String {
        let any = |entry: &Entry| entry.analysis.cells.iter().any(|cell| versus.ratio(cell).is_some());
        if !self.entries.iter().any(any) {
            return String::new();
        }
        self.by_load(width, |entry, load| entry.cell(load).map(|cell| ratio_words(versus, cell)))
    }

    fn choices(&self, width: usize) -> String {
        self.by_load(width, |entry, load| entry.choice(load).map(|choice| advice(Some(choice)).to_owned()))
    }

    /// Loads down, studies across.
    fn by_load(&self, width: usize, of: impl Fn(&Entry, Load) -> Option<String>) -> String {
        let column = |entry: &Entry| {
            let cells = self.loads.iter().map(|load| or_none(of(entry, *load), |told| told));
            figures(&cut(&entry.name, LONGEST_HEADING), 0, cells)
        };
        let side =
            |name: &str, part: fn(&Load) -> u32| figures(name, 0, self.loads.iter().map(|load| part(load).to_string()));
        let sides = || {
            vec![
                side("OUTPUT", |load| load.output),
                side("PROMPT", |load| load.prompt),
                side("IN FLIGHT", |load| load.concurrency),
            ]
        };
        beside(sides, self.entries.iter().map(column), width)
    }

    fn headlines(&self, width: usize) -> String {
        let line = |entry: &Entry| {
            let said = entry.recommended.sentences.first().map_or(NONE, String::as_str);
            prose("- ", &format!("{}: {said}", entry.name), width)
        };
        self.entries.iter().map(line).collect()
    }
}

impl Entry {
    /// The least and the greatest gain of its loads.
    pub(in crate::study) fn gain(&self) -> Option<Spread> {
        let counts = self.analysis.cells.iter().filter(|cell| cell.failures.is_none());
        Spread::of(counts.filter_map(|cell| Some(cell.gain?.middle)))
    }
}

/// `2 studies`.
pub(in crate::study) fn studies(count: usize) -> String {
    if count == 1 { "1 study".to_owned() } else { format!("{count} studies") }
}

/// `1.10 to 1.90`.
pub(in crate::study) fn range(all: Spread) -> String {
    let (low, high) = (times(all.low), times(all.high));
    if low == high { low } else { format!("{low} to {high}") }
}

/// `1.62 (1.58–1.66)`, with a `?` where it is doubtful.
pub(in crate::study) fn ratio_words(versus: Versus, cell: &CellFigures) -> String {
    let doubt = if cell.failures.is_some() { DOUBT } else { "" };
    or_none(versus.ratio(cell), |ratio| format!("{}{doubt} ({})", times(ratio.middle), span(&ratio)))
}
