//! Budgets and back-off: attempts within a window, and the wait before the next one.

use std::time::Duration;

use crate::decide::policy::Backoff;
use crate::model::Moment;

/// Attempts within a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts(Vec<Moment>);

impl Attempts {
    /// Attempts from the core's memory.
    pub(crate) fn of(moments: Vec<Moment>) -> Self {
        Attempts(moments)
    }

    /// Counts one more, and forgets those that left the window.
    pub(crate) fn count(&mut self, window: Duration, now: Moment) {
        self.expire(window, now);
        self.0.push(now);
    }

    /// Takes the last one back: it was the fault of another.
    pub(crate) fn forgive_last(&mut self) {
        self.0.pop();
    }

    /// Whether no attempt counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All forgiven.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many in the window.
    pub(crate) fn within(&self, window: Duration, now: Moment) -> u32 {
        let counted = self.0.iter().filter(|at| now.since(**at) < window).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    /// Times of the attempts, for the core's memory.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        self.0.clone()
    }

    fn expire(&mut self, window: Duration, now: Moment) {
        self.0.retain(|at| now.since(*at) < window);
    }
}

/// The wait before attempt number `attempt`, counted from 1. `random` is 0 to 1.
pub(crate) fn wait(backoff: &Backoff, attempt: u32, random: f64) -> Duration {
    let plain = match attempt {
        0 | 1 => backoff.first.as_secs_f64(),
        n => backoff.next.as_secs_f64() * backoff.factor.max(1.0).powi(i32::try_from(n - 2).unwrap_or(i32::MAX)),
    };
    let capped = plain.min(backoff.most.as_secs_f64());
    let jittered = capped * (1.0 + backoff.jitter.clamp(0.0, 1.0) * (2.0 * random - 1.0));
    Duration::try_from_secs_f64(jittered.max(0.0)).unwrap_or(backoff.most)
}

/// The longest wait, jittered.
pub(crate) fn longest(backoff: &Backoff, random: f64) -> Duration {
    let jittered = backoff.most.as_secs_f64() * (1.0 + backoff.jitter.clamp(0.0, 1.0) * (2.0 * random - 1.0));
    Duration::try_from_secs_f64(jittered).unwrap_or(backoff.most)
}

/// Random numbers from a seed that came in as a value (splitmix64): the same seed, the same waits.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// A generator with this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Jitter(seed)
    }

    /// The next one, 0 to 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff { most: Duration::from_secs(10), ..Backoff::default() }
    }

    #[test]
    fn waits_double_from_the_second_attempt_to_the_longest() {
        let waits: Vec<u64> = (1..=7).map(|n| wait(&backoff(), n, 0.5).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn jitter_moves_a_wait_by_its_share_and_no_further() {
        assert_eq!(wait(&backoff(), 2, 0.0), Duration::from_millis(800));
        assert_eq!(wait(&backoff(), 2, 1.0), Duration::from_millis(1200));
    }

    #[test]
    fn attempts_leave_the_window() {
        let window = Duration::from_secs(10);
        let mut attempts = Attempts::default();
        attempts.count(window, Moment::ZERO);
        attempts.count(window, Moment::ZERO.after(Duration::from_secs(5)));
        assert_eq!(attempts.within(window, Moment::ZERO.after(Duration::from_secs(9))), 2);
        assert_eq!(attempts.within(window, Moment::ZERO.after(Duration::from_secs(10))), 1);
    }

    #[test]
    fn an_absurd_attempt_number_waits_the_longest_and_does_not_panic() {
        assert_eq!(wait(&backoff(), u32::MAX, 0.5), Duration::from_secs(10));
    }
}
