//! What isolation costs: time with engines serving on both sides of a group, and time in which both had work: two
//! servers share a GPU by time slices, so that their kernels do not overlap. It only informs.

use std::time::Duration;

use crate::model::Moment;

/// Time since the watchdog's start.
#[derive(Clone, Debug, Default)]
pub(in crate::decide) struct IsolatedTime {
    /// With engines serving on both sides.
    pub isolated: Duration,
    /// Of it, with requests in flight on both.
    pub sliced: Duration,
    both_serve: bool,
    both_busy: bool,
    since: Moment,
}

impl IsolatedTime {
    /// Counts the time up to `now` as things were, and goes on as they are.
    pub fn goes_on(&mut self, both_serve: bool, both_busy: bool, now: Moment) {
        let took = now.since(self.since);
        if self.both_serve {
            self.isolated += took;
        }
        if self.both_busy {
            self.sliced += took;
        }
        (self.both_serve, self.both_busy, self.since) = (both_serve, both_busy, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_as_things_were_before() {
        let at = |secs| Moment::ZERO.after(Duration::from_secs(secs));
        let mut time = IsolatedTime::default();
        time.goes_on(true, false, at(10));
        time.goes_on(true, true, at(13));
        time.goes_on(false, false, at(15));
        time.goes_on(false, false, at(60));
        assert_eq!((time.isolated, time.sliced), (Duration::from_secs(5), Duration::from_secs(2)));
    }
}
