//! How fast an engine would be alone at a load, by its baselines: only like load is compared.
//!
//! Like: tokens of a prompt and tokens generated for a request, each within a factor of 1.5 (or both under 16).
//! Between two points with fewer and more requests at once, a factor of 2 apart at most, the rate is interpolated;
//! else a point within 25 % counts. What a study measured, with the whole GPU, goes before what was learnt, and
//! that before what the configuration says; of points that are equally near the newer counts.

use std::cmp::Ordering;

use crate::model::{Baseline, BaselineSource, Taken};

const ALIKE: f64 = 1.5;
/// Tokens: so few, and fewer, are as few.
const FEW: f64 = 16.0;
const APART: f64 = 2.0;
const NEAR: f64 = 1.25;
const BY_WORTH: [BaselineSource; 3] = [BaselineSource::Study, BaselineSource::Learnt, BaselineSource::Configured];

/// What an engine had to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LoadPoint {
    /// Requests at once, on average.
    pub running: f64,
    /// Tokens of a prompt, on average.
    pub prompt: f64,
    /// Tokens generated for a request, on average.
    pub generation: f64,
}

/// Tokens a second that an engine with these baselines would make alone; `None`: none is of like load.
pub(crate) fn rate_alone<'b>(baselines: impl Iterator<Item = &'b Baseline>, work: &LoadPoint) -> Option<f64> {
    let alike: Vec<&Baseline> = baselines.filter(|baseline| is_alike(baseline, work)).collect();
    BY_WORTH.iter().find_map(|source| {
        let points = || alike.iter().copied().filter(|point| point.source == *source);
        let below = nearest(points().filter(|point| point.running <= work.running), work);
        let above = nearest(points().filter(|point| point.running >= work.running), work);
        between(below, above, work.running).or_else(|| near(below, above, work.running))
    })
}

/// The one to show: the newest.
pub(crate) fn newest<'b>(baselines: impl Iterator<Item = &'b Baseline>) -> Option<&'b Baseline> {
    baselines.max_by_key(|baseline| age(baseline.taken))
}

fn is_alike(baseline: &Baseline, work: &LoadPoint) -> bool {
    let like = |one: f64, two: f64| one.max(two) < FEW || factor(one, two) <= ALIKE;
    like(baseline.prompt_tokens, work.prompt) && like(baseline.generation_tokens, work.generation)
}

/// The nearest point by all that makes up a load; of two as near the newer.
fn nearest<'b>(points: impl Iterator<Item = &'b Baseline>, work: &LoadPoint) -> Option<&'b Baseline> {
    let apart = |point: &Baseline| {
        let tokens = |one: f64, two: f64| factor(one.max(1.0), two.max(1.0));
        let shape = tokens(point.prompt_tokens, work.prompt) * tokens(point.generation_tokens, work.generation);
        factor(point.running, work.running) * shape
    };
    let by_age = |one: &Baseline, two: &Baseline| age(two.taken).cmp(&age(one.taken));
    points.min_by(|one, two| match apart(one).total_cmp(&apart(two)) {
        Ordering::Equal => by_age(one, two),
        order @ (Ordering::Less | Ordering::Greater) => order,
    })
}

fn between(below: Option<&Baseline>, above: Option<&Baseline>, running: f64) -> Option<f64> {
    let (below, above) = below.zip(above)?;
    let span = above.running - below.running;
    if above.running > APART * below.running {
        return None;
    }
    let part = if span > 0.0 { (running - below.running) / span } else { 0.0 };
    Some(below.tokens_per_second + part * (above.tokens_per_second - below.tokens_per_second))
}

fn near(below: Option<&Baseline>, above: Option<&Baseline>, running: f64) -> Option<f64> {
    let points = [below, above].into_iter().flatten().filter(|point| factor(point.running, running) <= NEAR);
    let apart = |point: &&Baseline| factor(point.running, running);
    points.min_by(|one, two| apart(one).total_cmp(&apart(two))).map(|point| point.tokens_per_second)
}

/// How many times the smaller the larger is.
fn factor(one: f64, two: f64) -> f64 {
    one.max(two) / one.min(two)
}

/// The later the larger: what this watchdog saw is newer than what another left.
fn age(taken: Taken) -> (bool, u64) {
    match taken {
        Taken::Unix(seconds) => (false, seconds),
        Taken::At(moment) => (true, moment.as_nanos()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod tests {
    use super::*;
    use crate::model::EngineName;

    pub(crate) fn point(running: f64, tokens_per_second: f64) -> Baseline {
        Baseline {
            engine: EngineName::from("a"),
            running,
            prompt_tokens: 100.0,
            generation_tokens: 50.0,
            tokens_per_second,
            samples: 5,
            source: BaselineSource::Study,
            taken: Taken::Unix(1000),
        }
    }

    fn work(running: f64) -> LoadPoint {
        LoadPoint { running, prompt: 100.0, generation: 50.0 }
    }

    fn rate(points: &[Baseline], work: LoadPoint) -> Option<f64> {
        rate_alone(points.iter(), &work)
    }

    #[test]
    fn between_two_points_the_rate_is_interpolated() {
        let points = [point(4.0, 400.0), point(8.0, 600.0), point(16.0, 800.0)];
        assert_eq!(rate(&points, work(6.0)), Some(500.0));
        assert_eq!(rate(&points, work(8.0)), Some(600.0));
        assert_eq!(rate(&points, work(12.0)), Some(700.0));
    }

    #[test]
    fn points_more_than_a_factor_of_two_apart_have_nothing_between_them() {
        let points = [point(4.0, 400.0), point(16.0, 800.0)];
        assert_eq!(rate(&points, work(8.0)), None);
        assert_eq!(rate(&points, work(5.0)), Some(400.0), "within 25 %");
        assert_eq!(rate(&points, work(13.0)), Some(800.0), "within 25 %");
    }

    #[test]
    fn beyond_the_last_point_a_quarter_more_or_less_is_like_it() {
        assert_eq!(rate(&[point(8.0, 600.0)], work(10.0)), Some(600.0));
        assert_eq!(rate(&[point(8.0, 600.0)], work(10.1)), None);
        assert_eq!(rate(&[point(8.0, 600.0)], work(6.4)), Some(600.0));
        assert_eq!(rate(&[point(8.0, 600.0)], work(6.3)), None);
    }

    #[test]
    fn other_requests_are_no_like_load() {
        let like = |prompt, generation| rate(&[point(8.0, 600.0)], LoadPoint { running: 8.0, prompt, generation });
        assert_eq!(like(150.0, 34.0), Some(600.0));
        assert_eq!((like(151.0, 50.0), like(100.0, 33.0)), (None, None));
    }

    #[test]
    fn few_tokens_are_like_fewer() {
        let prefill = Baseline { generation_tokens: 1.0, ..point(8.0, 600.0) };
        let like =
            |generation| rate(std::slice::from_ref(&prefill), LoadPoint { running: 8.0, prompt: 100.0, generation });
        assert_eq!((like(0.0), like(15.0), like(16.0)), (Some(600.0), Some(600.0), None));
    }

    #[test]
    fn a_study_goes_before_what_was_learnt_and_that_before_the_configuration() {
        let study = point(8.0, 600.0);
        let learnt = Baseline { source: BaselineSource::Learnt, ..point(8.0, 500.0) };
        let configured = Baseline { source: BaselineSource::Configured, ..point(8.0, 400.0) };
        let all = [configured.clone(), learnt.clone(), study];
        assert_eq!(rate(&all, work(8.0)), Some(600.0));
        assert_eq!(rate(&all[..2], work(8.0)), Some(500.0));
        assert_eq!(rate(&all[..1], work(8.0)), Some(400.0));
        // A study that has no like load hides nothing.
        assert_eq!(rate(&[point(64.0, 900.0), learnt], work(8.0)), Some(500.0));
    }

    #[test]
    fn of_two_points_at_the_same_load_the_newer_counts() {
        let older = Baseline { taken: Taken::Unix(999), ..point(8.0, 500.0) };
        assert_eq!(rate(&[older.clone(), point(8.0, 600.0)], work(8.0)), Some(600.0));
        assert_eq!(rate(&[point(8.0, 600.0), older], work(8.0)), Some(600.0));
    }

    #[test]
    fn of_points_with_as_many_requests_at_once_those_with_the_most_alike_count() {
        let longer = Baseline { prompt_tokens: 140.0, ..point(8.0, 900.0) };
        assert_eq!(rate(&[longer, point(8.0, 600.0)], work(8.0)), Some(600.0));
    }

    #[test]
    fn without_a_baseline_there_is_no_rate() {
        assert_eq!(rate(&[], work(8.0)), None);
        assert_eq!(newest([].iter()), None);
    }

    #[test]
    fn the_newest_is_shown() {
        let learnt = Baseline { taken: Taken::At(crate::model::Moment::ZERO), ..point(1.0, 1.0) };
        let all = [point(2.0, 2.0), learnt.clone(), Baseline { taken: Taken::Unix(5000), ..point(3.0, 3.0) }];
        assert_eq!(newest(all.iter()), Some(&learnt));
        assert_eq!(newest(all[..1].iter()), Some(&all[0]));
    }
}
