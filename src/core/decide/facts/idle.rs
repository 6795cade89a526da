//! Tells since when an engine was seen without work. What is not known to be idle is not idle.

use std::time::Duration;

use crate::decide::facts::cadence::LOAD;
use crate::model::{EngineLoad, Moment};

/// Time for which an engine must have been seen idle to be taken for idle: a request that comes between two readings
/// and faults at once would be missed. With it, at most one reading's gap after five without work.
const IDLE_FOR: Duration = Duration::from_secs(10);
/// The last reading before the fault may be so old: one interval, and half a second for the look itself.
const LAST_READ: Duration = Duration::from_millis(LOAD.as_millis() as u64 + 500);

/// Readings in a row that showed no request and the same tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct IdleRow {
    /// The first and the last of them, and the tokens that all of them showed.
    row: Option<(Moment, Moment, TokenCounts)>,
}

/// Prompt and generated tokens.
type TokenCounts = (f64, f64);

impl IdleRow {
    /// A load was read, and something else speaks against one without requests.
    pub(crate) fn interrupted(&mut self) {
        self.row = None;
    }

    /// A load was read, and nothing else speaks against it.
    pub(crate) fn saw(&mut self, load: &EngineLoad, now: Moment) {
        let quiet = load.running == Some(0.0) && load.waiting == Some(0.0);
        let tokens = load.prompt_tokens.zip(load.generation_tokens).filter(|_| quiet);
        let since = self.row.filter(|(_, _, before)| Some(*before) == tokens).map_or(now, |(since, _, _)| since);
        self.row = tokens.map(|tokens| (since, now, tokens));
    }

    /// Times between which it was seen idle, if that says that it was idle at `fault`.
    pub(crate) fn at(&self, fault: Moment) -> Option<(Moment, Moment)> {
        let (since, read, _) = self.row?;
        let before = read <= fault && fault.since(read) <= LAST_READ;
        (before && read.since(since) >= IDLE_FOR).then_some((since, read))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Moment {
        Moment::ZERO.after(Duration::from_secs_f64(seconds))
    }

    fn load(running: f64, tokens: f64) -> EngineLoad {
        let some = Some(tokens);
        let requests = (Some(running), Some(0.0));
        EngineLoad {
            running: requests.0,
            waiting: requests.1,
            prompt_tokens: some,
            generation_tokens: some,
            ..EngineLoad::default()
        }
    }

    /// Readings two seconds apart, from zero; whether it counts as idle half a second after the last.
    fn idle(readings: &[EngineLoad]) -> bool {
        let mut row = IdleRow::default();
        readings.iter().enumerate().for_each(|(n, reading)| row.saw(reading, at(n as f64 * 2.0)));
        row.at(at((readings.len() - 1) as f64 * 2.0 + 0.5)).is_some()
    }

    #[test]
    fn ten_seconds_without_a_request_and_without_a_token_are_idle() {
        assert!(idle(&vec![load(0.0, 7.0); 6]));
        assert!(!idle(&vec![load(0.0, 7.0); 5]));
    }

    #[test]
    fn a_request_or_a_token_begins_the_row_anew() {
        let mut readings = vec![load(0.0, 7.0); 6];
        readings.push(load(1.0, 7.0));
        assert!(!idle(&readings));
        readings.pop();
        readings.push(load(0.0, 8.0));
        assert!(!idle(&readings));
    }

    #[test]
    fn figures_that_are_missing_say_nothing() {
        assert!(!idle(&vec![EngineLoad { waiting: None, ..load(0.0, 7.0) }; 9]));
        assert!(!idle(&vec![EngineLoad { generation_tokens: None, ..load(0.0, 7.0) }; 9]));
    }

    #[test]
    fn a_reading_that_is_old_or_of_after_the_fault_says_nothing() {
        let mut row = IdleRow::default();
        (0..7).for_each(|n| row.saw(&load(0.0, 7.0), at(f64::from(n) * 2.0)));
        assert_eq!(row.at(at(14.5)), Some((at(0.0), at(12.0))));
        assert_eq!((row.at(at(14.6)), row.at(at(11.9))), (None, None));
    }
}
