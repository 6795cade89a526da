//! A whole terminal that is written over and over, and is given back as it was. What is shown may hold colours, and is
//! otherwise plain already.

use std::io::{IsTerminal, Stdout, Write, stdout};

/// Rows where the terminal does not say how many it has.
const ROWS: usize = 24;
/// The other screen, no cursor, no lines that go on in the next row.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// What was there before.
const GIVE_BACK: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal, while it is ours. Dropping it gives it back.
#[derive(Debug)]
pub struct FullScreen {
    out: Stdout,
    taken: bool,
}

impl FullScreen {
    /// The terminal behind stdout; `None` where there is none.
    pub fn take() -> Option<FullScreen> {
        let out = stdout();
        let mut screen = out.is_terminal().then_some(FullScreen { out, taken: false })?;
        screen.take_again().ok()?;
        Some(screen)
    }

    /// Takes it once more after it was given back.
    pub fn take_again(&mut self) -> std::io::Result<()> {
        self.taken = true;
        self.write(TAKE)
    }

    /// Gives it back as it was.
    pub fn give_back(&mut self) {
        if std::mem::take(&mut self.taken) {
            // A terminal that is gone needs nothing.
            let _ = self.write(GIVE_BACK);
        }
    }

    /// Shows this text from the top, as far as there are rows.
    pub fn show(&mut self, text: &str) -> std::io::Result<()> {
        let size = rustix::termios::tcgetwinsize(&self.out).map_or(0, |size| usize::from(size.ws_row));
        self.write(&frame(text, if size == 0 { ROWS } else { size }))
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        let mut out = self.out.lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The rows over what was there; the last one says how many lines there are no rows for.
fn frame(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let fits = lines.len() <= rows;
    let shown = if fits { lines.len() } else { rows.saturating_sub(1) };
    let mut frame = "\x1b[H".to_owned();
    let more = (!fits).then(|| format!("... {} more lines: make the window taller", lines.len() - shown));
    let all: Vec<String> = lines[..shown].iter().map(|line| format!("{line}\x1b[K")).chain(more).collect();
    frame.push_str(&all.join("\r\n"));
    frame.push_str("\x1b[J");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_stands_over_the_last_one_and_says_what_has_no_room() {
        assert_eq!(frame("one\ntwo\n", 2), "\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J");
        let cut = "\x1b[Hone\x1b[K\r\n... 2 more lines: make the window taller\x1b[J";
        assert_eq!(frame("one\ntwo\nthree\n", 2), cut);
        assert_eq!(frame("", 2), "\x1b[H\x1b[J");
    }
}
