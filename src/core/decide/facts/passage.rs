//! Whether a client waits for an engine, and whether answers come out, by the connections to its port. An engine's own
//! gauges may stand still indefinitely once no client is connected; the kernel's word on its connections does not.

use std::time::Duration;

use super::progress::Stretch;
use crate::model::traffic::{Empty, STALLED_AFTER};
use crate::model::{Moment, Traffic};

/// One incarnation's connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passage {
    seen: Option<(Traffic, Moment)>,
    /// Why they can't be seen.
    blind: Option<String>,
    /// Time since which each look showed a client that waits.
    waited: Option<Moment>,
    /// Time since which each look showed no client.
    empty: Empty,
    /// The two looks between which bytes of an answer went out last.
    moved: Option<Stretch>,
}

impl Passage {
    /// The connections were looked at; looks further apart than `gap` say nothing about the time between them. `running`:
    /// requests that the engine says it works on.
    pub(crate) fn saw(&mut self, traffic: Result<Traffic, String>, running: Option<f64>, gap: Duration, now: Moment) {
        let traffic = match traffic {
            Ok(traffic) => traffic,
            Err(why) => {
                *self = Passage { blind: Some(why), moved: self.moved, ..Passage::default() };
                return;
            }
        };
        let before = self.seen.filter(|(_, at)| now.since(*at) <= gap);
        if let Some((_, at)) = before.filter(|(before, _)| traffic.answered > before.answered) {
            self.moved = Some(Stretch { from: at, to: now });
        }
        let stalls = traffic.stalled > 0 && running.is_some_and(|running| running > 0.0);
        let waits = traffic.unanswered > 0 || stalls;
        let since_last = before.map_or(Duration::ZERO, |(_, at)| now.since(at));
        let began = now.before(if stalls { STALLED_AFTER } else { traffic.longest.min(since_last) });
        self.waited = waits.then(|| self.waited.filter(|_| before.is_some()).map_or(began, |waited| waited.min(began)));
        self.empty.saw(traffic.open, gap, now);
        self.blind = None;
        self.seen = Some((traffic, now));
    }

    /// When they were last seen.
    pub(crate) fn seen_at(&self) -> Option<Moment> {
        self.seen.map(|(_, at)| at)
    }

    /// Time since which a client waits, as last seen; `None`: none does, or that is not known.
    pub(crate) fn waited(&self) -> Option<Moment> {
        self.waited
    }

    /// Time since which no client is connected, as last seen, where that is long enough to belie a gauge.
    pub(crate) fn empty(&self, now: Moment) -> Option<Moment> {
        self.empty.belies(now)
    }

    /// Whether a client is connected, or that is not known.
    pub(crate) fn may_have_clients(&self) -> bool {
        !self.empty.is_now()
    }

    /// Whether a process listens on the port; `None`: unknown, or not seen since `moment`.
    pub(crate) fn listens_since(&self, moment: Moment) -> Option<bool> {
        self.seen.filter(|(_, at)| *at >= moment).map(|(traffic, _)| traffic.listening)
    }

    /// Why the connections can't be seen.
    pub(crate) fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// The two looks between which bytes of an answer last went out.
    pub(crate) fn moved(&self) -> Option<Stretch> {
        self.moved
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    fn traffic(open: u32, unanswered: u32, answered: u64) -> Traffic {
        let longest = Duration::from_secs(if unanswered > 0 { 60 } else { 0 });
        Traffic { listening: true, open, unanswered, longest, stalled: 0, answered }
    }

    fn after(looks: &[(u64, Traffic)]) -> Passage {
        let mut passage = Passage::default();
        looks.iter().for_each(|(second, traffic)| passage.saw(Ok(*traffic), Some(1.0), GAP, at(*second)));
        passage
    }

    #[test]
    fn somebody_waits_since_the_first_of_the_looks_in_a_row_that_show_it() {
        let passage = after(&[(10, traffic(1, 0, 0)), (12, traffic(1, 1, 0)), (14, traffic(1, 1, 0))]);
        assert_eq!(passage.waited(), Some(at(10)));
        let passage = after(&[(10, traffic(1, 1, 0)), (12, traffic(1, 0, 9)), (14, traffic(1, 1, 9))]);
        assert_eq!(passage.waited(), Some(at(12)));
        assert_eq!(passage.moved(), Some(Stretch { from: at(10), to: at(12) }));
    }

    #[test]
    fn an_answer_that_does_not_go_on_counts_only_where_the_engine_says_that_it_works() {
        let stalled = Traffic { stalled: 1, ..traffic(1, 0, 0) };
        let mut passage = Passage::default();
        passage.saw(Ok(stalled), Some(0.0), GAP, at(1));
        assert_eq!(passage.waited(), None);
        passage.saw(Ok(stalled), Some(1.0), GAP, at(3));
        assert!(passage.waited().is_some());
    }

    #[test]
    fn a_time_without_looks_is_unknown() {
        let passage = after(&[(10, traffic(1, 1, 0)), (60, traffic(1, 1, 50))]);
        assert_eq!((passage.waited(), passage.moved()), (Some(at(60)), None));
        let mut passage = after(&[(10, traffic(1, 1, 0))]);
        passage.saw(Err("no namespace".into()), None, GAP, at(12));
        assert_eq!((passage.waited(), passage.blind(), passage.seen_at()), (None, Some("no namespace"), None));
    }
}
