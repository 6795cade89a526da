//! Describes where text goes: how wide it is, whether it takes colours; and text that can't drive it. Pure but for the
//! look at the terminal.

use std::io::{IsTerminal, Stdout};

use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::plain::one_line as clean;

/// Least width of a line: narrower ones hold nothing.
const NARROWEST: usize = 40;
/// What stands behind a figure and on its line.
const UNITS: [&str; 8] = ["ms", "s", "min", "h", "d", "%", "MiB", "GiB"];

/// What the text is made for.
#[derive(Clone, Debug)]
pub struct Screen {
    /// Columns; `None`: as many as it takes.
    pub width: Option<usize>,
    /// Whether colours are wanted.
    pub coloured: bool,
    /// Zone of times of day.
    pub zone: TimeZone,
}

/// What a word means, by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// A word of no special meaning.
    Plain,
    /// A heading.
    Bold,
    /// A word of less weight.
    Dim,
    /// A word for what is as it should be.
    Good,
    /// Not as it should be.
    Warn,
    /// Somebody is needed.
    Bad,
    /// Not known.
    Odd,
}

impl Screen {
    /// The terminal behind stdout, if it is one.
    pub fn of(stdout: &Stdout) -> Screen {
        let terminal = stdout.is_terminal();
        let width = rustix::termios::tcgetwinsize(stdout).ok().map(|size| usize::from(size.ws_col));
        Screen {
            width: width.filter(|width| terminal && *width > 0).map(|width| width.max(NARROWEST)),
            coloured: terminal && !no_color(),
            zone: TimeZone::system(),
        }
    }

    /// A screen for files: no colours, with times in UTC.
    pub fn plain() -> Screen {
        Screen { width: None, coloured: false, zone: TimeZone::UTC }
    }

    /// A screen of so many columns without colours.
    pub fn of_width(width: usize) -> Screen {
        Screen { width: Some(width), ..Screen::plain() }
    }

    /// The text in its ink.
    pub fn paint(&self, text: &str, ink: Ink) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Good => "32",
            Ink::Warn => "33",
            Ink::Bad => "31",
            Ink::Odd => "35",
        };
        if self.coloured && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Prose after a label, wrapped between words and indented below itself; ends with a newline. The label is printed
    /// in its ink.
    pub fn prose(&self, label: &str, ink: Ink, text: &str) -> String {
        let indent = label.width();
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(NARROWEST / 2));
        let lines = wrapped(&clean(text), room);
        let below = format!("\n{}", " ".repeat(indent));
        format!("{}{}\n", self.paint(label, ink), lines.join(&below))
    }
}

/// Whether the environment asks for no colours (`NO_COLOR`).
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Cuts a text to so many columns; what was cut off shows as `…`.
pub fn cut(text: &str, columns: usize) -> String {
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

/// The words of a text; a figure and its unit are one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let unit = UNITS.contains(&word.trim_end_matches([',', ';', ':', '.', ')']));
        match words.last_mut().filter(|last| unit && last.ends_with(|c: char| c.is_ascii_digit())) {
            Some(last) => *last = format!("{last} {word}"),
            None => words.push(word.to_owned()),
        }
    }
    words
}

/// The lines of a text at most so many columns wide; a word that is wider is a line of its own.
pub(super) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words(text) {
        let last = lines.last().map_or(0, |line| line.width());
        if last > 0 && last + 1 + word.width() > room {
            if let Some(full) = lines.last_mut() {
                full.truncate(full.trim_end().len());
            }
            lines.push(word);
        } else if let Some(line) = lines.last_mut() {
            line.push_str(if last > 0 { " " } else { "" });
            line.push_str(&word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(width: Option<usize>, coloured: bool) -> Screen {
        Screen { width, coloured, zone: TimeZone::UTC }
    }

    #[test]
    fn nothing_drives_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e\r\n"), "a�[2Jb c�d�e");
    }

    #[test]
    fn prose_is_wrapped_below_itself() {
        let told = screen(Some(40), false).prose(
            "  held  ",
            Ink::Bad,
            "process 4711 does not die (state D), which only a reboot ends",
        );
        assert_eq!(told, "  held  process 4711 does not die (state\n        D), which only a reboot ends\n");
        let told = screen(Some(40), false).prose("", Ink::Plain, "the last one came about an hour and 12 min 3 s ago");
        assert_eq!(told, "the last one came about an hour and\n12 min 3 s ago\n");
        assert_eq!(screen(None, true).prose("x ", Ink::Bad, "y z"), "\x1b[31mx \x1b[0my z\n");
    }

    #[test]
    fn text_is_cut_by_columns_not_by_characters() {
        assert_eq!(cut("引擎引擎", 8), "引擎引擎");
        assert_eq!(cut("引擎引擎", 6), "引擎…");
        assert_eq!(cut("abc", 2), "a…");
    }
}
