//! Kernels in flight, and how busy they kept the GPU. Decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What NVML averages over.
const WINDOW: Duration = Duration::from_millis(170);

/// A kernel in flight.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// No other has the same.
    pub serial: u64,
    /// When it will be done; `None`: never.
    pub end: Option<Instant>,
}

impl Kernel {
    /// Whether more than `span` of it remains.
    pub fn outlasts(&self, span: Duration) -> bool {
        self.end.is_none_or(|end| end.saturating_duration_since(Instant::now()) > span)
    }
}

/// When kernels ran.
#[derive(Debug, Default)]
pub struct Busy {
    made: u64,
    running: BTreeMap<u64, Instant>,
    ended: VecDeque<(Instant, Instant)>,
    /// How long all that ended have run.
    done: Duration,
}

impl Busy {
    /// A kernel starts; without a length it runs for ever.
    pub fn start(&mut self, length: Option<Duration>) -> Kernel {
        let now = Instant::now();
        self.made += 1;
        self.running.insert(self.made, now);
        Kernel { serial: self.made, end: length.map(|length| now + length) }
    }

    /// A kernel ends.
    pub fn end(&mut self, serial: u64, now: Instant) {
        if let Some(start) = self.running.remove(&serial) {
            self.done += now.saturating_duration_since(start);
            self.ended.push_back((start, now));
        }
        while self.ended.front().is_some_and(|(_, end)| *end + WINDOW < now) {
            self.ended.pop_front();
        }
    }

    /// How long kernels have run so far; those at the same time count each.
    pub fn kernel_time(&self, now: Instant) -> Duration {
        self.running.values().fold(self.done, |so_far, start| so_far + now.saturating_duration_since(*start))
    }

    /// The share of the last 170 ms in which at least one kernel ran: 0 to 100.
    pub fn percent(&self, now: Instant) -> u32 {
        let Some(since) = now.checked_sub(WINDOW) else { return 0 };
        let running = self.running.values().map(|start| (*start, now));
        let mut spans: Vec<_> = self.ended.iter().copied().chain(running).filter(|(_, end)| *end > since).collect();
        spans.sort();
        let mut covered = Duration::ZERO;
        let mut reached = since;
        for (start, end) in spans {
            covered += end.saturating_duration_since(start.max(reached));
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
        let (first, second) = (busy.start(None), busy.start(None));
        let later = Instant::now() + Duration::from_secs(1);
        assert_eq!(busy.percent(later), 100);
        busy.end(first.serial, later);
        busy.end(second.serial, later);
        assert_eq!(busy.percent(later + Duration::from_millis(85)), 50);
        assert_eq!(busy.percent(later + Duration::from_secs(1)), 0);
    }

    #[test]
    fn kernel_time_counts_each_kernel_and_stands_still_without_one() {
        let mut busy = Busy::default();
        let (first, second) = (busy.start(None), busy.start(None));
        let later = Instant::now() + Duration::from_secs(1);
        assert!(busy.kernel_time(later) >= Duration::from_secs(2));
        busy.end(first.serial, later);
        busy.end(second.serial, later);
        let total = busy.kernel_time(later);
        assert_eq!(busy.kernel_time(later + Duration::from_secs(1)), total);
    }
}
