//! Tells on stderr how far a study is: a bar with the time left on a terminal, a line for each cell elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{bar:24} {pos}/{len} runs, {eta} left  {wide_msg}";

/// How it is told.
#[derive(Debug)]
pub enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a log.
    Lines(Lines),
}

/// What was told of, so that it is not told twice.
#[derive(Debug, Default)]
pub struct Lines {
    last: String,
    done: usize,
    runs: usize,
}

impl Progress {
    /// For this process' stderr.
    pub fn for_stderr() -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress::Lines(Lines::default());
        }
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(0).with_style(style);
        bar.enable_steady_tick(Duration::from_secs(1));
        Progress::Bar(bar)
    }

    /// There are so many runs in all.
    pub(super) fn expect(&mut self, runs: usize) {
        match self {
            Progress::Bar(bar) => {
                bar.set_length(runs as u64);
                // The time that engines take to start says nothing about that of the runs.
                bar.reset_eta();
            }
            Progress::Lines(lines) => lines.runs = runs,
        }
    }

    /// What is being done now; the same words again are the same line.
    pub(super) fn now(&mut self, what: &str) {
        match self {
            Progress::Bar(bar) => bar.set_message(what.to_owned()),
            Progress::Lines(lines) if lines.last == what => {}
            Progress::Lines(lines) => {
                what.clone_into(&mut lines.last);
                match lines.runs {
                    0 => say(what),
                    runs => say(&format!("{:>4}/{runs} {what}", lines.done)),
                }
            }
        }
    }

    /// One run is over.
    pub(super) fn step(&mut self) {
        match self {
            Progress::Bar(bar) => bar.inc(1),
            Progress::Lines(lines) => lines.done += 1,
        }
    }

    /// Something to be remembered.
    pub fn tell(&self, what: &str) {
        match self {
            Progress::Bar(bar) => bar.suspend(|| say(what)),
            Progress::Lines(_) => say(what),
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Goes on where nobody reads any more.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
