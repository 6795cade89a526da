//! How fast an engine's memory grows, of its device or of its host: when it meets its limit at that pace, and what
//! grew of it without a reason.
//!
//! The slope is the median of differences between samples a quarter of the ring apart: one jump (weights
//! loaded, a pool that grew once) lies within at most a third of those pairs, and a spike within two. What
//! it takes to be believed: samples over `leak_after` (three minutes), and growth over them of 1 % of the limit.

use std::collections::VecDeque;
use std::time::Duration;

use super::growth::{self, Growth, Sample, Work};
use crate::model::Moment;

/// Share of `leak_after` between two samples at least, 9 s of three minutes: some 60 of them make the window. Looks that
/// come each 10 s may come 1 s early.
const SAMPLES: u32 = 20;
/// Multiple of a third of `leak_after`, ten minutes for three, after which samples say nothing any more.
const WINDOW: u32 = 10;
/// Number of samples below which they say nothing, over whatever span: readings that come seldom are no trend.
const FEWEST: usize = 12;
/// Share of the limit below which growth over the samples' span is noise.
const NOISE: f64 = 0.01;

/// What was held before the window is remembered for so long, by the most in each window.
const PEAKS: usize = 6;

/// An engine's memory over the last ten minutes of one incarnation, where a leak shows after three.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryTrend {
    samples: VecDeque<Sample>,
    /// The most that was held in each of the windows before this one, and since when, the latest last.
    peaks: VecDeque<(Moment, u64)>,
    unexplained: Option<Growth>,
    /// Bytes a second, and the bytes by which it grew at that pace over the samples' span; made with each sample.
    growth: Option<(f64, f64)>,
}

impl MemoryTrend {
    /// Whether it is time for another sample, where growth says something after `leak_after`.
    pub(crate) fn due(&self, leak_after: Duration, now: Moment) -> bool {
        self.samples.back().is_none_or(|last| now.since(last.at) >= leak_after / SAMPLES)
    }

    /// Takes a sample: bytes held by the whole tree, and what it had to do.
    pub(crate) fn sample(&mut self, held: u64, work: Work, leak_after: Duration, now: Moment) {
        let window = leak_after * WINDOW / 3;
        while let Some(old) = self.samples.front().copied().filter(|first| now.since(first.at) >= window) {
            self.samples.pop_front();
            self.remember(old, window);
        }
        self.samples.push_back(Sample { at: now, held, work });
        self.growth = self.slope(leak_after).map(|slope| (slope, slope * self.span().as_secs_f64()));
        let peak = self.peaks.iter().map(|(_, held)| *held).max().unwrap_or(0);
        self.unexplained = growth::unexplained(self.samples.make_contiguous(), peak, leak_after);
    }

    /// Growth of late that nothing explains.
    pub(crate) fn unexplained(&self) -> Option<&Growth> {
        self.unexplained.as_ref()
    }

    /// A spike of one sample counts as a peak too: then a leak is found later, and never wrongly.
    fn remember(&mut self, old: Sample, window: Duration) {
        match self.peaks.back_mut() {
            Some((since, most)) if old.at.since(*since) < window => *most = old.held.max(*most),
            _ => self.peaks.push_back((old.at, old.held)),
        }
        if self.peaks.len() > PEAKS {
            self.peaks.pop_front();
        }
    }

    /// A new incarnation begins.
    pub(crate) fn forget(&mut self) {
        *self = MemoryTrend::default();
    }

    /// Time until `held` bytes become `limit` at the pace of late; zero where they are as many already. `None`: it does
    /// not grow, or not clearly, or it is not known yet. Never more than a hundred windows: slower is noise.
    pub(crate) fn time_to(&self, limit: u64, held: u64) -> Option<Duration> {
        let (slope, grown) = self.growth?;
        if slope <= 0.0 || grown < NOISE * limit as f64 {
            return None;
        }
        Duration::try_from_secs_f64(limit.saturating_sub(held) as f64 / slope).ok()
    }

    fn span(&self) -> Duration {
        match (self.samples.front(), self.samples.back()) {
            (Some(first), Some(last)) => last.at.since(first.at),
            _ => Duration::ZERO,
        }
    }

    fn slope(&self, leak_after: Duration) -> Option<f64> {
        if self.samples.len() < FEWEST || self.span() < leak_after {
            return None;
        }
        let apart = self.samples.len() / 4;
        let pairs = self.samples.iter().zip(self.samples.iter().skip(apart));
        let mut slopes: Vec<f64> = pairs
            .map(|(then, now)| (now.held as f64 - then.held as f64) / now.at.since(then.at).as_secs_f64())
            .collect();
        let middle = slopes.len() / 2;
        Some(*slopes.select_nth_unstable_by(middle, f64::total_cmp).1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    const LIMIT: u64 = 40 * GIB;
    const AFTER: Duration = Duration::from_secs(180);

    fn at(sample: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(10 * sample))
    }

    /// A trend after samples 10 s apart.
    fn trend(held: impl IntoIterator<Item = u64>) -> MemoryTrend {
        let mut trend = MemoryTrend::default();
        (0..).zip(held).for_each(|(sample, held)| trend.sample(held, Work::default(), AFTER, at(sample)));
        trend
    }

    #[test]
    fn steady_growth_meets_the_limit_when_it_will() {
        let trend = trend((0..60).map(|sample| 10 * GIB + sample * 100 * MIB));
        // 10 MiB a second, and 20 GiB to go.
        assert_eq!(trend.time_to(LIMIT, 20 * GIB).unwrap().as_secs(), 2048);
        assert_eq!(trend.time_to(LIMIT, 41 * GIB), Some(Duration::ZERO));
    }

    #[test]
    fn before_three_minutes_nobody_can_say() {
        assert_eq!(trend((0..18).map(|sample| sample * GIB)).time_to(LIMIT, 18 * GIB), None);
        assert!(trend((0..19).map(|sample| sample * GIB)).time_to(LIMIT, 19 * GIB).is_some());
    }

    #[test]
    fn a_new_incarnation_starts_from_nothing() {
        let mut trend = trend((0..60).map(|sample| sample * GIB));
        trend.forget();
        assert_eq!(trend.time_to(LIMIT, GIB), None);
        assert!(trend.due(AFTER, at(60)));
    }

    #[test]
    fn samples_are_taken_nine_seconds_apart_at_least() {
        let trend = trend([GIB]);
        assert!(!trend.due(AFTER, Moment::ZERO.after(Duration::from_millis(8_999))) && trend.due(AFTER, at(1)));
    }

    #[test]
    fn with_a_short_time_all_is_as_much_shorter() {
        let after = AFTER / 9;
        let at = |sample: u64| Moment::ZERO.after(Duration::from_secs(sample));
        let mut trend = MemoryTrend::default();
        (0..18).for_each(|n| trend.sample(n * GIB, Work::default(), after, at(n)));
        assert_eq!((trend.time_to(LIMIT, 17 * GIB), trend.unexplained()), (None, None));
        (18..=20).for_each(|n| trend.sample(n * GIB, Work::default(), after, at(n)));
        assert_eq!(trend.time_to(LIMIT, 20 * GIB), Some(after));
        assert_eq!(trend.unexplained().map(|growth| growth.span), Some(after));
        assert!(trend.due(after, at(21)) && !trend.due(AFTER, at(21)));
    }

    #[test]
    fn a_staircase_that_goes_on_is_growth() {
        let trend = trend((0..60).map(|sample| sample / 5 * GIB));
        assert!(trend.time_to(LIMIT, 11 * GIB).is_some());
    }

    #[test]
    fn samples_that_come_seldom_are_no_trend() {
        let mut trend = MemoryTrend::default();
        (0..11).for_each(|n| trend.sample(n * GIB, Work::default(), AFTER, at(n * 5)));
        assert_eq!(trend.time_to(LIMIT, 11 * GIB), None);
    }

    proptest! {
        #[test]
        fn one_jump_is_no_trend(samples in 19..120usize, place in 0..120usize, low in 0..LIMIT, high in 0..LIMIT) {
            let held = (0..samples).map(|sample| if sample < place { low } else { high });
            prop_assert_eq!(trend(held).time_to(LIMIT, high), None);
        }

        #[test]
        fn noise_is_no_trend(noise in prop::collection::vec(0..LIMIT / 500, 19..120)) {
            prop_assert_eq!(trend(noise.into_iter().map(|more| 20 * GIB + more)).time_to(LIMIT, 20 * GIB), None);
        }

        #[test]
        fn what_shrinks_never_meets_its_limit(first in LIMIT / 2..LIMIT, drops in prop::collection::vec(0..GIB / 8, 19..120)) {
            let held = drops.iter().scan(first, |held, drop| { *held = held.saturating_sub(*drop); Some(*held) });
            prop_assert_eq!(trend(held).time_to(LIMIT, first), None);
        }

        #[test]
        fn growth_under_noise_and_a_spike_is_found_within_a_quarter(
            step in 50..500u64,
            noise in prop::collection::vec(0..20u64, 60),
            spike in 0..60usize,
        ) {
            let mut held: Vec<u64> = (0..).zip(&noise).map(|(n, noise)| (n * step + noise) * MIB).collect();
            held[spike] += 30 * GIB;
            let expected = 20.0 * 1024.0 * 10.0 / step as f64;
            let said = trend(held).time_to(LIMIT, 20 * GIB).unwrap().as_secs_f64();
            prop_assert!((said / expected - 1.0).abs() < 0.25, "{} is not {}", said, expected);
        }

        #[test]
        fn whatever_comes_it_is_bounded(
            samples in prop::collection::vec((any::<u64>(), any::<u64>()), 0..200),
            limit in any::<u64>(),
            held in any::<u64>(),
        ) {
            let mut trend = MemoryTrend::default();
            let mut now = Moment::ZERO;
            for (wait, held) in samples {
                now = now.after(Duration::from_millis(wait % 200_000));
                if trend.due(AFTER, now) {
                    trend.sample(held, Work::default(), AFTER, now);
                }
                prop_assert!(trend.samples.len() <= 67 && trend.peaks.len() <= PEAKS);
            }
            let said = trend.time_to(limit, held);
            prop_assert!(said.is_none_or(|said| said <= Duration::from_secs(600) * 100));
        }
    }
}
