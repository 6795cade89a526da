//! Costs of isolation: time with engines serving in both domains of a group, and time in which both had work: two
//! servers share a GPU by time slices, so that their kernels do not overlap. It only informs.

use std::time::Duration;

use crate::model::Moment;

/// What the two domains of a group have in common at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Domains {
    /// Nothing: at most one of them serves.
    #[default]
    OneServes,
    /// Both have an engine that serves.
    BothServe,
    /// Both serve, and both have requests in flight.
    BothBusy,
}

/// Time since the watchdog's start.
#[derive(Clone, Debug, Default)]
pub(crate) struct IsolatedTime {
    /// Time with engines serving in both domains.
    pub isolated: Duration,
    /// Part of it with requests in flight on both.
    pub sliced: Duration,
    domains: Domains,
    since: Moment,
}

impl IsolatedTime {
    /// Counts the time up to `now` as things were, and goes on as they are.
    pub(crate) fn goes_on(&mut self, domains: Domains, now: Moment) {
        let took = now.since(self.since);
        if self.domains != Domains::OneServes {
            self.isolated += took;
        }
        if self.domains == Domains::BothBusy {
            self.sliced += took;
        }
        (self.domains, self.since) = (domains, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_as_things_were_before() {
        let at = |secs| Moment::ZERO.after(Duration::from_secs(secs));
        let mut time = IsolatedTime::default();
        time.goes_on(Domains::BothServe, at(10));
        time.goes_on(Domains::BothBusy, at(13));
        time.goes_on(Domains::OneServes, at(15));
        time.goes_on(Domains::OneServes, at(60));
        assert_eq!((time.isolated, time.sliced), (Duration::from_secs(5), Duration::from_secs(2)));
    }
}
