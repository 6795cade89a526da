//! One healthy engine: its requests, its tokens, its memory, as its own metrics, NVML and /proc would show them.
//! It goes on second by second, and is asked whenever somebody looks.

use std::time::Duration;

use mpswarden::model::{EngineLoad, Moment, ProcessId};
use mpswarden::sim::Chance;

use crate::day::{DAYTIME, is_night, time_of_day};

const MIB: f64 = (1 << 20) as f64;
const GIB: f64 = (1 << 30) as f64;
/// Requests that run at once; the others wait.
const PLACES: usize = 64;
/// A prompt's longest prefill: no token of any request meanwhile.
const LONGEST_PREFILL: u64 = 100;
/// From its process's start until it serves.
pub const STARTUP: Duration = Duration::from_secs(2);

/// What an engine is and what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All counters; its key-value cache fills while a prompt is read.
    Vllm,
    /// It embeds: no request ever generates a token, and its requests come in batches. It says nothing of its cache:
    /// while it reads a long prompt nothing moves.
    Pooling,
    /// It counts prompts and no generated tokens, and answers for minutes.
    CountsPrompts,
    /// It says how many requests it has, and nothing else.
    Terse,
}

/// An engine and what it does.
pub struct Engine {
    pub kind: Kind,
    chance: Chance,
    process: Option<ProcessId>,
    born: Moment,
    at: Moment,
    /// Tokens that each running request still gets.
    requests: Vec<f64>,
    waiting: u32,
    /// A prompt is read until then, and so many tokens are counted at its end.
    prefill: Option<(Moment, f64)>,
    prompt: f64,
    generated: f64,
    cpu: Duration,
    /// Bytes by which it grows once it is warm, and within how many seconds.
    growth: (f64, f64),
    /// Since when it does not go on: a fault that was planted.
    pub stuck: Option<Moment>,
    /// Bytes of device and host memory that it loses each second from a moment on: a fault that was planted.
    pub leak: Option<(Moment, f64, f64)>,
}

impl Engine {
    pub fn new(kind: Kind, seed: u64) -> Engine {
        let mut chance = Chance::new(seed);
        let growth = ((0.2 + chance.share()) * GIB, 600.0 + 1200.0 * chance.share());
        Engine {
            kind,
            chance,
            process: None,
            born: Moment::ZERO,
            at: Moment::ZERO,
            requests: Vec::new(),
            waiting: 0,
            prefill: None,
            prompt: 0.0,
            generated: 0.0,
            cpu: Duration::ZERO,
            growth,
            stuck: None,
            leak: None,
        }
    }

    /// Its main process, as it is now: a new one starts from nothing.
    pub fn is(&mut self, process: ProcessId, now: Moment) {
        if self.process == Some(process) {
            return;
        }
        let fresh = Engine::new(self.kind, self.chance.draw());
        let (born, at) = (Moment::from_nanos(process.started_at * 10_000_000), now);
        *self = Engine { process: Some(process), born, at, growth: self.growth, ..fresh };
    }

    /// The machine slept for so long, and the engine with it.
    pub fn slept(&mut self, gap: Duration) {
        self.at = self.at.after(gap);
        self.born = self.born.after(gap);
        self.prefill = self.prefill.map(|(until, tokens)| (until.after(gap), tokens));
    }

    /// It serves.
    pub fn serves(&self, now: Moment) -> bool {
        self.process.is_some() && now.since(self.born) >= STARTUP
    }

    /// It has become a client just now: of NVML's two lists, read one after the other, one may lack it.
    pub fn is_new(&self, now: Moment) -> bool {
        now.since(self.born) < STARTUP * 9 / 10
    }

    /// A burst of requests.
    pub fn burst(&mut self, requests: u32) {
        self.waiting += requests;
    }

    /// A prompt that takes this long to be read, now.
    pub fn long_prompt(&mut self, now: Moment, takes: Duration) {
        self.prefill = self.prefill.or(Some((now.after(takes), 1000.0 * takes.as_secs_f64())));
    }

    /// Lets it work until `now`.
    pub fn go_on(&mut self, now: Moment) {
        while self.at < now {
            let until = now.min(self.at.after(Duration::from_secs(1)));
            let time = until.since(self.at).as_secs_f64();
            self.at = until;
            if self.serves(until) {
                self.work(time);
            }
        }
    }

    fn work(&mut self, time: f64) {
        self.cpu += Duration::from_secs_f64(time * if self.running() > 0 { 1.0 } else { 0.02 });
        if self.chance.of(self.requests_a_second() * time) {
            self.waiting += 1;
        }
        if self.stuck.is_some_and(|since| since <= self.at) {
            // Somebody waits for it, so that there is something to be found.
            self.prefill = Some((self.at.after(Duration::from_secs(3600)), 0.0));
        }
        match self.prefill {
            Some((until, _)) if until > self.at => return,
            Some((_, tokens)) => self.prompt_read(tokens),
            None => {}
        }
        self.admit();
        self.decode(time);
    }

    /// The day has a morning, a noon and an evening. One that answers for minutes is asked less often.
    fn requests_a_second(&self) -> f64 {
        let most = if self.kind == Kind::CountsPrompts { 0.1 } else { 0.25 };
        if is_night(self.at) {
            0.0
        } else {
            0.05 + most * (time_of_day(self.at) / DAYTIME * std::f64::consts::PI).sin()
        }
    }

    fn prompt_read(&mut self, tokens: f64) {
        self.prefill = None;
        self.prompt += tokens;
        self.take_up();
    }

    fn take_up(&mut self) {
        let tokens = match self.kind {
            Kind::Pooling => 0.0,
            Kind::CountsPrompts => 2000.0 + 8000.0 * self.chance.share(),
            Kind::Vllm | Kind::Terse => 20.0 + 600.0 * self.chance.share(),
        };
        // An embedding is its prompt's end.
        if tokens > 0.0 {
            self.requests.push(tokens);
        }
    }

    fn admit(&mut self) {
        while self.prefill.is_none() && self.waiting > 0 && self.requests.len() < PLACES {
            self.waiting -= 1;
            if self.chance.of(0.01) || self.kind == Kind::Pooling {
                let most = if self.chance.of(0.01) { LONGEST_PREFILL * 1000 } else { 1500 };
                let takes = self.chance.millis(50, most);
                self.long_prompt(self.at, takes);
            } else {
                self.prompt += 200.0 + 800.0 * self.chance.share();
                self.take_up();
            }
        }
    }

    fn decode(&mut self, time: f64) {
        for left in &mut self.requests {
            let tokens = (30.0 * time).floor().min(*left);
            self.generated += tokens;
            *left -= tokens.max(1.0);
        }
        self.requests.retain(|left| *left > 0.0);
        // Somebody hangs up now and then.
        if self.chance.of(0.01 * time) {
            self.requests.pop();
        }
    }

    fn running(&self) -> usize {
        self.requests.len() + usize::from(self.prefill.is_some())
    }

    /// Whether it keeps the GPU busy.
    pub fn works(&self) -> bool {
        self.running() > 0
    }

    /// It has so much to do that it fills the GPU.
    pub fn works_hard(&self) -> bool {
        self.running() >= PLACES / 2
    }

    /// It reads a prompt for longer than an engine that is not starved waits for its share.
    pub fn reads_long(&self) -> bool {
        self.prefill.is_some_and(|(_, tokens)| tokens > 25_000.0)
    }

    /// Its own metrics.
    pub fn load(&self) -> EngineLoad {
        let some = |value: f64, kinds: &[Kind]| kinds.contains(&self.kind).then_some(value);
        let read = self.prefill.map_or(0.0, |(until, _)| 0.3 / (1.0 + until.since(self.at).as_secs_f64()));
        let cache = (self.requests.len() as f64 / 96.0 + read).min(1.0);
        EngineLoad {
            running: Some(self.running() as f64),
            waiting: Some(f64::from(self.waiting)),
            kv_cache: some(cache, &[Kind::Vllm]),
            prompt_tokens: some(self.prompt, &[Kind::Vllm, Kind::Pooling, Kind::CountsPrompts]),
            generation_tokens: some(self.generated, &[Kind::Vllm, Kind::Pooling]),
            ..EngineLoad::default()
        }
    }

    /// Bytes of device memory: weights and cache, graphs that are captured step by step, caches that grow and
    /// level out, what requests need, and what a collector takes back every few minutes.
    pub fn device_memory(&self) -> u64 {
        let age = self.at.since(self.born).as_secs_f64();
        let graphs = 60.0 * MIB * ((age - 4.0) / 2.0).floor().clamp(0.0, 8.0);
        let held = 27.0 * GIB + graphs + self.warm(age) + 4.0 * MIB * self.running() as f64 + saw(age, 173.0, 250.0);
        (held + self.leaked(|leak| leak.1)) as u64
    }

    /// Bytes of host memory of all its processes.
    pub fn host_memory(&self) -> u64 {
        let age = self.at.since(self.born).as_secs_f64();
        let held = 5.0 * GIB + 0.7 * self.warm(age) + MIB * f64::from(self.waiting) + saw(age, 331.0, 400.0);
        (held + self.leaked(|leak| leak.2)) as u64
    }

    /// CPU time since its start.
    pub fn cpu(&self) -> Duration {
        self.cpu
    }

    fn warm(&self, age: f64) -> f64 {
        self.growth.0 * (1.0 - (-age / self.growth.1).exp())
    }

    fn leaked(&self, which: impl Fn(&(Moment, f64, f64)) -> f64) -> f64 {
        self.leak.as_ref().map_or(0.0, |leak| which(leak) * self.at.since(leak.0).as_secs_f64())
    }
}

/// MiB that pile up and are freed, in bytes.
fn saw(age: f64, period: f64, height: f64) -> f64 {
    height * MIB * (age / period).fract()
}
