//! Growth over sequences of samples 10 s apart, as an engine's memory goes in production.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const GIB: f64 = (1u64 << 30) as f64;
/// A GPU.
const ALL: f64 = 140.0 * GIB;
/// The default.
const AFTER: Duration = Duration::from_secs(180);

fn sample(number: usize, held: f64, requests: Option<f64>) -> Sample {
    let at = Moment::ZERO.after(Duration::from_secs(10 * number as u64));
    Sample { at, held: held as u64, work: Work { requests, cache: None } }
}

fn samples(held: impl IntoIterator<Item = f64>) -> Vec<Sample> {
    held.into_iter().enumerate().map(|(number, held)| sample(number, held, Some(8.0))).collect()
}

/// Looks at the last ten minutes after each sample, as the trend does, and gives the first growth that would be
/// reported: it meets its end within four times its span.
pub(crate) fn told(all: &[Sample], end: f64) -> Option<(usize, Growth)> {
    (0..all.len()).find_map(|last| {
        let first = (last + 1).saturating_sub(60);
        let peak = all[..first].iter().map(|sample| sample.held).max().unwrap_or(0);
        let growth = unexplained(&all[first..=last], peak, AFTER)?;
        let left = (end - all[last].held as f64).max(0.0) / growth.pace;
        let clear = growth.pace * growth.span.as_secs_f64() >= 0.01 * end;
        (clear && left <= growth.span.as_secs_f64() * 4.0).then_some((last, growth))
    })
}

#[test]
fn growth_without_more_load_is_told_with_its_pace() {
    let growth = unexplained(&samples((0..60).map(|n| n as f64 * GIB)), 0, AFTER).unwrap();
    assert!((growth.pace / (GIB / 10.0) - 1.0).abs() < 0.01, "{growth:?}");
    assert_eq!((growth.span.as_secs(), growth.requests), (590, Some(8.0)));
}

#[test]
fn growth_with_more_requests_or_a_fuller_cache_is_explained() {
    let grows = |work: fn(usize) -> Work| {
        let one = |n: usize| Sample { work: work(n), ..sample(n, n as f64 * GIB, None) };
        unexplained(&(0..60).map(one).collect::<Vec<_>>(), 0, AFTER).is_none()
    };
    assert!(grows(|n| Work { requests: Some(n as f64), cache: None }));
    assert!(grows(|n| Work { requests: Some(8.0), cache: Some(n as f64 / 60.0) }));
    assert!(!grows(|n| Work { requests: Some(8.0 + (n % 3) as f64), cache: Some(0.5) }));
}

#[test]
fn load_that_is_not_known_explains_nothing_and_is_said_so() {
    let unknown: Vec<Sample> = (0..60).map(|n| sample(n, n as f64 * GIB, None)).collect();
    assert_eq!(unexplained(&unknown, 0, AFTER).unwrap().requests, None);
}

#[test]
fn load_that_went_up_just_before_explains_what_follows() {
    let requests = |n: usize| Some(if n < 30 { 2.0 } else { 30.0 });
    let held = |n: usize| if n < 32 { 20.0 * GIB } else { (20.0 + (n - 32) as f64) * GIB };
    let all: Vec<Sample> = (0..60).map(|n| sample(n, held(n), requests(n))).collect();
    assert_eq!(told(&all[..51], 60.0 * GIB), None);
}

#[test]
fn a_cache_that_fills_and_then_stays_is_no_leak() {
    let filling = samples((0..240).map(|n| (80.0 + 20.0 * (1.0 - (-(n as f64) / 12.0).exp())) * GIB));
    assert_eq!(told(&filling, ALL), None);
}

/// Engines that were just started: later, what memory has reached before speaks against a leak.
#[test]
fn a_thousand_beginnings_with_noise_near_the_end_are_no_leak() {
    const NEXT: u64 = 6_364_136_223_846_793_005;
    let states = std::iter::successors(Some(1), |state: &u64| Some(state.wrapping_mul(NEXT).wrapping_add(1)));
    let random: Vec<f64> = states.take(60_000).map(|state| (state >> 32) as f64 / f64::from(u32::MAX)).collect();
    for beginning in random.chunks(60) {
        let noisy = samples(beginning.iter().map(|random| (0.96 + 0.02 * random) * ALL));
        assert_eq!(told(&noisy, ALL), None);
    }
}

#[test]
fn few_samples_or_a_short_time_say_nothing() {
    assert_eq!(unexplained(&[], 0, AFTER), None);
    assert_eq!(unexplained(&samples((0..17).map(|n| n as f64 * GIB)), 0, AFTER), None);
    let seldom: Vec<Sample> = (0..8).map(|n| sample(n * 6, n as f64 * GIB, Some(8.0))).collect();
    assert_eq!(unexplained(&seldom, 0, AFTER), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The promise: 1 % of the GPU a minute, from any level below 85 %, at any time, is reported 10 minutes before the
    /// end.
    #[test]
    fn a_leak_of_one_percent_a_minute_is_told_ten_minutes_before_the_end(
        level in 0.0..0.85f64,
        calm in 0..120usize,
        noise in prop::collection::vec(-0.001..0.001f64, 800),
        requests in prop::collection::vec(6.0..10.0f64, 800),
    ) {
        let held = |n: usize| level + 0.01 / 6.0 * n.saturating_sub(calm) as f64 + noise[n % 800];
        let all: Vec<Sample> =
            (0..800).map(|n| sample(n, held(n).clamp(0.0, 1.0) * ALL, Some(requests[n]))).collect();
        let end = (0..800).find(|n| held(*n) >= 1.0).unwrap_or(800);
        let (found, _) = told(&all, ALL).expect("never told");
        prop_assert!(end.saturating_sub(found) >= 60, "told {} s before the end", 10 * end.saturating_sub(found));
        prop_assert!(found >= calm, "told before it began");
    }

    #[test]
    fn noise_is_no_leak(level in 0.1..0.97f64, noise in prop::collection::vec(-0.01..0.01f64, 400)) {
        prop_assert_eq!(told(&samples(noise.iter().map(|noise| (level + noise) * ALL)), ALL), None);
    }

    #[test]
    fn steps_that_stay_are_no_leak(
        level in 0.1..0.6f64,
        steps in prop::collection::vec((0..400usize, 0.0..0.1f64), 0..3),
    ) {
        let held = |n: usize| level + steps.iter().filter(|(at, _)| *at <= n).map(|(_, step)| step).sum::<f64>();
        let all = samples((0..400).map(|n| held(n) * ALL));
        // Two that come within minutes of each other look like a slope for a while.
        let apart = steps.iter().all(|(at, _)| steps.iter().filter(|(other, _)| at.abs_diff(*other) < 60).count() == 1);
        prop_assert!(!apart || told(&all, ALL).is_none());
    }

    /// Its tooth takes less than a quarter of the room that is left.
    #[test]
    fn the_teeth_of_a_garbage_collector_are_no_leak(
        level in 0.1..0.7f64,
        tooth in 0.01..0.06f64,
        period in 2..240usize,
        noise in prop::collection::vec(0.0..0.002f64, 700),
    ) {
        let held = |n: usize| level + tooth * (n % period) as f64 / period as f64 + noise[n];
        prop_assert_eq!(told(&samples((0..700).map(|n| held(n) * ALL)), ALL), None);
    }

    #[test]
    fn bursts_that_come_and_go_are_no_leak(
        level in 0.1..0.6f64,
        bursts in prop::collection::vec((0..600usize, 1..60usize, 0.0..0.3f64), 0..6),
    ) {
        let height = |n: usize| {
            let there = bursts.iter().filter(|(at, length, _)| (*at..at + length).contains(&n));
            there.map(|(_, _, height)| *height).sum::<f64>()
        };
        let all: Vec<Sample> = (0..600)
            .map(|n| sample(n, (level + height(n).min(0.35)) * ALL, Some(4.0 + 100.0 * height(n))))
            .collect();
        prop_assert_eq!(told(&all, ALL), None);
    }

    #[test]
    fn whatever_comes_it_does_not_panic_and_its_pace_is_positive(
        all in prop::collection::vec((0..40_000u64, any::<u64>(), any::<Option<f64>>()), 0..80),
        peak in any::<u64>(),
    ) {
        let mut at = Moment::ZERO;
        let all: Vec<Sample> = all.into_iter().map(|(wait, held, requests)| {
            at = at.after(Duration::from_millis(wait));
            Sample { at, held, work: Work { requests, cache: requests } }
        }).collect();
        prop_assert!(unexplained(&all, peak, AFTER).is_none_or(|growth| growth.pace > 0.0));
    }
}
