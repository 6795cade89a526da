//! Sums of the kernel probe's windows of one group. They only inform, and never shrink.

use std::time::Duration;

use crate::model::{Moment, OverlapWindow};

/// Counts since the watchdog's start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Windows that were counted.
    pub windows: u64,
    /// Time in them.
    pub sampled: Duration,
    /// When the last one was counted.
    pub last: Option<Moment>,
    by_clients: Vec<Duration>,
}

impl Counts {
    /// One window more.
    pub(crate) fn saw(&mut self, window: &OverlapWindow, now: Moment) {
        self.windows += 1;
        self.sampled = self.sampled.saturating_add(window.sampled);
        self.last = Some(now);
        if self.by_clients.len() < window.by_clients.len() {
            self.by_clients.resize(window.by_clients.len(), Duration::ZERO);
        }
        for (sum, time) in self.by_clients.iter_mut().zip(&window.by_clients) {
            *sum = sum.saturating_add(*time);
        }
    }

    /// Times by the number of clients, from 0: for a group of so many engines, one figure more than it has at least. An
    /// engine may have several clients.
    pub(crate) fn by_clients(&self, engines: usize) -> Vec<Duration> {
        let length = self.by_clients.len().max(engines + 1);
        (0..length).map(|clients| self.by_clients.get(clients).copied().unwrap_or_default()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(by_clients: &[u64]) -> OverlapWindow {
        OverlapWindow {
            sampled: Duration::from_millis(by_clients.iter().sum()),
            by_clients: by_clients.iter().copied().map(Duration::from_millis).collect(),
            ..OverlapWindow::default()
        }
    }

    fn millis(counts: &Counts, engines: usize) -> Vec<u128> {
        counts.by_clients(engines).iter().map(Duration::as_millis).collect()
    }

    #[test]
    fn windows_add_up_by_clients() {
        let mut counts = Counts::default();
        counts.saw(&window(&[10, 30, 10]), Moment::ZERO);
        counts.saw(&window(&[50]), Moment::ZERO);
        counts.saw(&window(&[0, 20, 20, 10]), Moment::ZERO);
        assert_eq!((counts.windows, counts.sampled), (3, Duration::from_millis(150)));
        assert_eq!(millis(&counts, 2), [60, 50, 30, 10], "more clients than engines");
    }

    #[test]
    fn there_is_a_figure_for_each_engine_from_the_beginning_on() {
        assert_eq!(millis(&Counts::default(), 2), [0, 0, 0]);
    }
}
