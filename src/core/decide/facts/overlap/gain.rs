//! Gain and slow-down of late: rates together against rates alone, at like load. Figures only.

use std::time::Duration;

use crate::decide::facts::figures::LOAD_FRESH;
use crate::decide::facts::overlap::baseline::{LoadPoint, rate_alone};
use crate::decide::facts::overlap::pace::Pace;
use crate::model::{Baseline, Moment};

/// Time that counts as "of late".
const LATE: Duration = Duration::from_secs(60);
/// Part of it that readings must cover.
const COVERED: Duration = Duration::from_secs(50);
/// Share of the time with requests at which an engine is at work; two must be before their sharing says anything.
const AT_WORK: f64 = 0.8;
/// Share of the time with requests below which an engine takes nothing from its siblings.
const SOME_WORK: f64 = 0.1;

/// What one engine did of late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// Share of the time in which it had requests.
    busy: f64,
    /// Prompt and generated tokens a second, over all of the time.
    rate: f64,
    /// The same, had it been alone; `None`: it has no baseline at like load.
    alone: Option<f64>,
}

impl Share {
    /// The share of late; `None`: what it did is not known.
    pub(crate) fn of_late<'b>(
        pace: &Pace,
        baselines: impl Iterator<Item = &'b Baseline>,
        now: Moment,
    ) -> Option<Share> {
        let last = pace.read().filter(|read| now.since(*read) <= LOAD_FRESH)?;
        let from = last.before(LATE);
        let stretch = pace.stretch(from, last).filter(|stretch| stretch.lasted >= COVERED)?;
        let work = |shape: crate::decide::facts::overlap::pace::Shape| LoadPoint {
            running: stretch.running,
            prompt: shape.prompt,
            generation: shape.generation,
        };
        let work = pace.shape(Moment::ZERO, last).filter(|_| stretch.busy >= SOME_WORK).map(work);
        let alone = work.and_then(|work| rate_alone(baselines, &work));
        Some(Share { busy: stretch.busy, rate: stretch.tokens_per_second, alone })
    }

    /// Its rate alone over its rate together, while it had requests; `None`: it had none for a part of the time, or
    /// has no baseline.
    pub(crate) fn slowdown(&self) -> Option<f64> {
        let together = self.rate / self.busy;
        self.alone.filter(|_| self.busy >= AT_WORK && self.rate > 0.0).map(|alone| alone / together)
    }
}

/// The sum of rates together over rates alone of all engines with work; `None`: fewer than two are at work, or not
/// everything that it takes is known.
pub(crate) fn gain(shares: &[Option<Share>]) -> Option<f64> {
    let shares: Vec<Share> = shares.iter().copied().collect::<Option<_>>()?;
    let at_work = shares.iter().filter(|share| share.busy >= AT_WORK).count();
    let with_work = shares.iter().filter(|share| share.busy >= SOME_WORK);
    let ratios: Vec<f64> = with_work.map(|share| Some(share.rate / share.alone?)).collect::<Option<_>>()?;
    (at_work >= 2).then(|| ratios.iter().sum())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::baseline::tests::point;
    use super::super::pace::tests::{at, works};
    use super::*;

    fn share(busy: f64, rate: f64, alone: Option<f64>) -> Option<Share> {
        Some(Share { busy, rate, alone })
    }

    #[test]
    fn the_gain_is_the_sum_of_rates_together_over_rates_alone() {
        let shares = [share(1.0, 700.0, Some(1000.0)), share(0.9, 1600.0, Some(2000.0))];
        assert!((gain(&shares).unwrap() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn one_engine_at_work_shares_with_nobody() {
        assert_eq!(gain(&[share(1.0, 990.0, Some(1000.0)), share(0.0, 0.0, None)]), None);
        assert_eq!(gain(&[share(1.0, 990.0, Some(1000.0)), share(0.5, 300.0, Some(1000.0))]), None);
    }

    #[test]
    fn an_engine_with_some_work_adds_what_it_did_and_one_with_hardly_any_nothing() {
        let two = [share(1.0, 700.0, Some(1000.0)), share(1.0, 700.0, Some(1000.0))];
        let with = |third| gain(&[two[0], two[1], third]);
        assert!((with(share(0.5, 200.0, Some(1000.0))).unwrap() - 1.6).abs() < 1e-9);
        assert!((with(share(0.05, 9.0, None)).unwrap() - 1.4).abs() < 1e-9);
        assert_eq!(with(share(0.5, 200.0, None)), None, "work and no baseline");
        assert_eq!(with(None), None, "unknown");
    }

    #[test]
    fn a_slow_down_is_of_the_time_with_requests() {
        assert_eq!(share(0.8, 400.0, Some(1000.0)).unwrap().slowdown(), Some(2.0));
        assert_eq!(share(0.7, 400.0, Some(1000.0)).unwrap().slowdown(), None);
        assert_eq!(share(1.0, 400.0, None).unwrap().slowdown(), None);
        assert_eq!(share(1.0, 0.0, Some(1000.0)).unwrap().slowdown(), None, "it stands: no rate");
    }

    #[test]
    fn a_share_is_of_the_last_minute_and_needs_most_of_it() {
        let mut pace = Pace::default();
        works(&mut pace, 0, 40, 8.0, 4.0);
        let baselines = [point(8.0, 900.0)];
        assert_eq!(Share::of_late(&pace, baselines.iter(), at(40)), None);
        works(&mut pace, 0, 100, 8.0, 4.0);
        assert_eq!(Share::of_late(&pace, baselines.iter(), at(101)), share(1.0, 600.0, Some(900.0)));
        assert_eq!(Share::of_late(&pace, baselines.iter(), at(107)), None, "it was not read for too long");
    }

    #[test]
    fn an_idle_engine_is_known_to_have_done_nothing() {
        let mut pace = Pace::default();
        works(&mut pace, 0, 100, 0.0, 0.0);
        assert_eq!(Share::of_late(&pace, [].iter(), at(100)), share(0.0, 0.0, None));
    }
}
