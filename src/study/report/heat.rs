//! Maps of ratios, as tables: the colour of a cell is how far its ratio is from 1. Its number stands in it, and its
//! interval in its title.

use maud::{Markup, html};

use crate::study::analysis::CellFigures;
use crate::study::compare::Versus;
use crate::study::figures::{NONE, span, times};
use crate::study::spread::{Spread, Verdict};
use crate::study::table::DOUBT;

/// Where the next colour begins.
const EDGES: [f64; 7] = [0.8, 0.95, 1.05, 1.2, 1.5, 2.0, 3.0];
/// Colours, from the least ratio to the greatest.
const COLOURS: [&str; 8] = ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7"];

/// One map.
pub(super) struct HeatMap {
    /// Title above it.
    pub title: String,
    /// Name of what is across.
    pub across: &'static str,
    /// Name of what is down.
    pub down: &'static str,
    /// Values across, as printed.
    pub columns: Vec<String>,
    /// Each row: its name and its cells.
    pub rows: Vec<(String, Vec<Option<Heat>>)>,
}

/// One cell.
#[derive(Clone, Copy)]
pub(super) struct Heat {
    ratio: Spread,
    doubtful: bool,
}

impl Heat {
    /// The cell of a load; `None`: this was not measured.
    pub(super) fn of(versus: Versus, cell: &CellFigures) -> Option<Heat> {
        Some(Heat { ratio: versus.ratio(cell)?, doubtful: cell.failures.is_some() })
    }

    fn class(self) -> String {
        let colour = COLOURS[EDGES.partition_point(|edge| *edge <= self.ratio.middle)];
        let unclear = self.doubtful || self.ratio.verdict() == Verdict::NotClear;
        if unclear { format!("{colour} unclear") } else { colour.to_owned() }
    }
}

impl HeatMap {
    /// The map, less the rows and columns that have nothing.
    fn trimmed(mut self) -> HeatMap {
        self.rows.retain(|(_, cells)| cells.iter().any(Option::is_some));
        let rows = &self.rows;
        let has = |at: usize| rows.iter().any(|(_, cells)| cells.get(at).is_some_and(Option::is_some));
        let kept: Vec<usize> = (0..self.columns.len()).filter(|at| has(*at)).collect();
        self.columns = kept.iter().map(|at| self.columns[*at].clone()).collect();
        for (_, cells) in &mut self.rows {
            *cells = kept.iter().map(|at| cells[*at]).collect();
        }
        self
    }

    fn draw(&self) -> Markup {
        html! {
            div.scroll { table.heat {
                caption { (self.title) }
                thead {
                    tr { th scope="col" { (self.down) } th scope="colgroup" colspan=(self.columns.len()) { (self.across) } }
                    tr { th {} @for column in &self.columns { th scope="col" { (column) } } }
                }
                tbody { @for (name, cells) in &self.rows {
                    tr { th scope="row" { (name) } @for cell in cells { (drawn(*cell)) } }
                } }
            } }
        }
    }
}

fn drawn(cell: Option<Heat>) -> Markup {
    let Some(heat) = cell else { return html! { td.none { (NONE) } } };
    let Heat { ratio, doubtful } = heat;
    let title = format!("{} ({})", times(ratio.middle), span(&ratio));
    html! { td class=(heat.class()) title=(title) { (times(ratio.middle)) @if doubtful { (DOUBT) } } }
}

/// The maps that have something to show, below what their colours mean; nothing where there are none.
pub(super) fn maps(title: &str, all: Vec<HeatMap>) -> Markup {
    let all: Vec<HeatMap> = all.into_iter().map(HeatMap::trimmed).filter(|map| !map.rows.is_empty()).collect();
    html! { @if !all.is_empty() { h3 { (title) } div.heats { @for map in &all { (map.draw()) } } } }
}

/// What the colours mean.
pub(super) fn meaning() -> Markup {
    let told = |at: usize| match at {
        0 => format!("under {}", EDGES[0]),
        2 => "about 1".to_owned(),
        at if at == EDGES.len() => format!("{} and more", EDGES[at - 1]),
        at => format!("{} to {}", EDGES[at - 1], EDGES[at]),
    };
    html! {
        ul.legend.heat {
            @for (at, colour) in COLOURS.iter().enumerate() { li { span.(colour) {} (told(at)) } }
            li { span.h2.unclear {} "hatched: the runs differ too much to say" }
            li { (NONE) " not measured" }
        }
    }
}
