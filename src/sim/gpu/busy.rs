//! The spans in which kernels ran of late, for NVML's utilization. Decides nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What NVML averages over.
const WINDOW: Duration = Duration::from_millis(170);

/// When kernels that ended of late ran.
#[derive(Debug, Default)]
pub(super) struct Busy(VecDeque<(Instant, Instant)>);

impl Busy {
    /// A kernel ran.
    pub(super) fn ran(&mut self, begin: Instant, end: Instant) {
        self.0.push_back((begin, end));
        while self.0.front().is_some_and(|(_, old)| *old + WINDOW < end) {
            self.0.pop_front();
        }
    }

    /// The share of the last 170 ms in which at least one kernel ran: 0 to 100. `running`: when those in flight began.
    pub(super) fn percent(&self, running: impl Iterator<Item = Instant>, now: Instant) -> u32 {
        let Some(since) = now.checked_sub(WINDOW) else { return 0 };
        let running = running.map(|begin| (begin, now));
        let mut spans: Vec<_> = self.0.iter().copied().chain(running).filter(|(_, end)| *end > since).collect();
        spans.sort();
        let mut covered = Duration::ZERO;
        let mut reached = since;
        for (begin, end) in spans {
            covered += end.saturating_duration_since(begin.max(reached));
            reached = reached.max(end);
        }
        (covered.as_micros() * 100 / WINDOW.as_micros()).min(100) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_at_the_same_time_count_once() {
        let mut busy = Busy::default();
        let begin = Instant::now();
        let later = begin + Duration::from_secs(1);
        assert_eq!(busy.percent([begin, begin].into_iter(), later), 100);
        busy.ran(begin, later);
        busy.ran(begin, later);
        let percent = |millis| busy.percent(std::iter::empty(), later + Duration::from_millis(millis));
        assert_eq!((percent(85), percent(1000)), (50, 0));
    }
}
