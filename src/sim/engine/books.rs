//! What an engine counts of its work, and what of it its metrics show: vLLM brings them up to date after each step,
//! SGLang when a prompt is read, after so many decode steps, and where a request ends. Between that they stand still,
//! whatever happens.

use std::time::{Duration, Instant};

use super::dialect::Work;

/// Room for this many requests in the key-value cache.
const CACHE: f64 = 96.0;
/// Decode steps between two looks at the batch (SGLang's `decode_log_interval`).
const INTERVAL: u64 = 40;
/// Time after which an idle scheduler looks again.
const IDLE: Duration = Duration::from_secs(30);

/// Figures of the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Requests in the batch, and those that wait.
    pub running: f64,
    pub waiting: f64,
    /// Share of the cache in use, 0 to 1.
    pub cache: f64,
    /// Prompt and generated tokens, as the dialect counts them.
    pub prompt: f64,
    pub generated: f64,
    /// The same, as they are made.
    pub prompt_so_far: f64,
    pub generated_so_far: f64,
    /// Requests that got all their tokens, and those whose caller went away.
    pub ended: f64,
    pub aborted: f64,
    /// Steps of the batch.
    pub steps: f64,
    /// Generated tokens a second, of the last interval.
    pub throughput: f64,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Done {
    /// Requests in the batch and waiting, once those that ended are out of it.
    pub running: usize,
    pub waiting: usize,
    /// Prompts whose last piece was read, and their tokens.
    pub prompts: usize,
    pub prompt: u64,
    /// Tokens generated.
    pub generated: u64,
}

/// The books of one engine.
#[derive(Debug)]
pub(super) struct Books {
    /// Up to date after each step; otherwise at intervals.
    by_step: bool,
    /// What is shown is how it is at the moment of asking.
    pub live: bool,
    now: Figures,
    shown: Figures,
    decodes: u64,
    /// When gauges were last looked at, and tokens since the last decode interval, which began then.
    looked: Instant,
    interval: (Instant, u64),
}

impl Books {
    /// The books of a dialect that is up to date after each step, or at intervals.
    pub(super) fn new(by_step: bool, live: bool) -> Books {
        let (now, shown, begun) = (Figures::default(), Figures::default(), Instant::now());
        Books { by_step, live, now, shown, decodes: 0, looked: begun, interval: (begun, 0) }
    }

    /// A step is done. What the log says of it, where the books were brought up to date at an interval.
    pub(super) fn step(&mut self, done: Done) -> Option<Work> {
        self.now.steps += 1.0;
        self.now.prompt_so_far += done.prompt as f64;
        self.now.generated_so_far += done.generated as f64;
        if self.by_step || self.live {
            (self.now.prompt, self.now.generated) = (self.now.prompt_so_far, self.now.generated_so_far);
        }
        self.gauges(done.running, done.waiting);
        if self.by_step {
            self.shown = self.now;
            return None;
        }
        self.at_intervals(done)
    }

    /// A request ended after so many prompt and generated tokens.
    pub(super) fn ended(&mut self, prompt: u64, generated: u64) {
        self.now.ended += 1.0;
        self.count_whole(prompt, generated);
    }

    /// Its caller went away; the gauges are left as they are.
    pub(super) fn aborted(&mut self, prompt: u64, generated: u64) {
        self.now.aborted += 1.0;
        self.count_whole(prompt, generated);
    }

    /// What the metrics show, with so many requests running and waiting at this moment.
    pub(super) fn shown(&mut self, running: usize, waiting: usize) -> Figures {
        if self.live {
            return Figures { running: running as f64, waiting: waiting as f64, ..self.now };
        }
        if !self.by_step && running + waiting == 0 && self.looked.elapsed() >= IDLE {
            self.gauges(0, 0);
            self.now.throughput = 0.0;
            self.look();
        }
        match self.by_step {
            // The front counts by itself who got an answer and who went away.
            true => Figures { ended: self.now.ended, aborted: self.now.aborted, ..self.shown },
            false => self.whole_and_live(),
        }
    }

    /// Tokens made so far: of prompts, and generated.
    pub(super) fn made(&self) -> (f64, f64) {
        (self.now.prompt_so_far, self.now.generated_so_far)
    }

    fn count_whole(&mut self, prompt: u64, generated: u64) {
        if !self.by_step && !self.live {
            self.now.prompt += prompt as f64;
            self.now.generated += generated as f64;
        }
    }

    fn gauges(&mut self, running: usize, waiting: usize) {
        (self.now.running, self.now.waiting) = (running as f64, waiting as f64);
        self.now.cache = (running as f64 / CACHE).min(1.0);
    }

    /// A prefill is logged at once, decode steps after every so many.
    fn at_intervals(&mut self, done: Done) -> Option<Work> {
        self.interval.1 += done.generated;
        let (running, waiting, cache) = (done.running, done.waiting, self.now.cache);
        if done.prompts > 0 {
            // Whoever was read just now joins the batch after the look.
            let running = running.saturating_sub(done.prompts);
            self.gauges(running, waiting);
            self.look();
            return Some(Work { running, waiting, cache, prompt: done.prompt as f64, generated: 0.0 });
        }
        self.decodes += 1;
        if !self.decodes.is_multiple_of(INTERVAL) {
            return None;
        }
        let (begun, tokens) = std::mem::replace(&mut self.interval, (Instant::now(), 0));
        self.now.throughput = tokens as f64 / begun.elapsed().as_secs_f64().max(1e-3);
        self.look();
        Some(Work { running, waiting, cache, prompt: 0.0, generated: self.now.throughput })
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        self.shown = self.now;
    }

    /// Gauges of the last look; what is counted where it happens is up to date.
    fn whole_and_live(&self) -> Figures {
        let Figures { running, waiting, cache, throughput, .. } = self.shown;
        Figures { running, waiting, cache, throughput, ..self.now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Done = Done { running: 3, waiting: 1, prompts: 0, prompt: 0, generated: 3 };

    #[test]
    fn gauges_of_steps_stand_still_when_all_callers_go_away_at_once() {
        let mut books = Books::new(true, false);
        books.step(Done { prompts: 1, prompt: 12, ..BUSY });
        (0..4).for_each(|_| books.aborted(3, 1));
        let shown = books.shown(0, 0);
        assert_eq!((shown.running, shown.waiting, shown.prompt, shown.generated), (3.0, 1.0, 12.0, 3.0));
        books.step(Done { running: 0, waiting: 0, generated: 1, ..Done::default() });
        assert_eq!(books.shown(0, 0).running, 0.0);
    }

    #[test]
    fn at_intervals_tokens_are_counted_where_a_request_ends_and_gauges_after_so_many_steps() {
        let mut books = Books::new(false, false);
        let prefill = Done { running: 1, waiting: 1, prompts: 1, prompt: 9, generated: 3 };
        assert!(books.step(prefill).is_some_and(|work| (work.prompt, work.running) == (9.0, 0)));
        let told: Vec<bool> = (0..INTERVAL).map(|_| books.step(BUSY).is_some()).collect();
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        let shown = books.shown(3, 1);
        assert_eq!((shown.running, shown.prompt, shown.generated), (3.0, 0.0, 0.0));
        assert_eq!((shown.prompt_so_far, shown.generated_so_far), (9.0, 3.0 + 3.0 * INTERVAL as f64));
        assert!(shown.throughput > 0.0);
        books.ended(9, 41);
        let shown = books.shown(2, 0);
        assert_eq!((shown.running, shown.prompt, shown.generated, shown.ended), (3.0, 9.0, 41.0, 1.0));
    }

    #[test]
    fn live_books_show_the_moment() {
        for by_step in [true, false] {
            let mut books = Books::new(by_step, true);
            books.step(BUSY);
            let shown = books.shown(0, 0);
            assert_eq!((shown.running, shown.generated), (0.0, 3.0));
        }
    }
}
