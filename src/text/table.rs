//! A table with aligned columns that fits its screen: it leaves columns out, and cuts the last one. Pure text.

use unicode_width::UnicodeWidthStr;

use super::plain::one_line as clean;
use super::screen::{Ink, Screen, cut};

/// Gap between two columns.
const GAP: &str = "  ";
/// The last column is not cut below this: columns go first.
const LEAST_LAST: usize = 12;

/// One cell.
pub type Cell = (String, Ink);

/// One column.
pub struct Column {
    heading: String,
    right: bool,
    /// Columns with a higher rank go first where room is short; 0: never.
    rank: u8,
    cells: Vec<Cell>,
}

impl Column {
    /// A column of words.
    pub fn left(heading: &str, rank: u8, cells: impl IntoIterator<Item = Cell>) -> Column {
        Column { heading: clean(heading), right: false, rank, cells: cleaned(cells) }
    }

    /// A column of figures.
    pub fn right(heading: &str, rank: u8, cells: impl IntoIterator<Item = Cell>) -> Column {
        Column { heading: clean(heading), right: true, rank, cells: cleaned(cells) }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|(text, _)| text.width());
        cells.chain([self.heading.width()]).max().unwrap_or(0)
    }

    /// The heading, then the cells.
    fn line(&self, row: usize) -> (&str, Ink) {
        match row.checked_sub(1) {
            None => (&self.heading, Ink::Dim),
            Some(at) => self.cells.get(at).map_or(("", Ink::Plain), |(text, ink)| (text, *ink)),
        }
    }
}

fn cleaned(cells: impl IntoIterator<Item = Cell>) -> Vec<Cell> {
    cells.into_iter().map(|(text, ink)| (clean(&text), ink)).collect()
}

/// The table with its headings, every line behind `indent` and ended. A column without any text is left out.
pub fn table(mut columns: Vec<Column>, indent: &str, screen: &Screen) -> String {
    columns.retain(|column| column.cells.iter().any(|(text, _)| !text.is_empty()));
    if let Some(width) = screen.width {
        leave_out(&mut columns, width.saturating_sub(indent.width()));
    }
    let Some(last) = columns.len().checked_sub(1) else { return String::new() };
    let before: usize = columns[..last].iter().map(|column| column.width() + GAP.len()).sum();
    let room = screen.width.map_or(usize::MAX, |width| width.saturating_sub(indent.width() + before).max(LEAST_LAST));
    let rows = columns[last].cells.len();
    let mut text = String::new();
    for row in 0..=rows {
        let cells = columns.iter().enumerate().map(|(at, column)| cell(column, row, at == last, room, screen));
        let line = format!("{indent}{}", cells.collect::<Vec<_>>().join(GAP));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn leave_out(columns: &mut Vec<Column>, room: usize) {
    while least(columns) > room {
        let Some(rank) = columns.iter().map(|column| column.rank).max().filter(|rank| *rank > 0) else { return };
        columns.retain(|column| column.rank != rank);
    }
}

/// The width with the last column cut as far as may be: figures are never cut.
fn least(columns: &[Column]) -> usize {
    let Some((last, before)) = columns.split_last() else { return 0 };
    let last = if last.right { last.width() } else { last.width().min(LEAST_LAST) };
    before.iter().map(|column| column.width() + GAP.len()).sum::<usize>() + last
}

/// The width that nothing is cut at.
pub fn needed(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width() + GAP.len()).sum::<usize>().saturating_sub(GAP.len())
}

fn cell(column: &Column, row: usize, last: bool, room: usize, screen: &Screen) -> String {
    let (text, ink) = column.line(row);
    if last && !column.right {
        return screen.paint(&cut(text, room), ink);
    }
    let pad = " ".repeat(column.width().saturating_sub(text.width()));
    let text = screen.paint(text, ink);
    if column.right { format!("{pad}{text}") } else { format!("{text}{pad}") }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn columns() -> Vec<Column> {
        let plain = |texts: [&'static str; 2]| texts.into_iter().map(|text| (text.to_owned(), Ink::Plain));
        vec![
            Column::left("ENGINE", 0, plain(["引擎", "qwen-a"])),
            Column::right("RUN", 1, plain(["7", "12345"])),
            Column::left("KV", 2, plain(["", ""])),
            Column::left("NOTE", 0, plain(["", "a long note that goes on"])),
        ]
    }

    fn shown(width: Option<usize>) -> String {
        table(columns(), " ", &Screen { width, coloured: false, zone: TimeZone::UTC })
    }

    #[test]
    fn columns_are_aligned_whatever_their_script_and_empty_ones_are_left_out() {
        let expected = " ENGINE    RUN  NOTE\n 引擎        7\n qwen-a  12345  a long note that goes on\n";
        assert_eq!(shown(None), expected);
    }

    #[test]
    fn what_does_not_fit_is_cut_then_left_out() {
        assert_eq!(shown(Some(32)).lines().last(), Some(" qwen-a  12345  a long note tha…"));
        assert_eq!(shown(Some(24)).lines().last(), Some(" qwen-a  a long note th…"));
    }

    #[test]
    fn an_empty_table_is_no_text() {
        assert_eq!(table(Vec::new(), "", &Screen { width: None, coloured: true, zone: TimeZone::UTC }), "");
    }
}
