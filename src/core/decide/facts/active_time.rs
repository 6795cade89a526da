//! Time with exactly so many engines of a group having requests in flight. It only informs.

use std::time::Duration;

use crate::model::Moment;

/// What is known of the engines that serve: how many have requests, and until when that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Engines with requests running.
    pub active: usize,
    /// When the oldest of their loads goes stale.
    pub until: Moment,
}

/// Time by the number of engines that had requests running, from 0.
///
/// The rule: from one reading of a load, or change of who serves, to the next, the number is that of the
/// readings before it. Time counts only while at least one engine serves and every one that serves has a
/// fresh load with `running` known; where one goes stale in between, up to that moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActiveTime {
    total: Vec<Duration>,
    level: Option<Level>,
    since: Moment,
}

impl ActiveTime {
    /// Counts the time up to `now` at the level that was, and goes on at `level` (`None`: unknown).
    pub(crate) fn goes_on(&mut self, level: Option<Level>, now: Moment) {
        if let Some(was) = self.level {
            if self.total.len() <= was.active {
                self.total.resize(was.active + 1, Duration::ZERO);
            }
            self.total[was.active] += now.min(was.until).since(self.since);
        }
        self.level = level;
        self.since = now;
    }

    /// Times by the number of active engines, for a group of so many: one figure more than it has.
    pub(crate) fn by_number(&self, engines: usize) -> Vec<Duration> {
        (0..=engines).map(|active| self.total.get(active).copied().unwrap_or_default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    /// Levels as (second, active, stale at); whole seconds of a group of two engines.
    fn seconds(levels: &[(u64, Option<(usize, u64)>)]) -> Vec<u64> {
        let mut time = ActiveTime::default();
        for (now, level) in levels {
            time.goes_on(level.map(|(active, until)| Level { active, until: at(until) }), at(*now));
        }
        time.by_number(2).iter().map(Duration::as_secs).collect()
    }

    #[test]
    fn time_counts_at_the_number_that_was_read_before_it() {
        assert_eq!(seconds(&[(10, Some((1, 16))), (12, Some((2, 18))), (13, Some((0, 19))), (17, None)]), [4, 2, 1]);
    }

    #[test]
    fn time_without_a_known_level_is_not_counted() {
        assert_eq!(seconds(&[(10, None), (12, Some((1, 18))), (13, None), (20, Some((1, 26)))]), [0, 1, 0]);
    }

    #[test]
    fn time_counts_up_to_the_moment_at_which_a_load_goes_stale() {
        assert_eq!(seconds(&[(10, Some((2, 16))), (30, Some((2, 36)))]), [0, 0, 6]);
    }

    #[test]
    fn a_group_that_was_never_read_has_a_figure_for_each_number_all_the_same() {
        assert_eq!(seconds(&[]), [0, 0, 0]);
    }
}
