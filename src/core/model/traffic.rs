//! What the kernel says of the connections to an engine's port. Plain figures; nothing is judged.

use std::time::Duration;

use super::{EngineLoad, Moment};
use serde::{Deserialize, Serialize};

/// Time without an answer's bytes after which one that was begun makes no progress.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);

/// Time without a connection after which no gauge of requests can be right. One look more than the one that a request
/// which just came may have missed.
const EMPTY: Duration = Duration::from_millis(1500);

/// Time since which each look at an engine's connections has shown none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Empty {
    since: Option<Moment>,
    seen: Option<Moment>,
}

impl Empty {
    /// A look showed so many open connections. Looks further apart than `gap` say nothing about the time between them.
    pub fn saw(&mut self, open: u32, gap: Duration, now: Moment) {
        let goes_on = self.seen.is_some_and(|at| now.since(at) <= gap);
        self.since = (open == 0).then(|| self.since.filter(|_| goes_on).unwrap_or(now));
        self.seen = Some(now);
    }

    /// Whether no client was connected at the last look.
    pub fn is_now(&self) -> bool {
        self.since.is_some()
    }

    /// Time since which no client is connected, as last seen, where that is long enough to belie a gauge.
    pub fn belies(&self, now: Moment) -> Option<Moment> {
        self.since.filter(|since| now.since(*since) >= EMPTY)
    }
}

/// Requests of one engine that are in flight, by readings in a row: its gauges, and connections that may belie them.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    empty: Empty,
    last: Option<EngineLoad>,
}

impl InFlight {
    /// Its connections were looked at.
    pub fn saw_traffic(&mut self, traffic: Option<&Traffic>, gap: Duration, now: Moment) {
        match traffic {
            Some(traffic) => self.empty.saw(traffic.open, gap, now),
            None => self.empty = Empty::default(),
        }
    }

    /// Its load was read: requests that it works on and that wait in its queue; `None`: it does not say.
    pub fn saw_load(&mut self, load: EngineLoad, now: Moment) -> Option<f64> {
        let load = load.borne_out(self.last.as_ref(), self.empty.belies(now));
        let left = load.in_flight();
        self.last = Some(load);
        left
    }
}

/// The connections to one engine's port at one moment, without those of the watchdog itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Somebody listens on the port.
    pub listening: bool,
    /// Connections that are open on both ends.
    pub open: u32,
    /// Number of open requests whose client spoke last: a request without a byte of its answer. Many front ends send
    /// the head of a streamed answer at once: such a one is `stalled` after 10 s.
    pub unanswered: u32,
    /// Longest time that one of those has waited.
    pub longest: Duration,
    /// Number of open requests whose engine spoke last, whose client has taken everything, and whose answer has not
    /// grown for over 10 s: one that makes no progress. A front end's signs of life (SSE comments) are no growth. An
    /// idle connection is ended sooner by most engines that are known.
    pub stalled: u32,
    /// Bytes of answers that were written over a second after their request, or as a stream, since the watchdog began
    /// to look: it only grows. What an engine's front end answers by itself is not among them.
    pub answered: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(15);

    fn load(running: f64, tokens: f64) -> EngineLoad {
        let waiting = Some(0.0);
        EngineLoad { running: Some(running), waiting, generation_tokens: Some(tokens), ..EngineLoad::default() }
    }

    /// In flight after two loads, 2 s apart, with so many connections at each.
    fn in_flight(open: [u32; 2], tokens: [f64; 2]) -> Option<f64> {
        let mut it = InFlight::default();
        let mut left = None;
        for (at, (open, tokens)) in [10, 12].into_iter().zip(open.into_iter().zip(tokens)) {
            let now = Moment::ZERO.after(Duration::from_secs(at));
            it.saw_traffic(Some(&Traffic { open, ..Traffic::default() }), GAP, now);
            left = it.saw_load(load(106.0, tokens), now);
        }
        left
    }

    #[test]
    fn a_gauge_that_stands_still_while_nobody_is_connected_is_belied_and_one_that_moved_is_not() {
        assert_eq!(in_flight([0, 0], [7.0, 7.0]), Some(0.0));
        assert_eq!(in_flight([0, 0], [7.0, 9.0]), Some(106.0));
        assert_eq!(in_flight([0, 1], [7.0, 7.0]), Some(106.0));
    }

    #[test]
    fn a_first_reading_and_unseen_connections_belie_nothing() {
        let mut it = InFlight::default();
        assert_eq!(it.saw_load(load(106.0, 7.0), Moment::ZERO), Some(106.0));
        it.saw_traffic(None, GAP, Moment::ZERO);
        assert_eq!(it.saw_load(load(106.0, 7.0), Moment::ZERO.after(GAP)), Some(106.0));
        assert_eq!(it.saw_load(EngineLoad::default(), Moment::ZERO.after(GAP)), None);
    }
}
