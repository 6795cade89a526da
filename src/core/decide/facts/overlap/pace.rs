//! How fast one engine is over stretches of its load readings, and what its requests are like. Figures only: what
//! they are compared with is in `baseline` and `gain`.
//!
//! A reading that lacks a figure, a counter that shrinks and a gap between readings make everything before unknown.

use std::collections::VecDeque;
use std::time::Duration;

use crate::decide::facts::figures::LOAD_FRESH;
use crate::model::{EngineLoad, Moment};

/// Time for which readings are kept, up to a number of them.
const KEPT: Duration = Duration::from_secs(300);
const MOST_KEPT: usize = 512;
/// Spans over which requests are described: by those that ended of late; where these are few, by those of a longer
/// time.
const SHAPE_OVER: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(150), KEPT];
/// Number of ended requests below which they tell nothing; nor do fewer than this many times those that run, whose
/// tokens are not all counted yet.
const FEWEST_ENDED: f64 = 8.0;
const TURNOVERS: f64 = 4.0;

/// One reading, with sums over the readings before it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Moment,
    running: f64,
    prompt: f64,
    generation: f64,
    /// Requests that ended.
    ended: Option<f64>,
    /// Requests that ran, times seconds.
    work: f64,
    /// Seconds in which any ran.
    busy: f64,
}

/// What one incarnation's readings say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    marks: VecDeque<Mark>,
    idle: bool,
}

/// What an engine did from one reading to a later one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PaceStretch {
    /// The later reading's time.
    pub end: Moment,
    /// Time between the two.
    pub lasted: Duration,
    /// Share of that time in which requests ran.
    pub busy: f64,
    /// Requests that ran at once, on average over the time in which any did; 0: none did.
    pub running: f64,
    /// Prompt and generated tokens.
    pub tokens_per_second: f64,
}

/// What requests are like, on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    /// Tokens of a prompt.
    pub prompt: f64,
    /// Tokens generated for a request.
    pub generation: f64,
}

impl Pace {
    /// A load was read.
    pub(crate) fn saw(&mut self, load: &EngineLoad, now: Moment) {
        let Some(read) = Mark::of(load, now) else {
            *self = Pace::default();
            return;
        };
        let before = self.marks.back().copied().filter(|before| before.leads_to(&read));
        let Some(before) = before else {
            self.marks.clear();
            self.idle = has_no_request(&read, load);
            return self.push(read);
        };
        let seconds = now.since(before.at).as_secs_f64();
        let half = |running: f64| if running > 0.0 { seconds / 2.0 } else { 0.0 };
        let mark = Mark {
            work: before.work + (before.running + read.running) / 2.0 * seconds,
            busy: before.busy + half(before.running) + half(read.running),
            ..read
        };
        let still = (before.prompt, before.generation) == (read.prompt, read.generation);
        self.idle = still && has_no_request(&mark, load);
        self.push(mark);
    }

    /// When it was last read.
    pub(crate) fn read(&self) -> Option<Moment> {
        self.marks.back().map(|mark| mark.at)
    }

    /// It worked on a request when it was last read.
    pub(crate) fn is_busy(&self) -> bool {
        self.marks.back().is_some_and(|mark| mark.running >= 1.0)
    }

    /// It had nothing to do when it was last read, and has made no token since it was read before.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// The stretch from the first reading at `from` or later to the last one until `to`.
    pub(crate) fn stretch(&self, from: Moment, to: Moment) -> Option<PaceStretch> {
        let (first, last) = self.between(from, to)?;
        let lasted = last.at.since(first.at);
        let (seconds, busy) = (lasted.as_secs_f64(), last.busy - first.busy);
        let tokens = last.prompt + last.generation - first.prompt - first.generation;
        Some(PaceStretch {
            end: last.at,
            lasted,
            busy: busy / seconds,
            running: if busy > 0.0 { (last.work - first.work) / busy } else { 0.0 },
            tokens_per_second: tokens / seconds,
        })
    }

    /// What the requests are like that ended until `to`, but none that ended before `from`; `None`: too few did, or
    /// it does not count them.
    pub(crate) fn shape(&self, from: Moment, to: Moment) -> Option<Shape> {
        SHAPE_OVER.iter().find_map(|over| self.shape_over(from.max(to.before(*over)), to))
    }

    fn shape_over(&self, from: Moment, to: Moment) -> Option<Shape> {
        let (first, last) = self.between(from, to)?;
        let ended = last.ended? - first.ended?;
        let running = (last.work - first.work) / last.at.since(first.at).as_secs_f64();
        if ended < FEWEST_ENDED.max(TURNOVERS * running) {
            return None;
        }
        let each = |last: f64, first: f64| (last - first) / ended;
        Some(Shape { prompt: each(last.prompt, first.prompt), generation: each(last.generation, first.generation) })
    }

    /// Two different readings: the first at `from` or later, the last until `to`.
    fn between(&self, from: Moment, to: Moment) -> Option<(&Mark, &Mark)> {
        let first = self.marks.partition_point(|mark| mark.at < from);
        let last = self.marks.partition_point(|mark| mark.at <= to).checked_sub(1)?;
        (last > first).then(|| (&self.marks[first], &self.marks[last]))
    }

    fn push(&mut self, mark: Mark) {
        self.marks.push_back(mark);
        let old = |first: &Mark| mark.at.since(first.at) > KEPT;
        while self.marks.len() > MOST_KEPT || self.marks.front().is_some_and(old) {
            self.marks.pop_front();
        }
    }
}

/// Whether a reading shows no request, neither running nor waiting.
fn has_no_request(mark: &Mark, load: &EngineLoad) -> bool {
    mark.running == 0.0 && load.waiting.is_none_or(|waiting| waiting == 0.0)
}

impl Mark {
    /// The mark of a load; `None`: a figure is not shown, or is no number.
    fn of(load: &EngineLoad, at: Moment) -> Option<Mark> {
        let fine = |figure: Option<f64>| figure.filter(|figure| figure.is_finite() && *figure >= 0.0);
        Some(Mark {
            at,
            running: fine(load.running)?,
            prompt: fine(load.prompt_tokens)?,
            generation: fine(load.generation_tokens)?,
            ended: fine(load.requests),
            work: 0.0,
            busy: 0.0,
        })
    }

    /// Whether what is between the two is known.
    fn leads_to(&self, next: &Mark) -> bool {
        let ended = self.ended.zip(next.ended).is_none_or(|(before, now)| now >= before);
        let grows = next.prompt >= self.prompt && next.generation >= self.generation && ended;
        grows && next.at > self.at && next.at.since(self.at) <= LOAD_FRESH
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    /// Readings every two seconds from `from` until `to` of an engine that works on `running` requests, each of 100
    /// prompt and 50 generated tokens, `ends` of which end in a second.
    pub(crate) fn works(pace: &mut Pace, from: u64, to: u64, running: f64, ends: f64) {
        for second in (from..=to).step_by(2) {
            let ended = ends * (second - from) as f64;
            pace.saw(&load(running, 100.0 * ended, 50.0 * ended, Some(ended)), at(second));
        }
    }

    fn load(running: f64, prompt: f64, generation: f64, requests: Option<f64>) -> EngineLoad {
        EngineLoad {
            running: Some(running),
            waiting: Some(0.0),
            prompt_tokens: Some(prompt),
            generation_tokens: Some(generation),
            requests,
            ..EngineLoad::default()
        }
    }

    #[test]
    fn tokens_count_from_one_reading_to_a_later_one() {
        let mut pace = Pace::default();
        works(&mut pace, 10, 30, 8.0, 4.0);
        let stretch = pace.stretch(at(11), at(23)).unwrap();
        assert_eq!((stretch.end, stretch.lasted), (at(22), Duration::from_secs(10)));
        assert_eq!((stretch.tokens_per_second, stretch.running, stretch.busy), (600.0, 8.0, 1.0));
        assert_eq!(pace.stretch(at(29), at(60)), None, "one reading alone");
    }

    #[test]
    fn requests_that_run_are_averaged_over_the_time_in_which_any_do() {
        let mut pace = Pace::default();
        for (second, running) in [(0, 4.0), (2, 4.0), (4, 0.0), (6, 0.0), (8, 2.0), (10, 2.0)] {
            pace.saw(&load(running, 0.0, 0.0, None), at(second));
        }
        let stretch = pace.stretch(at(0), at(10)).unwrap();
        // 8 + 4 + 0 + 2 + 4 requests times seconds, in 2 + 1 + 0 + 1 + 2 seconds.
        assert!((stretch.running - 3.0).abs() < 1e-9, "{}", stretch.running);
        assert!((stretch.busy - 0.6).abs() < 1e-9, "{}", stretch.busy);
    }

    #[test]
    fn requests_are_told_by_those_that_ended_and_by_enough_of_them() {
        let mut pace = Pace::default();
        works(&mut pace, 0, 300, 8.0, 0.25);
        // 32 must have ended: 15 do in a minute, 37 in 150 s.
        assert_eq!(pace.shape(at(0), at(300)), Some(Shape { prompt: 100.0, generation: 50.0 }));
        assert_eq!(pace.shape(at(200), at(300)), None);
    }

    #[test]
    fn an_engine_that_does_not_count_its_requests_has_a_pace_and_no_shape() {
        let mut pace = Pace::default();
        (0..60).for_each(|n| pace.saw(&load(1.0, n as f64 * 20.0, 0.0, None), at(2 * n)));
        assert_eq!(pace.stretch(at(0), at(118)).unwrap().tokens_per_second, 10.0);
        assert_eq!(pace.shape(at(0), at(118)), None);
    }

    #[test]
    fn what_is_before_a_gap_a_shrunk_counter_or_an_unknown_figure_is_forgotten() {
        let gap = |second: u64, then: EngineLoad| {
            let mut pace = Pace::default();
            works(&mut pace, 0, 20, 1.0, 1.0);
            pace.saw(&then, at(second));
            pace.stretch(at(0), at(60)).is_none()
        };
        assert!(!gap(22, load(1.0, 2200.0, 1100.0, Some(22.0))));
        assert!(gap(27, load(1.0, 2200.0, 1100.0, Some(22.0))));
        assert!(gap(22, load(1.0, 100.0, 50.0, Some(1.0))));
        assert!(gap(22, EngineLoad { prompt_tokens: None, ..load(1.0, 0.0, 1100.0, None) }));
        assert!(gap(22, load(f64::NAN, 2200.0, 1100.0, None)));
        assert!(gap(22, load(1.0, f64::INFINITY, 1100.0, None)));
    }

    #[test]
    fn an_engine_is_idle_when_nothing_runs_or_waits_and_nothing_was_made() {
        let mut pace = Pace::default();
        let mut after = |load: EngineLoad, second| {
            pace.saw(&load, at(second));
            (pace.is_idle(), pace.is_busy())
        };
        assert_eq!(after(load(0.0, 0.0, 0.0, None), 0), (true, false));
        assert_eq!(after(load(0.0, 9.0, 1.0, None), 2), (false, false), "a short request came and went");
        assert_eq!(after(load(0.0, 9.0, 1.0, None), 4), (true, false));
        assert_eq!(after(EngineLoad { waiting: Some(1.0), ..load(0.0, 9.0, 1.0, None) }, 6), (false, false));
        assert_eq!(after(load(2.0, 9.0, 1.0, None), 8), (false, true));
    }

    #[test]
    fn readings_are_bounded_however_often_they_come() {
        let mut pace = Pace::default();
        for millis in 0..100_000 {
            pace.saw(&load(1.0, 0.0, 0.0, None), Moment::ZERO.after(Duration::from_millis(millis)));
        }
        assert_eq!(pace.marks.len(), MOST_KEPT);
    }
}
