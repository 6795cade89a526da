//! Text for a terminal of so many columns: tables that leave columns out where room is short, and prose. Pure text.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::plain::one_line as clean;

/// Between two columns.
const GAP: usize = 2;
/// No word of others' takes more than this.
const LONGEST_NAME: usize = 28;

/// One column of a table.
pub(super) struct Column {
    heading: String,
    cells: Vec<String>,
    right: bool,
    /// Columns with the highest rank go first where room is short; 0: never.
    rank: u8,
}

impl Column {
    /// A column of words.
    pub(super) fn left(heading: &str, rank: u8, cells: impl IntoIterator<Item = String>) -> Column {
        let cells = cells.into_iter().map(|cell| cut(&clean(&cell), LONGEST_NAME)).collect();
        Column { heading: clean(heading), cells, right: false, rank }
    }

    /// A column of figures.
    pub(super) fn right(heading: &str, rank: u8, cells: impl IntoIterator<Item = String>) -> Column {
        Column { right: true, ..Column::left(heading, rank, cells) }
    }

    fn width(&self) -> usize {
        self.cells.iter().chain([&self.heading]).map(|text| text.width()).max().unwrap_or(0)
    }

    fn line(&self, row: usize) -> String {
        let text = row.checked_sub(1).map_or(Some(&self.heading), |row| self.cells.get(row)).map_or("", String::as_str);
        let pad = " ".repeat(self.width().saturating_sub(text.width()));
        if self.right { pad + text } else { text.to_owned() + &pad }
    }
}

/// Headings and rows, every line ended. A column without any text is left out.
pub(super) fn table(mut columns: Vec<Column>, width: usize) -> String {
    columns.retain(|column| column.cells.iter().any(|cell| !cell.is_empty()));
    while needed(&columns) > width {
        let Some(rank) = columns.iter().map(|column| column.rank).max().filter(|rank| *rank > 0) else { break };
        columns.retain(|column| column.rank != rank);
    }
    let rows = columns.iter().map(|column| column.cells.len()).max().map_or(0, |rows| rows + 1);
    let lines = (0..rows).map(|row| {
        let cells: Vec<_> = columns.iter().map(|column| column.line(row)).collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// The width of the whole table.
pub(super) fn needed(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width() + GAP).sum::<usize>().saturating_sub(GAP)
}

/// Prose behind `first`, wrapped between words and indented below itself, every line ended.
pub(super) fn prose(first: &str, text: &str, width: usize) -> String {
    let (indent, mut lines) = (first.width(), vec![first.to_owned()]);
    for word in clean(text).split(' ') {
        let last = lines.last().map_or(0, |line| line.width());
        if last > indent && last + 1 + word.width() > width {
            lines.push(" ".repeat(indent) + word);
        } else if let Some(line) = lines.last_mut() {
            line.push_str(if last > indent { " " } else { "" });
            line.push_str(word);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let texts = |texts: [&str; 2]| texts.map(str::to_owned);
        vec![
            Column::left("ENGINE", 0, texts(["引擎", "a"])),
            Column::right("GAIN", 0, texts(["1.62", "–"])),
            Column::left("EMPTY", 0, texts(["", ""])),
            Column::right("SPREAD", 1, texts(["1.58–1.66", "–"])),
        ]
    }

    #[test]
    fn columns_are_aligned_whatever_their_script_and_go_where_there_is_no_room() {
        let wide = "ENGINE  GAIN     SPREAD\n引擎    1.62  1.58–1.66\na          –          –\n";
        assert_eq!(table(columns(), 80), wide);
        assert_eq!(table(columns(), 12), "ENGINE  GAIN\n引擎    1.62\na          –\n");
        assert_eq!(table(Vec::new(), 80), "");
    }

    #[test]
    fn prose_is_wrapped_below_itself_and_drives_no_terminal() {
        assert_eq!(prose("- ", "one two three", 9), "- one two\n  three\n");
        assert_eq!(prose("", "\u{1b}[31mred\u{202e}", 80), "\u{fffd}[31mred\u{fffd}\n");
        assert_eq!(cut("a model with a long name", 8), "a model…");
    }
}
