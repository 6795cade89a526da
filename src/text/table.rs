//! A table with aligned columns that fits its screen: it leaves columns out, and wraps the last one. Pure text.

use unicode_width::UnicodeWidthStr;

use super::plain::one_line as clean;
use super::screen::{Ink, Screen, wrapped};

/// Gap between two columns.
const GAP: &str = "  ";
/// Columns that are made free for the last column: others go first.
const LEAST_LAST: usize = 12;
/// In less room than this its words are hard to read, and stand below their row.
const LEAST_BESIDE: usize = 24;
/// What stands below its row stands behind this.
const BELOW: &str = "    ";

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

    fn longest_word(&self) -> usize {
        let words = self.cells.iter().flat_map(|(text, _)| text.split(' '));
        words.map(UnicodeWidthStr::width).max().unwrap_or(0)
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

/// The table with its headings, every line behind `indent` and ended. A column without any text is left out. Nothing is
/// cut: words of the last column that do not fit beside the others are wrapped, or stand below their row.
pub fn table(mut columns: Vec<Column>, indent: &str, screen: &Screen) -> String {
    columns.retain(|column| column.cells.iter().any(|(text, _)| !text.is_empty()));
    if let Some(width) = screen.width {
        leave_out(&mut columns, width.saturating_sub(indent.width()));
    }
    let Some((last, before)) = columns.split_last() else { return String::new() };
    let taken = indent.width() + before.iter().map(|column| column.width() + GAP.len()).sum::<usize>();
    let place = Place::of(last, taken, indent, screen);
    let mut text = String::new();
    for row in 0..=last.cells.len() {
        let cells = before.iter().map(|column| padded(column, row, screen) + GAP);
        let beside = format!("{indent}{}", cells.collect::<String>());
        text.push_str(&place.row(&beside, last, row, screen));
    }
    text
}

/// Where the text of the last column stands.
enum Place {
    /// Beside the others, in so many columns; what is wrapped begins below itself.
    Beside { room: usize, at: usize },
    /// Below its row, in so many columns.
    Below { room: usize, at: usize },
}

impl Place {
    fn of(last: &Column, taken: usize, indent: &str, screen: &Screen) -> Place {
        let Some(width) = screen.width else { return Place::Beside { room: usize::MAX, at: taken } };
        let room = width.saturating_sub(taken);
        let fits = last.right || last.width() <= room || (room >= LEAST_BESIDE && last.longest_word() <= room);
        let at = indent.width() + BELOW.len();
        if fits { Place::Beside { room, at: taken } } else { Place::Below { room: width.saturating_sub(at), at } }
    }

    /// One row, with what stands beside its last cell.
    fn row(&self, beside: &str, last: &Column, row: usize, screen: &Screen) -> String {
        let (text, ink) = last.line(row);
        match self {
            Place::Beside { .. } if text.is_empty() => format!("{}\n", beside.trim_end()),
            Place::Beside { .. } if last.right => format!("{beside}{}\n", padded(last, row, screen)),
            Place::Beside { room, at } => {
                let below = format!("\n{}", " ".repeat(*at));
                format!("{beside}{}\n", painted(text, *room, ink, screen).join(&below))
            }
            // Its heading would stand over nothing.
            Place::Below { .. } if row == 0 || text.is_empty() => format!("{}\n", beside.trim_end()),
            Place::Below { room, at } => {
                let below = format!("\n{}", " ".repeat(*at));
                format!("{}{below}{}\n", beside.trim_end(), painted(text, *room, ink, screen).join(&below))
            }
        }
    }
}

fn painted(text: &str, room: usize, ink: Ink, screen: &Screen) -> Vec<String> {
    wrapped(text, room).iter().map(|line| screen.paint(line, ink)).collect()
}

fn leave_out(columns: &mut Vec<Column>, room: usize) {
    while least(columns) > room {
        let Some(rank) = columns.iter().map(|column| column.rank).max().filter(|rank| *rank > 0) else { return };
        columns.retain(|column| column.rank != rank);
    }
}

/// The width that columns are left out for: the last one needs little, or none where its words are too long to stand
/// beside the others.
fn least(columns: &[Column]) -> usize {
    let Some((last, before)) = columns.split_last() else { return 0 };
    let last = match last {
        last if last.right => last.width(),
        last if last.longest_word() > LEAST_BESIDE => 0,
        last => last.width().min(LEAST_LAST),
    };
    before.iter().map(|column| column.width() + GAP.len()).sum::<usize>() + last
}

/// The width that nothing is wrapped at.
pub fn needed(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width() + GAP.len()).sum::<usize>().saturating_sub(GAP.len())
}

fn padded(column: &Column, row: usize, screen: &Screen) -> String {
    let (text, ink) = column.line(row);
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
            Column::left("NOTE", 0, plain(["", "a long note that goes on and on"])),
        ]
    }

    fn shown(width: Option<usize>) -> String {
        table(columns(), " ", &Screen { width, coloured: false, zone: TimeZone::UTC })
    }

    #[test]
    fn columns_are_aligned_whatever_their_script_and_empty_ones_are_left_out() {
        let expected = " ENGINE    RUN  NOTE\n 引擎        7\n qwen-a  12345  a long note that goes on and on\n";
        assert_eq!(shown(None), expected);
    }

    #[test]
    fn what_does_not_fit_is_wrapped_then_stands_below_and_is_never_cut() {
        let beside =
            " ENGINE    RUN  NOTE\n 引擎        7\n qwen-a  12345  a long note that goes on\n                and on\n";
        assert_eq!(shown(Some(40)), beside);
        let below = " ENGINE    RUN\n 引擎        7\n qwen-a  12345\n     a long note that goes on\n     and on\n";
        assert_eq!(shown(Some(32)), below);
        assert_eq!(shown(Some(24)), " ENGINE\n 引擎\n qwen-a\n     a long note that\n     goes on and on\n");
    }

    #[test]
    fn a_word_that_is_wider_than_any_room_stands_below_and_takes_no_column_away() {
        let cells = |text: &str| [(text.to_owned(), Ink::Plain)];
        let id = "20261122T230502.000-small-llms-gpu_fault";
        let columns = vec![
            Column::left("WHERE", 0, cells("small-llms")),
            Column::right("TOOK", 1, cells("5.37 s")),
            Column::left("ID", 0, cells(id)),
        ];
        let shown = table(columns, "", &Screen { width: Some(30), coloured: false, zone: TimeZone::UTC });
        assert_eq!(shown, format!("WHERE         TOOK\nsmall-llms  5.37 s\n    {id}\n"));
    }

    #[test]
    fn an_empty_table_is_no_text() {
        assert_eq!(table(Vec::new(), "", &Screen { width: None, coloured: true, zone: TimeZone::UTC }), "");
    }
}
