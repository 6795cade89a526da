//! A study for a terminal: gain by load, throughput of each way, each engine's part, and the recommendation.

use std::collections::BTreeSet;

use super::analysis::{Analysis, CellFigures, Load, Way};
use super::figures::{NONE, date, or_none, percent, rate, seconds, short, span, times, took};
use super::recommend::{Recommendation, concluded};
use super::results::Study;
use super::sentences::SIMULATED;
use super::spread::Spread;
use crate::text::figures::plural;
use crate::text::plain::one_line;
use crate::text::screen::{Ink, Screen, cut};
use crate::text::table::{Column, needed, table as laid_out_on};

/// Wider lines are hard to read, and narrower ones hold no table.
pub(super) const WIDTHS: (usize, usize) = (80, 200);
/// Mark of what is doubtful.
pub(super) const DOUBT: &str = "?";
/// Columns that a name takes at most.
pub(super) const LONGEST_NAME: usize = 28;

/// The whole study as text of at most `width` columns (80 to 200), without colours; it ends with the recommendation.
pub fn table(study: &Study, width: usize) -> String {
    let width = width.clamp(WIDTHS.0, WIDTHS.1);
    let (analysis, recommended) = concluded(study);
    let parts = [
        head(study, width),
        titled("Gain under MPS: 1 is what one engine at a time gets done", gains(&analysis, width), width),
        titled("Throughput, prompt and generated tokens a second", throughput(&analysis, width), width),
        titled("Engines", engines(study, &analysis, &recommended, width), width),
        problems(study, width),
        advice(&recommended, width),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

pub(super) fn titled(title: &str, body: String, width: usize) -> String {
    if body.is_empty() { body } else { prose("", title, width) + "\n" + &body }
}

fn head(study: &Study, width: usize) -> String {
    let driver = study.driver.as_ref().map_or_else(String::new, |driver| format!(", driver {driver}"));
    let engines = plural(study.engines.len(), "engine");
    let runs = plural(study.plan.repeats as usize, "repeat");
    let what = format!("Study of group {}: {engines} on {}{driver}", study.group, study.gpu);
    let how =
        format!("{}, took {}, {runs} of {} s each", date(study.began), took(study.took), short(study.plan.seconds));
    let simulated = if study.simulated { prose("SIMULATED  ", SIMULATED, width) } else { String::new() };
    simulated + &prose("", &what, width) + &prose("", &how, width)
}

/// Outputs and prompts down, concurrencies across, in as many tables as the width asks for.
fn gains(analysis: &Analysis, width: usize) -> String {
    let across: Vec<u32> = distinct(analysis, |load| load.concurrency);
    let rows: Vec<(u32, u32)> = distinct(analysis, |load| (load.output, load.prompt));
    if !analysis.cells.iter().any(|cell| cell.gain.is_some()) {
        return String::new();
    }
    let sides = || {
        vec![
            figures("OUTPUT", 0, rows.iter().map(|row| row.0.to_string())),
            figures("PROMPT", 0, rows.iter().map(|row| row.1.to_string())),
        ]
    };
    let column = |concurrency: &u32| {
        let load = |row: &(u32, u32)| Load { output: row.0, prompt: row.1, concurrency: *concurrency };
        let cells = rows.iter().map(|row| cell_at(analysis, load(row)).map_or_else(|| NONE.to_owned(), gain));
        figures(&format!("{concurrency} IN FLIGHT"), 0, cells)
    };
    beside(sides, across.iter().map(column), width)
}

/// Columns behind those that say what a row is of, in as many tables as the width asks for.
pub(super) fn beside(sides: impl Fn() -> Vec<Column>, columns: impl Iterator<Item = Column>, width: usize) -> String {
    let mut tables = vec![sides()];
    for column in columns {
        let fits = tables.last().is_some_and(|last| needed(last) + needed(std::slice::from_ref(&column)) + 2 <= width);
        if !fits {
            tables.push(sides());
        }
        if let Some(last) = tables.last_mut() {
            last.push(column);
        }
    }
    tables.into_iter().map(|columns| laid_out(columns, width)).collect::<Vec<_>>().join("\n")
}

/// `1.62 (1.58–1.66)`, with a `?` where it is doubtful.
pub(super) fn gain(cell: &CellFigures) -> String {
    let doubt = if cell.failures.is_some() { DOUBT } else { "" };
    or_none(cell.gain, |gain| format!("{}{doubt} ({})", times(gain.middle), span(&gain)))
}

/// The values that the loads have, in order.
pub(super) fn distinct<T: Ord>(analysis: &Analysis, part: impl Fn(Load) -> T) -> Vec<T> {
    let values: BTreeSet<T> = analysis.cells.iter().map(|cell| part(cell.load)).collect();
    values.into_iter().collect()
}

/// The figures of one load, if it is in the study.
pub(super) fn cell_at(analysis: &Analysis, load: Load) -> Option<&CellFigures> {
    analysis.cells.iter().find(|cell| cell.load == load)
}

fn throughput(analysis: &Analysis, width: usize) -> String {
    let cells = &analysis.cells;
    let column =
        |heading: &str, rank: u8, told: &dyn Fn(&CellFigures) -> String| figures(heading, rank, cells.iter().map(told));
    let way = |way: Way, rank: u8| {
        let any = cells.iter().any(|cell| cell.total(way).is_some());
        let told = |cell: &CellFigures| or_none(cell.total(way), |total| rate(total.middle));
        let spread = |cell: &CellFigures| or_none(cell.total(way), |total| rates(&total));
        let heading = way.name().to_uppercase();
        let both = [column(&heading, rank, &told), column("(RANGE)", 9, &spread)];
        both.into_iter().filter(|_| any).collect::<Vec<_>>()
    };
    let ratio = |part: fn(&CellFigures) -> Option<Spread>| {
        move |cell: &CellFigures| or_none(part(cell), |one| times(one.middle))
    };
    let mut columns = vec![
        column("OUTPUT", 0, &|cell| cell.load.output.to_string()),
        column("PROMPT", 0, &|cell| cell.load.prompt.to_string()),
        column("IN FLIGHT", 0, &|cell| cell.load.concurrency.to_string()),
    ];
    columns.extend(Way::ALL.into_iter().flat_map(|one| way(one, 0)));
    let measured = |part: fn(&CellFigures) -> Option<Spread>| cells.iter().any(|cell| part(cell).is_some());
    if measured(|cell| cell.over_sliced) {
        columns.push(column("MPS/SLICED", 7, &ratio(|cell| cell.over_sliced)));
    }
    if measured(|cell| cell.over_one) {
        columns.push(column("MPS/ONE", 8, &ratio(|cell| cell.over_one)));
    }
    laid_out(columns, width)
}

/// What rates' runs span: `2510–2640`.
pub(super) fn rates(total: &Spread) -> String {
    format!("{}–{}", rate(total.low), rate(total.high))
}

fn engines(study: &Study, analysis: &Analysis, recommended: &Recommendation, width: usize) -> String {
    let names = || study.engines.iter();
    let slowdown =
        |name: &str| recommended.slowdowns.iter().find(|(engine, _)| engine == name).map(|(_, times)| *times);
    let worsts = |way| (0..study.engines.len()).map(move |at| worst(analysis, at, way));
    let columns = vec![
        words("ENGINE", 0, names().map(|engine| engine.name.clone())),
        words("MODEL", 1, names().map(|engine| engine.model.clone().unwrap_or_default())),
        figures("PERCENTAGE", 2, names().map(|engine| engine.sm_percentage.map_or_else(String::new, percent))),
        figures("SLOW-DOWN", 0, names().map(|engine| or_none(slowdown(&engine.name), times))),
        figures("WORST TTFT P99 ALONE", 3, worsts(Way::Alone)),
        figures("UNDER MPS", 3, worsts(Way::Mps)),
    ];
    laid_out(columns, width)
}

/// An engine's longest TTFT p99 of all loads.
pub(super) fn worst(analysis: &Analysis, at: usize, way: Way) -> String {
    let p99s = analysis.cells.iter().filter_map(|cell| Some(cell.engines.get(at)?.way(way).ttft?.p99));
    or_none(p99s.max_by(f64::total_cmp), seconds)
}

fn problems(study: &Study, width: usize) -> String {
    let lines: String = study.problems.iter().map(|problem| prose("- ", problem, width)).collect();
    titled("Problems", lines, width)
}

fn advice(recommended: &Recommendation, width: usize) -> String {
    let mut sentences = recommended.sentences.iter();
    let first = sentences.next().map_or_else(String::new, |first| prose("Recommendation: ", first, width));
    first + &sentences.map(|sentence| prose("- ", sentence, width)).collect::<String>()
}

/// A column of names that others chose.
pub(super) fn words(heading: &str, rank: u8, cells: impl Iterator<Item = String>) -> Column {
    Column::left(heading, rank, cells.map(|cell| (cut(&one_line(&cell), LONGEST_NAME), Ink::Plain)))
}

/// A column of figures.
pub(super) fn figures(heading: &str, rank: u8, cells: impl Iterator<Item = String>) -> Column {
    Column::right(heading, rank, cells.map(|cell| (cell, Ink::Plain)))
}

pub(super) fn laid_out(columns: Vec<Column>, width: usize) -> String {
    laid_out_on(columns, "", &Screen::of_width(width))
}

/// Prose behind `first`, wrapped between words and indented below itself.
pub(super) fn prose(first: &str, text: &str, width: usize) -> String {
    Screen::of_width(width).prose(first, Ink::Plain, text)
}
