//! The course of one figure over the last hour, as averages.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Moment;

/// Time that one point is the average of.
const STEP: Duration = Duration::from_secs(15);
/// Number of points of an hour.
const MOST: usize = 240;

/// One figure over the last hour.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Seconds since boot at which each point's time ended, and its average.
    points: VecDeque<(u32, f32)>,
    sum: f64,
    count: u32,
    begun: Option<Moment>,
}

impl Course {
    /// Takes in a figure; `None`: it is not known.
    pub(super) fn look(&mut self, at: Moment, figure: Option<f64>) {
        let begun = *self.begun.get_or_insert(at);
        if at.since(begun) >= STEP {
            self.close(at);
        }
        if let Some(figure) = figure.filter(|figure| figure.is_finite()) {
            self.sum += figure;
            self.count += 1;
        }
    }

    /// Time for which nothing was known leaves a gap.
    fn close(&mut self, at: Moment) {
        if self.count > 0 {
            self.points.push_back((at.as_secs_f64() as u32, (self.sum / f64::from(self.count)) as f32));
        }
        (self.sum, self.count, self.begun) = (0.0, 0, Some(at));
        let oldest = (at.as_secs_f64() as u32).saturating_sub(STEP.as_secs() as u32 * MOST as u32);
        while self.points.len() > MOST || self.points.front().is_some_and(|(point, _)| *point < oldest) {
            self.points.pop_front();
        }
    }

    /// The points of that time before `now`, oldest first: how many seconds before it, and the average of the time up to
    /// there. The last one is the average so far.
    pub fn points(&self, now: Moment, within: Duration) -> impl Iterator<Item = (f64, f64)> {
        let now = now.as_secs_f64();
        let whole = self.points.iter().map(move |(at, figure)| ((now - f64::from(*at)).max(0.0), f64::from(*figure)));
        let so_far = (self.count > 0).then(|| (0.0, self.sum / f64::from(self.count)));
        whole.filter(move |(ago, _)| *ago <= within.as_secs_f64()).chain(so_far)
    }

    /// Pause between two points from which on what lies between them is not known.
    pub fn gap() -> f64 {
        STEP.as_secs_f64() * 2.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::history::HOUR;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_point_is_the_average_of_its_time() {
        let mut course = Course::default();
        (0..=30).for_each(|second| course.look(at(second), Some(if second % 2 == 0 { 4.0 } else { 2.0 })));
        let points: Vec<_> = course.points(at(30), HOUR).collect();
        assert_eq!(points.len(), 3, "two, and the one that is not over");
        assert!(points[..2].iter().all(|(_, figure)| (2.9..3.2).contains(figure)), "{points:?}");
        assert_eq!((points[0].0, points[1].0), (15.0, 0.0));
    }

    #[test]
    fn what_was_not_known_is_a_gap_and_an_hour_is_kept() {
        let mut course = Course::default();
        (0..60).for_each(|second| course.look(at(second), None));
        assert_eq!(course.points(at(60), HOUR).count(), 0);
        (60..10_000).for_each(|second| course.look(at(second), Some(1.0)));
        assert_eq!(course.points(at(10_000), HOUR).count(), MOST + 1);
    }
}
