//! Tells on stderr how far a study is: a line with the time left on a terminal, a line for each cell elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::text::span::age;
use crate::text::status_line::StatusLine;

/// Columns of the bar.
const BAR: usize = 24;

/// Tells how far a study is.
#[derive(Debug)]
pub struct Progress {
    /// The line that is rewritten; `None`: stderr is no terminal.
    line: Option<StatusLine>,
    /// What is being done.
    what: String,
    done: usize,
    runs: usize,
    /// When the first run began; the time that engines take to start says nothing about that of the runs.
    began: Instant,
}

impl Progress {
    /// Progress on this process' stderr.
    pub fn for_stderr() -> Progress {
        let line = std::io::stderr().is_terminal().then(StatusLine::default);
        Progress { line, what: String::new(), done: 0, runs: 0, began: Instant::now() }
    }

    /// There are so many runs in all.
    pub(super) fn expect(&mut self, runs: usize) {
        (self.runs, self.began) = (runs, Instant::now());
    }

    /// What is being done now; the same words again are the same line.
    pub(super) fn now(&mut self, what: &str) {
        if self.line.is_none() && self.what != what {
            match self.runs {
                0 => say(what),
                runs => say(&format!("{:>4}/{runs} {what}", self.done)),
            }
        }
        what.clone_into(&mut self.what);
        self.show();
    }

    /// One run is over.
    pub(super) fn step(&mut self) {
        self.done += 1;
        self.show();
    }

    /// Something to be remembered.
    pub fn tell(&mut self, what: &str) {
        self.clear();
        say(what);
        self.show();
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if let Some(line) = &mut self.line {
            line.clear();
        }
    }

    fn show(&mut self) {
        let text = shown(self.done, self.runs, self.began.elapsed(), &self.what);
        if let Some(line) = self.line.as_mut().filter(|_| !self.what.is_empty()) {
            line.show(&text);
        }
    }
}

/// A bar, the runs, and the time left if the rest takes as long as what is done.
fn shown(done: usize, runs: usize, passed: Duration, what: &str) -> String {
    if runs == 0 {
        return what.to_owned();
    }
    let full = BAR * done.min(runs) / runs;
    let left = (passed.as_secs_f64() / done as f64 * runs.saturating_sub(done) as f64).ceil();
    let left = Duration::try_from_secs_f64(left).map_or_else(|_| "?".to_owned(), age);
    format!("{}{} {done}/{runs} runs, {left} left  {what}", "█".repeat(full), "░".repeat(BAR - full))
}

/// Goes on where the reader is gone.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_goes_by_the_runs_that_are_done() {
        let quarter = shown(3, 12, Duration::from_secs(30), "alone");
        assert_eq!(quarter, "██████░░░░░░░░░░░░░░░░░░ 3/12 runs, 1 min 30 s left  alone");
        assert!(shown(0, 12, Duration::from_secs(1), "alone").contains(" 0/12 runs, ? left"));
        assert_eq!(shown(0, 0, Duration::ZERO, "starting"), "starting");
    }
}
