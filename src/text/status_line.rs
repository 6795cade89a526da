//! One line on a terminal's stderr that is written over and over; nothing where that is no terminal.

use std::io::{IsTerminal, Write};

use super::plain::one_line;
use super::screen::cut;

/// Columns where the terminal does not say how many it has.
const WIDTH: usize = 80;

/// The line.
#[derive(Debug, Default)]
pub struct StatusLine {
    shown: bool,
}

impl StatusLine {
    /// Writes it over what it was.
    pub fn show(&mut self, what: &str) {
        let mut err = std::io::stderr();
        if err.is_terminal() {
            let columns = rustix::termios::tcgetwinsize(&err).map_or(0, |size| usize::from(size.ws_col));
            let columns = if columns == 0 { WIDTH } else { columns };
            let _ = write!(err, "\r\x1b[K{}", cut(&one_line(what), columns - 1));
            self.shown = true;
        }
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
