//! Growth of an engine's memory that its load does not explain: steady, and to a new high, over the last three, five
//! or ten minutes, where `leak_after` is three. Figures only; what follows from them is decided in `detect/memory_leak`.
//!
//! What is no such growth: noise (it falls as often as it rises), one jump or two (not every third of the span rises),
//! a cache that fills and then stays (its last third rises less), the teeth of a garbage collector (they climb to
//! where memory has been before), and what comes with more requests or a fuller KV cache.

use std::time::Duration;

use crate::model::{EngineLoad, Moment};

/// The spans that are looked at, in eighteenths of `leak_after`: 3, 5 and almost 10 minutes. A leak that began a while
/// ago shows in the short ones first.
const SPANS: [u32; 3] = [18, 30, 59];
/// Longest time between two samples where a span begins, as a part of `leak_after`: 15 s.
const TARDY: u32 = 12;
/// Samples that a span must have.
const FEWEST: usize = 9;
/// Share of the whole's pace by which each later third of the span must rise.
const STEADY: f64 = 0.5;
/// Share of that pace by which the last third must still rise, from its beginning to its end.
const STILL: f64 = 0.25;
/// Share of all pairs of differing samples in which the later one must be higher (Kendall's tau is 0.7 there): in noise
/// it is half of them.
const RISING: f64 = 0.85;
/// Share of the growth that must go beyond what memory reached before.
const NEW_HIGH: f64 = 0.5;
/// Factor below which requests, and one, that grew are as many.
const MORE_REQUESTS: f64 = 1.2;
/// Share below which a KV cache that filled is as full.
const MORE_CACHE: f64 = 0.05;

/// What an engine had to do, as far as it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    /// Requests that run or wait.
    pub requests: Option<f64>,
    /// Share of the KV cache in use.
    pub cache: Option<f64>,
}

impl From<&EngineLoad> for Work {
    fn from(load: &EngineLoad) -> Self {
        let requests = load.running.map(|running| running + load.waiting.unwrap_or(0.0));
        Work { requests, cache: load.kv_cache }
    }
}

/// Memory held at a moment, and the work of that time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub at: Moment,
    pub held: u64,
    pub work: Work,
}

/// Memory grew, and nothing explains it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    /// Bytes a second: the pace of late, where it slows down.
    pub pace: f64,
    /// Time over which it was steady.
    pub span: Duration,
    /// Requests that ran or waited meanwhile, which did not grow; `None`: that is not known.
    pub requests: Option<f64>,
}

/// The growth with the longest span, of samples in their order; `peak` is the most that was held before them. Growth
/// over less than `leak_after` says nothing.
pub(crate) fn unexplained(samples: &[Sample], peak: u64, leak_after: Duration) -> Option<Growth> {
    let tardy = leak_after / TARDY;
    SPANS.iter().rev().find_map(|span| over(samples, (leak_after * *span / 18, tardy), peak))
}

/// The growth over a span, whose first sample may be so late.
fn over(samples: &[Sample], (span, tardy): (Duration, Duration), peak: u64) -> Option<Growth> {
    let last = samples.last()?.at;
    let (before, within) = samples.split_at(samples.partition_point(|sample| last.since(sample.at) > span));
    let covered = last.since(within.first()?.at);
    if within.len() < FEWEST || covered + tardy < span {
        return None;
    }
    let third = within.len() / 3;
    let (early, middle, late) = (&within[..third], &within[third..2 * third], &within[within.len() - third..]);
    let (low, half, high) = (held(early)?, held(middle)?, held(late)?);
    let pace = (high - low) / apart(early, late);
    let (first, second) = ((half - low) / apart(early, middle), (high - half) / apart(middle, late));
    let (before_last, last) = late.split_at(late.len() / 2);
    let still = (held(last)? - held(before_last)?) / apart(before_last, last);
    let steady = pace > 0.0 && first.min(second) >= STEADY * pace && still >= STILL * pace;
    let highest = before.chunks(3).filter_map(held).fold(peak as f64, f64::max);
    let new = high - highest >= NEW_HIGH * (high - low);
    if !steady || !new || rising(within) < RISING || is_explained(before, early, late) {
        return None;
    }
    Some(Growth { pace: pace.min(second), span: covered, requests: requests(early).and(requests(late)) })
}

/// More work than at the beginning of the growth, or than shortly before it: memory may follow later.
fn is_explained(before: &[Sample], early: &[Sample], late: &[Sample]) -> bool {
    let shortly_before = &before[before.len().saturating_sub(early.len())..];
    let grew = |of: fn(&[Sample]) -> Option<f64>, more: fn(f64) -> f64| {
        let least = [of(shortly_before), of(early)].into_iter().flatten().reduce(f64::min);
        least.zip(of(late)).is_some_and(|(then, now)| now > more(then))
    };
    grew(requests, |then| then * MORE_REQUESTS + 1.0) || grew(cache, |then| then + MORE_CACHE)
}

fn apart(one: &[Sample], two: &[Sample]) -> f64 {
    two[two.len() / 2].at.since(one[one.len() / 2].at).as_secs_f64().max(1.0)
}

/// Share of the pairs of differing samples in which the later one is higher.
fn rising(samples: &[Sample]) -> f64 {
    let pairs = samples.iter().enumerate().flat_map(|(n, one)| samples[n + 1..].iter().map(move |later| (one, later)));
    let (mut up, mut down) = (0u32, 0u32);
    for (one, later) in pairs {
        up += u32::from(later.held > one.held);
        down += u32::from(later.held < one.held);
    }
    f64::from(up) / f64::from(up + down).max(1.0)
}

fn held(samples: &[Sample]) -> Option<f64> {
    median(samples.iter().map(|sample| sample.held as f64))
}

fn requests(samples: &[Sample]) -> Option<f64> {
    known(samples, |work| work.requests)
}

fn cache(samples: &[Sample]) -> Option<f64> {
    known(samples, |work| work.cache)
}

/// The median of a figure; `None`: most of them are unknown.
fn known(samples: &[Sample], figure: impl Fn(&Work) -> Option<f64>) -> Option<f64> {
    let figures: Vec<f64> = samples.iter().filter_map(|sample| figure(&sample.work)).collect();
    (2 * figures.len() > samples.len()).then(|| median(figures.into_iter()))?
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    let middle = figures.len() / 2;
    (!figures.is_empty()).then(|| *figures.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
#[path = "growth_tests.rs"]
mod tests;
