//! When requests are sent. Out of step: engines that work in batches would otherwise answer all requests at once, get
//! all of the next at once, and be measured by where in a batch the time that counts begins and ends. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Share of a request's own time that the next one waits for, at most.
const PAUSE: f64 = 0.1;

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::study) enum Pace {
    /// Requests that follow each other: so many are in flight at any time.
    Closed,
    /// Requests that come by themselves, whatever is in flight.
    Open {
        /// Requests a second to each engine, on average.
        rate: f64,
    },
}

/// When a sender's first request is sent, of senders that begin over `span`.
pub(in crate::study) fn first(span: Duration, random: f64) -> Duration {
    span.mul_f64(random)
}

/// Pause after a request that took so long.
pub(in crate::study) fn pause(took: Duration, random: f64) -> Duration {
    took.mul_f64(PAUSE * random)
}

/// Time from one arrival to the next, where arrivals know nothing of each other (Poisson).
pub(super) fn next_arrival(rate: f64, random: f64) -> Duration {
    Duration::try_from_secs_f64(-(1.0 - random).ln() / rate).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_their_rate_and_not_evenly() {
        let mut random = fastrand::Rng::with_seed(1);
        let gaps: Vec<f64> = (0..10_000).map(|_| next_arrival(50.0, random.f64()).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((mean * 50.0 - 1.0).abs() < 0.05, "{mean}");
        assert!(gaps.iter().filter(|gap| **gap < mean / 10.0).count() > 500, "many come close together");
    }

    #[test]
    fn pauses_stay_within_a_tenth_of_the_request() {
        let took = Duration::from_millis(200);
        assert_eq!([0.0, 1.0].map(|random| pause(took, random)), [Duration::ZERO, Duration::from_millis(20)]);
        assert_eq!(first(took, 0.5), Duration::from_millis(100));
    }
}
