//! What was learnt of one engine while it alone had work: a point for each kind of load, an average of its last
//! stretches. It keeps points; who is alone is decided in `solo`.

use serde::{Deserialize, Serialize};

use crate::decide::facts::overlap::baseline::LoadPoint;
use crate::model::{Baseline, BaselineSource, EngineName, Moment, Taken};

/// Kinds of load that are kept: the one that was seen least lately goes.
const MOST_POINTS: usize = 32;
/// Number of stretches below which they prove nothing.
const FEWEST_STRETCHES: u32 = 3;
/// Number of stretches that an average is of, about: an engine may change with time.
const MEMORY: u32 = 32;

/// How an engine was started: the number of its launch, and whether outside MPS.
pub(crate) type Start = (u64, bool);

/// One engine's points. They survive the watchdog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    start: Start,
    points: Vec<Baseline>,
}

impl Learnt {
    /// The engine is started: in another way than before it is another engine.
    pub(crate) fn started(&mut self, start: Start) {
        if self.start != start {
            *self = Learnt { start, points: Vec::new() };
        }
    }

    /// Baselines that have enough samples to count.
    pub(crate) fn proven(&self) -> impl Iterator<Item = &Baseline> {
        self.points.iter().filter(|point| point.samples >= FEWEST_STRETCHES)
    }

    /// One stretch more.
    pub(crate) fn saw(&mut self, engine: &EngineName, work: &LoadPoint, tokens_per_second: f64, now: Moment) {
        let kind = kind(work.running, work.prompt, work.generation);
        let same = |point: &Baseline| self::kind(point.running, point.prompt_tokens, point.generation_tokens) == kind;
        match self.points.iter_mut().find(|point| same(point)) {
            Some(point) => average(point, work, tokens_per_second, now),
            None => {
                self.make_room();
                self.points.push(first(engine, work, tokens_per_second, now));
            }
        }
    }

    fn make_room(&mut self) {
        let seen = |point: &Baseline| match point.taken {
            Taken::At(at) => at,
            Taken::Unix(_) => Moment::ZERO,
        };
        if self.points.len() >= MOST_POINTS {
            let oldest = (0..self.points.len()).min_by_key(|index| seen(&self.points[*index]));
            oldest.map(|index| self.points.remove(index));
        }
    }
}

fn first(engine: &EngineName, work: &LoadPoint, tokens_per_second: f64, now: Moment) -> Baseline {
    Baseline {
        engine: engine.clone(),
        running: work.running,
        prompt_tokens: work.prompt,
        generation_tokens: work.generation,
        tokens_per_second,
        samples: 1,
        source: BaselineSource::Learnt,
        taken: Taken::At(now),
    }
}

fn average(point: &mut Baseline, work: &LoadPoint, tokens_per_second: f64, now: Moment) {
    point.samples = point.samples.saturating_add(1);
    let of = f64::from(point.samples.min(MEMORY));
    let step = |mean: &mut f64, value: f64| *mean += (value - *mean) / of;
    step(&mut point.running, work.running);
    step(&mut point.prompt_tokens, work.prompt);
    step(&mut point.generation_tokens, work.generation);
    step(&mut point.tokens_per_second, tokens_per_second);
    point.taken = Taken::At(now);
}

/// Loads of one kind: requests at once within a fifth, tokens within a factor of 1.4. An average of such loads is
/// of their kind.
fn kind(running: f64, prompt: f64, generation: f64) -> [i64; 3] {
    let step = |value: f64, steps: f64| (value.log2() * steps).floor() as i64;
    [step(running, 4.0), step(prompt + 16.0, 2.0), step(generation + 16.0, 2.0)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn saw(learnt: &mut Learnt, running: f64, rate: f64, second: u64) {
        let work = LoadPoint { running, prompt: 100.0, generation: 50.0 };
        learnt.saw(&EngineName::from("a"), &work, rate, Moment::ZERO.after(Duration::from_secs(second)));
    }

    #[test]
    fn a_point_is_the_average_of_its_stretches_and_counts_from_the_third_on() {
        let mut learnt = Learnt::default();
        saw(&mut learnt, 8.0, 590.0, 10);
        saw(&mut learnt, 8.2, 600.0, 20);
        assert_eq!(learnt.proven().count(), 0);
        saw(&mut learnt, 8.4, 610.0, 30);
        let point = learnt.proven().next().unwrap();
        assert!((point.running - 8.2).abs() < 1e-9 && (point.tokens_per_second - 600.0).abs() < 1e-9, "{point:?}");
        assert_eq!((point.samples, point.source), (3, BaselineSource::Learnt));
        assert_eq!(point.taken, Taken::At(Moment::ZERO.after(Duration::from_secs(30))));
    }

    #[test]
    fn an_average_follows_an_engine_that_changes() {
        let mut learnt = Learnt::default();
        (0..1000).for_each(|n| saw(&mut learnt, 8.0, 600.0, n));
        (1000..1100).for_each(|n| saw(&mut learnt, 8.0, 300.0, n));
        let rate = learnt.proven().next().unwrap().tokens_per_second;
        assert!(rate < 320.0, "{rate}");
    }

    #[test]
    fn other_loads_have_points_of_their_own_and_the_longest_unseen_one_goes() {
        let mut learnt = Learnt::default();
        for n in 0..40 {
            saw(&mut learnt, f64::from(1 << (n % 20)), 100.0, u64::try_from(n).unwrap());
        }
        assert_eq!(learnt.points.len(), 20);
        for n in 0..40u32 {
            let work = LoadPoint { running: 1.0, prompt: 1000.0 * 2f64.powi(n as i32), generation: 50.0 };
            let at = Moment::ZERO.after(Duration::from_secs(100 + u64::from(n)));
            learnt.saw(&EngineName::from("a"), &work, 1.0, at);
        }
        assert_eq!(learnt.points.len(), MOST_POINTS);
        assert!(learnt.points.iter().all(|point| point.prompt_tokens > 100_000.0), "the oldest went");
    }

    #[test]
    fn an_average_stays_of_the_kind_of_its_loads() {
        let of = |point: &Baseline| kind(point.running, point.prompt_tokens, point.generation_tokens);
        let mut learnt = Learnt::default();
        for n in 0..200u32 {
            saw(&mut learnt, 4.0 + f64::from(n % 40) / 10.0, 100.0, u64::from(n));
        }
        let kinds: std::collections::BTreeSet<_> = learnt.points.iter().map(of).collect();
        assert_eq!(kinds.len(), learnt.points.len());
    }
}
