//! When a load has become steady, and when enough of it was seen. Pure: it decides by what the requests did so far.

use std::time::Duration;

use super::course::Course;
use crate::text::figures::plural;

/// Fewest requests of an engine that begin and end within what counts.
const FEWEST: usize = 20;
/// Two spans in a row whose rates differ by no more are steady.
const STEADY: f64 = 0.1;
/// The halves of what counts may differ by more: engines work in bursts.
const EVEN: f64 = 0.4;

/// Bounds of what counts of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::study) struct Rules {
    /// Least time before what counts; the rates of two spans at least so long are compared.
    pub warm_up: Duration,
    /// Least time that counts.
    pub counts: Duration,
    /// Upper bound of the time before what counts, and of what counts, each.
    pub longest: Duration,
    /// Requests in flight.
    pub concurrency: u32,
}

/// What one engine did: its name and its course.
pub(in crate::study) type Seen<'a> = (&'a str, &'a Course);

impl Rules {
    /// Whether what counts may begin. An error: it will not, and why.
    pub(in crate::study) fn is_steady(&self, engines: &[Seen<'_>], now: Duration) -> Result<bool, String> {
        let slow = engines.iter().find_map(|engine| self.unsteady(engine, now));
        match slow {
            None => Ok(now >= self.warm_up),
            Some(why) if now >= self.longest => Err(why),
            Some(_) => Ok(false),
        }
    }

    /// Why an engine's load is not steady yet.
    fn unsteady(&self, (name, course): &Seen<'_>, now: Duration) -> Option<String> {
        let within = span(self.longest);
        // Until each of the first requests has made place for another, all of them march in step.
        if course.ended(now) < self.concurrency as usize {
            return Some(format!("the first requests to {name} did not all end within {within}"));
        }
        // The longer it goes on, the longer the spans: an engine that works in bursts is steady over many of them, and
        // one that gets ever slower is not.
        let half = self.warm_up.max(now / 3).min(now / 2);
        (!is_even(course, now - 2 * half, now, STEADY))
            .then(|| format!("the rate of {name} was not steady within {within}"))
    }

    /// Whether what has counted since `began` is enough. An error: it will not be, and why.
    pub(in crate::study) fn is_enough(
        &self,
        engines: &[Seen<'_>],
        began: Duration,
        now: Duration,
    ) -> Result<bool, String> {
        let needed = FEWEST.max(self.concurrency as usize);
        let few = engines.iter().map(|(name, course)| (name, course.whole(&(began..now))));
        let uneven = engines.iter().find(|(_, course)| !is_even(course, began, now, EVEN));
        match few.min_by_key(|(_, count)| *count).filter(|(_, count)| *count < needed) {
            None if now < began + self.counts => Ok(false),
            None => match uneven {
                None => Ok(true),
                Some((name, _)) if now >= began + self.longest => {
                    Err(format!("the rate of {name} changed while it counted"))
                }
                Some(_) => Ok(false),
            },
            Some((name, count)) if now >= began + self.longest => Err(format!(
                "only {} to {name} began and ended within {}, and {needed} are needed",
                plural(count, "request"),
                span(self.longest)
            )),
            Some(_) => Ok(false),
        }
    }
}

/// Whether the rates of both halves of a span differ by no more than this share, or than chance explains.
fn is_even(course: &Course, from: Duration, to: Duration, share: f64) -> bool {
    let middle = from + (to - from) / 2;
    let [before, after] = [from..middle, middle..to].map(|span| course.work(&span));
    let allowed = (share * (before + after) / 2.0).max(2.0 * (before + after).sqrt());
    before + after > 0.0 && (before - after).abs() <= allowed
}

fn span(time: Duration) -> String {
    crate::text::span::span(time)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn rules() -> Rules {
        Rules { warm_up: ms(1000), counts: ms(5000), longest: ms(30_000), concurrency: 2 }
    }

    /// The course of requests of `took` milliseconds, two at a time, each with a chunk every 10 ms.
    fn load(took: u64, until: u64) -> Course {
        let starts = (0..until / took).flat_map(|turn| [turn * took, turn * took + took / 2]);
        let mut chunks: Vec<u64> =
            starts.clone().flat_map(|sent| (1..=took / 10).map(move |at| sent + at * 10)).collect();
        chunks.sort_unstable();
        let mut course = Course::default();
        chunks.into_iter().for_each(|at| course.chunk(ms(at)));
        starts.for_each(|sent| course.end(ms(sent), ms(sent + took)));
        course
    }

    #[test]
    fn a_load_is_steady_once_the_first_requests_are_over_and_the_rate_stays() {
        let (slow, even) = (load(3000, 9000), load(200, 9000));
        assert_eq!(rules().is_steady(&[("a", &even)], ms(900)), Ok(false));
        assert_eq!(rules().is_steady(&[("a", &even)], ms(3000)), Ok(true));
        assert_eq!(rules().is_steady(&[("a", &even), ("b", &slow)], ms(3000)), Ok(false), "a slow one is waited for");
        assert_eq!(rules().is_steady(&[("a", &even), ("b", &slow)], ms(5000)), Ok(true));
    }

    #[test]
    fn a_rate_that_grows_is_waited_for_up_to_the_bound_and_named() {
        let mut growing = Course::default();
        for at in (1..=8).flat_map(|second| (0..second * 100).map(move |at| second * 1000 + at)) {
            growing.chunk(ms(at + 1));
            growing.end(ms(at), ms(at + 1));
        }
        assert_eq!(rules().is_steady(&[("a", &growing)], ms(4500)), Ok(false));
        let silent = Course::default();
        let why = rules().is_steady(&[("a", &silent)], ms(30_000)).unwrap_err();
        assert_eq!(why, "the first requests to a did not all end within 30.00 s");
    }

    #[test]
    fn what_counts_goes_on_until_enough_requests_began_and_ended_in_it() {
        let (many, few) = (load(200, 60_000), load(4000, 60_000));
        assert_eq!(rules().is_enough(&[("a", &many)], ms(1000), ms(4000)), Ok(false), "the least time");
        assert_eq!(rules().is_enough(&[("a", &many)], ms(1000), ms(6000)), Ok(true));
        assert_eq!(rules().is_enough(&[("a", &many), ("b", &few)], ms(1000), ms(6000)), Ok(false));
        let why = rules().is_enough(&[("a", &many), ("b", &few)], ms(1000), ms(31_000)).unwrap_err();
        assert_eq!(why, "only 13 requests to b began and ended within 30.00 s, and 20 are needed");
    }
}
