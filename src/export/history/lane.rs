//! The states of one thing over the last hour.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Moment;

/// How far back a lane goes.
pub const HOUR: Duration = Duration::from_secs(3600);
/// Most changes that a lane keeps; of more, the oldest go.
const MOST: usize = 240;

/// The states of one thing, each from a moment on, until the next one.
#[derive(Clone, Debug)]
pub struct Lane<T> {
    changes: VecDeque<(Moment, T)>,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Lane { changes: VecDeque::new() }
    }
}

impl<T: Copy + PartialEq> Lane<T> {
    /// Takes in a state.
    pub(super) fn look(&mut self, at: Moment, state: T) {
        if self.changes.back().is_none_or(|(_, last)| *last != state) {
            self.changes.push_back((at, state));
        }
        // The one that goes on from before the hour stays.
        let over = |changes: &VecDeque<(Moment, T)>| {
            changes.len() > MOST || changes.get(1).is_some_and(|(next, _)| at.since(*next) >= HOUR)
        };
        while over(&self.changes) {
            self.changes.pop_front();
        }
    }

    /// Each state with its begin and its end, within that time before `now`, oldest first.
    pub fn spans(&self, now: Moment, within: Duration) -> Vec<(Moment, Moment, T)> {
        let from = now.before(within);
        let ends = self.changes.iter().skip(1).map(|(at, _)| *at).chain([now]);
        let spans =
            self.changes.iter().zip(ends).map(|((begin, state), end)| ((*begin).max(from), end.min(now), *state));
        spans.filter(|(begin, end, _)| begin < end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_lane_has_the_spans_of_the_last_hour_and_no_more() {
        let mut lane = Lane::default();
        for (second, state) in [(0, 'a'), (10, 'b'), (11, 'b'), (4000, 'a'), (5000, 'b')] {
            lane.look(at(second), state);
        }
        assert_eq!(
            lane.spans(at(5400), HOUR),
            [(at(1800), at(4000), 'b'), (at(4000), at(5000), 'a'), (at(5000), at(5400), 'b')]
        );
        assert_eq!(lane.changes.len(), 3);
    }

    #[test]
    fn what_changes_all_the_time_is_bounded() {
        let mut lane = Lane::default();
        (0..1000).for_each(|second| lane.look(at(second), second % 2));
        assert_eq!(lane.changes.len(), MOST);
    }
}
