//! The story of `demo`: a line for each event that a person cares about. It formats; the caller prints.

use std::io::IsTerminal;

use super::log::{Level, level};
use super::sentence::{TimeOfDay, place, sentence_now, word};
use crate::model::{Event, Moment, What};

/// What most words have room in.
const WORD_WIDTH: usize = 14;

/// Tells events in columns: seconds since the start, the word, the place, the sentence.
#[derive(Debug)]
pub struct Story {
    start: Moment,
    time_of_day: TimeOfDay,
    coloured: bool,
    word_width: usize,
    place_width: usize,
}

impl Story {
    /// A story whose time begins at `start`, with terminal colours or without.
    pub fn new(start: Moment, coloured: bool, time_of_day: TimeOfDay) -> Self {
        Story { start, time_of_day, coloured, word_width: WORD_WIDTH, place_width: 0 }
    }

    /// A story for stdout: coloured if that is a terminal and NO_COLOR is not set.
    pub fn for_stdout(start: Moment, time_of_day: TimeOfDay) -> Self {
        Story::new(start, std::io::stdout().is_terminal() && !crate::text::screen::no_color(), time_of_day)
    }

    /// The event's line, without its end; `None` for what interests no person. A longer word or
    /// place than any before widens its column from here on.
    pub fn line(&mut self, event: &Event) -> Option<String> {
        if matches!(event.what, What::Command { .. }) {
            return None;
        }
        let colour = match level(event) {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            _ => "2",
        };
        Some(self.row(event.at, (word(event), colour), &place(event), &sentence_now(event, self.time_of_day)))
    }

    /// A line about something that is no event: what a demo does to its own stage.
    pub fn aside(&mut self, at: Moment, word: &str, place: &str, sentence: &str) -> String {
        self.row(at, (word, "35"), place, sentence)
    }

    fn row(&mut self, at: Moment, (word, colour): (&str, &str), place: &str, sentence: &str) -> String {
        self.place_width = self.place_width.max(place.chars().count());
        self.word_width = self.word_width.max(word.chars().count());
        let (seconds, width) = (at.since(self.start).as_secs_f64(), self.place_width);
        let word = format!("{word:<of$}", of = self.word_width);
        let word = if self.coloured { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
        format!("{seconds:>7.3} s  {word}  {place:<width$}  {sentence}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::model::{CommandResult, Fault};

    fn fault(engine: Option<&str>, because: &str) -> Event {
        let what = What::FaultBegan { fault: Fault::GpuFault, evidence_at: Moment::ZERO, because: because.to_owned() };
        let at = Moment::from_nanos(16_131_000_000);
        Event { at, group: Some("small-llms".into()), engine: engine.map(Into::into), what }
    }

    fn ten_seconds_in(coloured: bool) -> Story {
        Story::new(Moment::from_nanos(10_000_000_000), coloured, |at| at.as_secs_f64().to_string())
    }

    #[test]
    fn a_line_has_its_time_word_place_and_sentence() {
        let line = ten_seconds_in(false).line(&fault(None, "server's log names client 630"));
        assert_eq!(line.unwrap(), "  6.131 s  gpu_fault       small-llms  server's log names client 630");
    }

    #[test]
    fn columns_stay_aligned_once_a_longer_place_came() {
        let mut story = ten_seconds_in(false);
        let long = story.line(&fault(Some("qwen-a"), "x")).unwrap();
        let short = story.line(&fault(None, "x")).unwrap();
        assert_eq!(long.len(), short.len());
    }

    #[test]
    fn commands_are_left_out() {
        let command = Event { what: What::Command { result: CommandResult::Answered }, ..fault(None, "") };
        assert_eq!(ten_seconds_in(false).line(&command), None);
    }

    #[test]
    fn colours_are_only_in_the_word() {
        let line = ten_seconds_in(true).line(&fault(None, "x")).unwrap();
        assert_eq!(line, "  6.131 s  \x1b[31mgpu_fault     \x1b[0m  small-llms  x");
    }
}
