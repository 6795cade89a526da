//! Whether an engine makes progress, by what it says of itself: tokens made, steps taken, and answers given. It keeps
//! since when nothing moves; what that means is decided elsewhere.
//!
//! A counter that is not shown is unknown, not zero: an engine that counts prompts alone may answer for minutes
//! without a sign. A time in which nothing was read is unknown too: the clock starts anew after it.

use std::time::Duration;

use crate::model::{EngineLoad, Health, Moment};

/// Times of two readings between which something moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub from: Moment,
    pub to: Moment,
}

impl Stretch {
    /// When something moved, at most half an interval off.
    pub(crate) fn middle(self) -> Moment {
        self.from.after(self.to.since(self.from) / 2)
    }
}

/// Counters that move when an engine makes progress: tokens, its cache while a long prompt is read, whatever counts its
/// steps.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counters {
    prompt: Option<f64>,
    generation: Option<f64>,
    kv_cache: Option<f64>,
    steps: Option<f64>,
}

impl Counters {
    /// The counters of a load; `None`: it has no requests running, or does not say so, or counts no token.
    fn of(load: &EngineLoad) -> Option<Counters> {
        let (prompt, generation) = (load.prompt_tokens, load.generation_tokens);
        let works = load.running? > 0.0 && (prompt.is_some() || generation.is_some());
        works.then_some(Counters { prompt, generation, kv_cache: load.kv_cache, steps: load.steps })
    }
}

/// Times since which nothing moves, and when that was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub since: Moment,
    pub seen: Moment,
}

#[cfg(test)]
impl Standing {
    /// Duration so far, as far as was seen.
    pub(crate) fn lasts(&self) -> Duration {
        self.seen.since(self.since)
    }
}

/// One incarnation's tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    counters: Option<Counters>,
    /// Generated tokens as last shown, whether or not a request ran at that moment.
    made: Option<f64>,
    read: Option<Moment>,
    standing: Option<Standing>,
    moved: Option<Stretch>,
}

impl Tokens {
    /// A load was read; readings further apart than `gap` say nothing about the time between them. What changed did so
    /// between two readings: half-way is at most half an interval off.
    pub(crate) fn saw(&mut self, load: &EngineLoad, gap: Duration, now: Moment) {
        let counters = Counters::of(load);
        let before = self.read.replace(now).filter(|read| now.since(*read) <= gap);
        let same = counters.is_some() && counters == self.counters;
        let since = match (before, self.standing) {
            (Some(_), Some(standing)) if same => standing.since,
            (Some(read), _) => read.after(now.since(read) / 2),
            (None, _) => now,
        };
        let worked = counters.is_some() && self.counters.is_some() && !same;
        let made = self.made.zip(load.generation_tokens).is_some_and(|(old, new)| new > old);
        if let Some(from) = before.filter(|_| worked || made) {
            self.moved = Some(Stretch { from, to: now });
        }
        self.made = load.generation_tokens;
        self.standing = counters.filter(|all| all.generation.is_some()).map(|_| Standing { since, seen: now });
        self.counters = counters;
    }

    /// It counts what it generates: so it can be seen to stand still.
    pub(crate) fn standing_is_known(&self) -> bool {
        self.made.is_some()
    }

    /// Requests run and nothing has moved since then; `None`: no request runs, or it is not known: generated tokens are
    /// not counted.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// The two readings between which it last made progress: it made tokens, though short requests may leave it idle
    /// whenever it is looked at, or another of its counters moved with requests running.
    pub(crate) fn moved(&self) -> Option<Stretch> {
        self.moved
    }
}

/// One incarnation's answers over HTTP.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    heard: Option<Moment>,
    /// When it last said anything over HTTP.
    spoke: Option<Moment>,
    asked: Option<Moment>,
    silent: Option<Standing>,
}

impl Answers {
    /// It answered something over HTTP, whatever.
    pub(crate) fn heard(&mut self, now: Moment) {
        self.spoke = Some(now);
        self.not_silent(now);
    }

    fn not_silent(&mut self, now: Moment) {
        self.heard = Some(now);
        self.silent = None;
    }

    /// When it last said anything over HTTP.
    pub(crate) fn spoke(&self) -> Option<Moment> {
        self.spoke
    }

    /// Its health endpoint was asked; questions further apart than `gap` say nothing about the time between them. A
    /// refused connection is an answer: nothing listens, which is no hang.
    pub(crate) fn probed(&mut self, health: Health, gap: Duration, now: Moment) {
        let all_along = self.asked.replace(now).is_some_and(|asked| now.since(asked) <= gap);
        match health {
            Health::Ok | Health::Status(_) => return self.heard(now),
            Health::Refused => return self.not_silent(now),
            Health::NoAnswer => {}
        }
        let since = self.silent.map(|silent| silent.since).or(self.heard).filter(|_| all_along);
        self.silent = self.heard.map(|_| Standing { since: since.unwrap_or(now), seen: now });
    }

    /// It answered once, and has left every question without an answer since then.
    pub(crate) fn silent(&self) -> Option<Standing> {
        self.silent
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(6);

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    fn load(running: f64, prompt: f64, generation: f64, kv_cache: f64) -> EngineLoad {
        let some = |value: f64| Some(value).filter(|value| *value >= 0.0);
        EngineLoad {
            running: some(running),
            prompt_tokens: some(prompt),
            generation_tokens: some(generation),
            kv_cache: some(kv_cache),
            ..EngineLoad::default()
        }
    }

    /// How long it stands, as seen at the end: readings every two seconds; one below zero is not shown.
    fn stands(loads: &[(f64, f64, f64, f64)]) -> Option<u64> {
        let mut tokens = Tokens::default();
        for (index, (running, prompt, generation, kv_cache)) in (0u64..).zip(loads) {
            tokens.saw(&load(*running, *prompt, *generation, *kv_cache), GAP, at(2 * index));
        }
        tokens.standing().map(|standing| standing.lasts().as_secs())
    }

    const STUCK: (f64, f64, f64, f64) = (3.0, 500.0, 90.0, 0.4);

    #[test]
    fn requests_that_run_without_a_token_stand() {
        assert_eq!(stands(&[STUCK; 61]), Some(120));
    }

    #[test]
    fn an_idle_engine_does_not_stand_however_long() {
        assert_eq!(stands(&[(0.0, 500.0, 90.0, 0.0); 61]), None);
    }

    #[test]
    fn the_clock_starts_between_the_last_reading_that_moved_and_the_next() {
        assert_eq!(stands(&[(3.0, 500.0, 80.0, 0.4), (3.0, 500.0, 90.0, 0.4), STUCK, STUCK]), Some(5));
        assert_eq!(stands(&[(0.0, 500.0, 90.0, 0.0), STUCK, STUCK]), Some(3));
    }

    #[test]
    fn a_long_prefill_gets_on_while_its_cache_fills() {
        let prefill: Vec<_> = (0..60).map(|step| (1.0, 500.0, 90.0, f64::from(step) / 100.0)).collect();
        assert_eq!(stands(&prefill), Some(1));
    }

    #[test]
    fn bursts_with_pauses_do_not_stand() {
        let bursts: Vec<_> = (0..60).map(|n| (f64::from(n % 2), 500.0, f64::from(90 + n / 2), 0.0)).collect();
        assert!(stands(&bursts).is_none_or(|seconds| seconds <= 1));
    }

    #[test]
    fn missing_counters_are_unknown_not_zero() {
        assert_eq!(stands(&[(-1.0, 500.0, 90.0, 0.4); 61]), None);
        assert_eq!(stands(&[(3.0, -1.0, -1.0, 0.4); 61]), None);
        assert_eq!(stands(&[(3.0, 500.0, -1.0, 0.4); 61]), None);
        assert_eq!(stands(&[(3.0, -1.0, 90.0, -1.0); 61]), Some(120));
    }

    #[test]
    fn a_counter_that_begins_again_moves() {
        assert_eq!(stands(&[STUCK, STUCK, (3.0, 500.0, 0.0, 0.4), (3.0, 500.0, 0.0, 0.4)]), Some(3));
    }

    #[test]
    fn short_requests_that_no_reading_meets_move_all_the_same() {
        let moved = |loads: [(f64, f64); 2]| {
            let mut tokens = Tokens::default();
            let read = |(index, (running, made))| tokens.saw(&load(running, 500.0, made, 0.0), GAP, at(2 * index));
            (0u64..).zip(loads).for_each(read);
            tokens.moved().map(|moved| moved.to)
        };
        assert_eq!(moved([(0.0, 90.0), (0.0, 98.0)]), Some(at(2)));
        assert_eq!(moved([(1.0, 90.0), (0.0, 98.0)]), Some(at(2)));
        assert_eq!(moved([(0.0, 90.0), (1.0, 90.0)]), None);
        assert_eq!(moved([(0.0, 90.0), (0.0, 0.0)]), None, "it began again, and may have made none since");
    }

    #[test]
    fn a_counter_that_is_no_number_never_stands_still() {
        let mut tokens = Tokens::default();
        let nan = EngineLoad { running: Some(1.0), generation_tokens: Some(f64::NAN), ..EngineLoad::default() };
        (0..9).for_each(|index| tokens.saw(&nan, GAP, at(2 * index)));
        assert_eq!(tokens.standing().unwrap().lasts().as_secs(), 1);
    }

    #[test]
    fn a_time_without_readings_is_unknown_and_the_clock_starts_anew() {
        let mut tokens = Tokens::default();
        let stuck = load(3.0, 500.0, 90.0, 0.4);
        [0, 2, 4, 60, 62].iter().for_each(|second| tokens.saw(&stuck, GAP, at(*second)));
        assert_eq!(tokens.standing().unwrap().lasts(), Duration::from_secs(2));
    }

    #[test]
    fn silence_counts_from_the_last_answer_and_any_answer_ends_it() {
        let mut answers = Answers::default();
        answers.probed(Health::Ok, GAP, at(0));
        (1..=3).for_each(|n| answers.probed(Health::NoAnswer, GAP, at(n * 3)));
        assert_eq!(answers.silent(), Some(Standing { since: at(0), seen: at(9) }));
        answers.probed(Health::Status(503), GAP, at(12));
        assert_eq!(answers.silent(), None);
    }

    #[test]
    fn metrics_that_still_answer_break_the_silence() {
        let mut answers = Answers::default();
        answers.probed(Health::Ok, GAP, at(0));
        answers.probed(Health::NoAnswer, GAP, at(3));
        answers.heard(at(4));
        assert_eq!(answers.silent(), None);
    }

    #[test]
    fn an_engine_that_never_answered_is_not_silent_and_a_time_without_questions_proves_nothing() {
        let mut answers = Answers::default();
        answers.probed(Health::NoAnswer, GAP, at(0));
        assert_eq!(answers.silent(), None);
        answers.probed(Health::Ok, GAP, at(3));
        answers.probed(Health::NoAnswer, GAP, at(3600));
        assert_eq!(answers.silent(), Some(Standing { since: at(3600), seen: at(3600) }));
    }
}
