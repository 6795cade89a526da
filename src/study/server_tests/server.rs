//! Engines of known behaviour in virtual time, and the load on them: requests that follow each other as the load's own
//! process sends them, with the same pace, the same window and the same counting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::super::load::{Course, Rules, Seen, first, pause};
use super::super::results::Measured;
use super::super::sse::Usage;
use super::super::tally::{Request, tally};

/// Time between two looks at how far the load is.
const LOOK: Duration = Duration::from_millis(50);

/// How an engine works: in steps, each of which brings every request that it works on one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    /// Seconds of the GPU for each step, for each request in it, and for each token of a prompt that comes new.
    pub(super) step: f64,
    pub(super) each: f64,
    pub(super) prefill: f64,
    /// Seconds of its front end's only thread for each chunk.
    pub(super) front: f64,
    /// Requests that it works on at once, at most.
    pub(super) batch: usize,
    /// It begins with new requests only when all that it works on have ended.
    pub(super) lockstep: bool,
    /// It shows its tokens; else it only counts them at the end.
    pub(super) shows: bool,
    /// Share of its speed that it loses in each second.
    pub(super) tires: f64,
}

impl Default for Model {
    fn default() -> Model {
        Model {
            step: 0.016,
            each: 0.001,
            prefill: 0.0,
            front: 0.0,
            batch: 64,
            lockstep: false,
            shows: true,
            tires: 0.0,
        }
    }
}

/// A load on one engine or on several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) prompt: u32,
    pub(super) output: u32,
    pub(super) concurrency: u32,
}

/// An engine at work, and what came of its requests.
struct Engine {
    model: Model,
    /// How fast its share of the GPU is, the whole GPU being 1.
    speed: f64,
    work: Work,
    clock: Duration,
    front_free: Duration,
    /// Requests that are still to come.
    coming: BinaryHeap<Reverse<Duration>>,
    waiting: VecDeque<usize>,
    /// Requests that it works on, and the tokens that each still lacks.
    working: Vec<(usize, u32)>,
    requests: Vec<Request>,
    course: Course,
}

impl Engine {
    fn new(model: Model, speed: f64, work: Work, warm_up: Duration, random: &mut fastrand::Rng) -> Engine {
        let coming = (0..work.concurrency).map(|_| Reverse(first(warm_up, random.f64()))).collect();
        Engine {
            model,
            speed,
            work,
            clock: Duration::ZERO,
            front_free: Duration::ZERO,
            coming,
            waiting: VecDeque::new(),
            working: Vec::new(),
            requests: Vec::new(),
            course: Course::default(),
        }
    }

    /// Works at least until `time`. What comes later than that is known early, and nobody asks for it yet.
    fn until(&mut self, time: Duration, random: &mut fastrand::Rng) {
        while self.clock <= time {
            self.step(random);
        }
    }

    fn step(&mut self, random: &mut fastrand::Rng) {
        while self.coming.peek().is_some_and(|Reverse(at)| *at <= self.clock) {
            let Some(Reverse(sent)) = self.coming.pop() else { break };
            self.waiting.push_back(self.requests.len());
            self.requests.push(Request { sent, ..Request::default() });
        }
        let mut new = 0;
        if !self.model.lockstep || self.working.is_empty() {
            while self.working.len() < self.model.batch {
                let Some(place) = self.waiting.pop_front() else { break };
                self.working.push((place, self.work.output));
                new += 1;
            }
        }
        if self.working.is_empty() {
            self.clock = self.coming.peek().map_or(Duration::MAX, |Reverse(at)| *at);
            return;
        }
        let Model { step, each, prefill, tires, .. } = self.model;
        let gpu = step + each * self.working.len() as f64 + prefill * f64::from(self.work.prompt) * f64::from(new);
        let fresh = (-tires * self.clock.as_secs_f64()).exp();
        self.clock += Duration::from_secs_f64(gpu / self.speed / fresh);
        self.answer(random);
    }

    /// Every request of the step gets its token; those that have all are followed by the next.
    fn answer(&mut self, random: &mut fastrand::Rng) {
        for (place, lacks) in &mut self.working {
            self.front_free = self.front_free.max(self.clock) + Duration::from_secs_f64(self.model.front);
            let (at, request) = (self.front_free, &mut self.requests[*place]);
            *lacks -= 1;
            if self.model.shows {
                request.chunks.push(at);
                self.course.chunk(at);
            }
            if *lacks == 0 {
                let (prompt, output) = (u64::from(self.work.prompt), u64::from(self.work.output));
                request.ended = Some(at);
                let seen = request.chunks.len();
                request.counted(Some(Usage { prompt_tokens: Some(prompt), completion_tokens: output }));
                request.chunks[seen..].iter().for_each(|chunk| self.course.chunk(*chunk));
                self.course.end(request.sent, at);
                self.coming.push(Reverse(at + pause(at - request.sent, random.f64())));
            }
        }
        self.working.retain(|(_, lacks)| *lacks > 0);
    }
}

/// One engine of a run: its name, how it works, and its share of the GPU.
pub(super) type Part = (&'static str, Model, f64);

/// Whether the load is so far, at a time.
type IsSo<'a> = &'a dyn Fn(&[Seen<'_>], Duration) -> Result<bool, String>;

/// One run: what each engine did while it counted, or why nothing of it counts.
pub(super) fn run(
    parts: &[Part],
    work: Work,
    rules: &Rules,
    random: &mut fastrand::Rng,
) -> Result<Vec<Measured>, String> {
    let engine = |(_, model, speed): &Part| Engine::new(*model, *speed, work, rules.warm_up, random);
    let mut engines: Vec<Engine> = parts.iter().map(engine).collect();
    let mut now = Duration::ZERO;
    let mut look = |is_so: IsSo<'_>| -> Result<Duration, String> {
        loop {
            engines.iter_mut().for_each(|engine| engine.until(now, random));
            let seen: Vec<Seen<'_>> =
                parts.iter().zip(&engines).map(|((name, ..), engine)| (*name, &engine.course)).collect();
            if is_so(&seen, now)? {
                return Ok(now);
            }
            now += LOOK;
        }
    };
    let start = look(&|seen, now| rules.is_steady(seen, now))?;
    let end = look(&|seen, now| rules.is_enough(seen, start, now))?;
    let all = parts.iter().zip(&engines);
    Ok(all.map(|((name, ..), engine)| tally(name, &engine.requests, work.prompt, &(start..end))).collect())
}
