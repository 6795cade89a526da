//! One healthy engine: its requests, its tokens, its memory, as its own metrics, NVML, the kernel and /proc would show
//! them. It goes on second by second, and is asked at each look.

use std::collections::VecDeque;
use std::time::Duration;

use mpswarden_core::model::{EngineLoad, Moment, ProcessId, Traffic};
use mpswarden_sim::Chance;

use super::day::{DAYTIME, is_night, time_of_day};
use super::gauges::Gauges;
use super::kind::Kind;

const MIB: f64 = (1 << 20) as f64;
const GIB: f64 = (1 << 30) as f64;
/// Requests that run at once; the others wait.
const PLACES: usize = 64;
/// A prompt's longest prefill: no token of any request meanwhile.
const LONGEST_PREFILL: u64 = 100;
/// Tokens that are generated in a second for each request, and bytes of each in an answer.
const PACE: f64 = 30.0;
const BYTES: f64 = 190.0;
/// Time after which an answer that has not moved stands still, as the kernel's figures have it.
const STALLED: Duration = Duration::from_secs(10);
/// Time from its process's start until it serves.
pub const STARTUP: Duration = Duration::from_secs(2);

/// A request that is being answered.
struct Running {
    since: Moment,
    prompt: f64,
    made: f64,
    left: f64,
    /// Each token goes out when it is made; otherwise all at the end.
    streams: bool,
}

/// A prompt that is being read.
#[derive(Clone, Copy)]
struct Reading {
    since: Moment,
    began: Moment,
    until: Moment,
    tokens: f64,
}

/// An engine and what it does.
pub struct Engine {
    pub kind: Kind,
    chance: Chance,
    process: Option<ProcessId>,
    born: Moment,
    at: Moment,
    requests: Vec<Running>,
    /// When those came that wait.
    waiting: VecDeque<Moment>,
    reading: Option<Reading>,
    gauges: Gauges,
    /// Tokens of prompts that were read, and generated ones, as they are made and as its metrics count them.
    prompt: f64,
    generated: f64,
    counted: (f64, f64),
    /// When a token was last made, and bytes of late answers so far.
    token_at: Moment,
    answered: f64,
    cpu: Duration,
    /// Bytes by which it grows once it is warm, and within how many seconds.
    growth: (f64, f64),
    /// Time since which it makes no progress: a fault that was planted.
    pub stuck: Option<Moment>,
    /// Bytes of device and host memory that it loses each second from a moment on: a fault that was planted.
    pub leak: Option<(Moment, f64, f64)>,
    /// Bytes of device memory that it holds, whatever it does: a fault that was planted.
    pub holds: Option<u64>,
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
            waiting: VecDeque::new(),
            reading: None,
            gauges: Gauges::default(),
            prompt: 0.0,
            generated: 0.0,
            counted: (0.0, 0.0),
            token_at: Moment::ZERO,
            answered: 0.0,
            cpu: Duration::ZERO,
            growth,
            stuck: None,
            leak: None,
            holds: None,
        }
    }

    /// Its main process, as it is now: a new one starts from nothing.
    pub fn is(&mut self, process: ProcessId, now: Moment) {
        if self.process == Some(process) {
            return;
        }
        let fresh = Engine::new(self.kind, self.chance.draw());
        let (born, at) = (Moment::from_nanos(process.started_at * 10_000_000), now);
        // What the kernel counted of a port, it keeps.
        let answered = self.answered;
        *self = Engine { process: Some(process), born, at, answered, growth: self.growth, ..fresh };
    }

    /// The machine slept for so long, and the engine with it.
    pub fn slept(&mut self, gap: Duration) {
        for at in [&mut self.at, &mut self.born, &mut self.token_at].into_iter().chain(&mut self.waiting) {
            *at = at.after(gap);
        }
        self.requests.iter_mut().for_each(|request| request.since = request.since.after(gap));
        self.gauges.slept(gap);
        let later = |Reading { since, began, until, tokens }| Reading {
            since: since.after(gap),
            began: began.after(gap),
            until: until.after(gap),
            tokens,
        };
        self.reading = self.reading.map(later);
    }

    /// Whether it serves.
    pub fn serves(&self, now: Moment) -> bool {
        self.process.is_some() && now.since(self.born) >= STARTUP
    }

    /// It has become a client just now: of NVML's two lists, read one after the other, one may lack it.
    pub fn is_new(&self, now: Moment) -> bool {
        now.since(self.born) < STARTUP * 9 / 10
    }

    /// A burst of requests.
    pub fn burst(&mut self, requests: u32) {
        self.waiting.extend((0..requests).map(|_| self.at));
    }

    /// A prompt that takes this long to be read, now.
    pub fn long_prompt(&mut self, now: Moment, takes: Duration) {
        let tokens = 1000.0 * takes.as_secs_f64();
        self.reading = self.reading.or(Some(Reading { since: now, began: now, until: now.after(takes), tokens }));
    }

    /// Everybody who waits for an answer goes away at one moment. Gauges stay as they were: no step follows, and an
    /// interval ends later if at all.
    pub fn abort_all(&mut self) {
        if !self.kind.counts_at_the_end() {
            self.look();
            self.gauges.no_step_follows();
        }
        self.requests.clear();
        self.waiting.clear();
        self.reading = None;
    }

    /// Lets it work until `now`.
    pub fn go_on(&mut self, now: Moment) {
        while self.at < now {
            let until = now.min(self.at.after(Duration::from_secs(1)));
            let time = until.since(self.at).as_secs_f64();
            let evening = is_night(until) && !is_night(self.at);
            self.at = until;
            if self.serves(until) {
                self.work(time);
            }
            if evening && self.kind == Kind::Vllm {
                self.all_go_home();
            }
        }
    }

    /// Disconnects all clients, at least one of them without having got an answer.
    fn all_go_home(&mut self) {
        if self.serves(self.at) && self.running() == 0 {
            self.take_up(self.at, 500.0);
        }
        self.abort_all();
    }

    fn work(&mut self, time: f64) {
        self.cpu += Duration::from_secs_f64(time * if self.running() > 0 { 1.0 } else { 0.02 });
        if self.chance.of(self.requests_a_second() * time) {
            self.waiting.push_back(self.at);
        }
        if self.stuck.is_some_and(|since| since <= self.at) {
            return self.stand_still();
        }
        match self.reading {
            Some(reading) if reading.until > self.at => return self.tell(0.0),
            Some(reading) => self.prompt_read(reading),
            None => {}
        }
        self.admit();
        self.decode(time);
        self.tell(time);
    }

    /// Somebody waits for it, so that there is something to be found.
    fn stand_still(&mut self) {
        let (now, later) = (self.at, self.at.after(Duration::from_secs(3600)));
        if self.reading.is_none_or(|reading| reading.tokens > 0.0) {
            self.reading = Some(Reading { since: now, began: now, until: later, tokens: 0.0 });
            // The step in which it stands was begun.
            self.look();
        }
    }

    /// The day has a morning, a noon and an evening.
    fn requests_a_second(&self) -> f64 {
        let (least, most) = self.kind.requests_a_second();
        if is_night(self.at) {
            0.0
        } else {
            least + most * (time_of_day(self.at) / DAYTIME * std::f64::consts::PI).sin()
        }
    }

    fn prompt_read(&mut self, Reading { since, tokens, .. }: Reading) {
        self.reading = None;
        self.take_up(since, tokens);
    }

    fn take_up(&mut self, since: Moment, prompt: f64) {
        self.prompt += prompt;
        if !self.kind.counts_at_the_end() {
            self.counted.0 += prompt;
        }
        let left = match self.kind {
            Kind::Pooling => 0.0,
            kind if kind.answers_for_minutes() => 2000.0 + 8000.0 * self.chance.share(),
            _ => 20.0 + 600.0 * self.chance.share(),
        };
        // An embedding is its prompt's end.
        if left == 0.0 {
            return self.answer(since, 40.0);
        }
        let streams = self.chance.of(0.7);
        self.requests.push(Running { since, prompt, made: 0.0, left, streams });
    }

    /// Bytes of an answer whose request came long enough ago to be counted.
    fn answer(&mut self, since: Moment, tokens: f64) {
        if self.at.since(since) >= Duration::from_secs(1) {
            self.answered += tokens * BYTES;
        }
    }

    fn admit(&mut self) {
        while self.reading.is_none() && self.requests.len() < PLACES {
            let Some(since) = self.waiting.pop_front() else { return };
            if self.chance.of(0.01) || self.kind == Kind::Pooling {
                let most = if self.chance.of(0.01) { LONGEST_PREFILL * 1000 } else { 1500 };
                let takes = self.chance.millis(50, most);
                self.long_prompt(self.at, takes);
                self.reading = self.reading.map(|reading| Reading { since, ..reading });
            } else {
                let tokens = 200.0 + 800.0 * self.chance.share();
                self.take_up(since, tokens);
            }
        }
    }

    fn decode(&mut self, time: f64) {
        let (mut streamed, mut ended) = (Vec::new(), Vec::new());
        for request in &mut self.requests {
            let tokens = (PACE * time).floor().min(request.left);
            request.made += tokens;
            request.left -= tokens.max(1.0);
            self.generated += tokens;
            if request.streams {
                streamed.push((request.since, tokens));
            }
            if tokens > 0.0 {
                self.token_at = self.at;
            }
        }
        for request in self.requests.extract_if(.., |request| request.left <= 0.0) {
            ended.push((request.prompt, request.made));
            if !request.streams {
                streamed.push((request.since, request.made));
            }
        }
        streamed.into_iter().for_each(|(since, tokens)| self.answer(since, tokens));
        ended.into_iter().for_each(|(prompt, made)| self.count_whole(prompt, made));
        if !self.kind.counts_at_the_end() {
            self.counted.1 = self.generated;
        }
        // Somebody hangs up now and then.
        if self.chance.of(0.01 * time) {
            let gone = self.requests.pop();
            gone.into_iter().for_each(|request| self.count_whole(request.prompt, request.made));
        }
    }

    fn count_whole(&mut self, prompt: f64, made: f64) {
        if self.kind.counts_at_the_end() {
            self.counted.0 += prompt;
            self.counted.1 += made;
        }
    }

    /// It brings its gauges up to date as its dialect does, after a time in which it decoded.
    fn tell(&mut self, decoded: f64) {
        let busy = self.running() + self.waiting.len() > 0;
        let read = self.reading.map(|reading| self.at.since(reading.began));
        let due = match self.kind.counts_at_the_end() {
            true => self.gauges.interval(self.at, if busy { PACE * decoded } else { 0.0 }, read, busy),
            // Without a request there is no step; the last one's end is reported by the step that ended it.
            false => self.gauges.step(busy),
        };
        if due {
            self.look();
        }
    }

    fn look(&mut self) {
        let throughput = PACE * self.requests.len() as f64 * (0.95 + 0.1 * self.chance.share());
        let (running, waiting, cache) = (self.running() as f64, self.waiting.len() as f64, self.cache());
        self.gauges.look(self.at, [running, waiting, cache, throughput]);
    }

    fn cache(&self) -> f64 {
        let read = self.reading.map_or(0.0, |reading| 0.3 / (1.0 + reading.until.since(self.at).as_secs_f64()));
        (self.requests.len() as f64 / 96.0 + read).min(1.0)
    }

    fn running(&self) -> usize {
        self.requests.len() + usize::from(self.reading.is_some())
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
        self.reading.is_some_and(|reading| reading.tokens > 25_000.0)
    }

    /// How it is, whatever its metrics show.
    pub fn truth(&self) -> EngineLoad {
        EngineLoad {
            running: Some(self.running() as f64),
            waiting: Some(self.waiting.len() as f64),
            prompt_tokens: Some(self.prompt),
            generation_tokens: Some(self.generated),
            ..EngineLoad::default()
        }
    }

    /// Load as its own metrics show it.
    pub fn load(&self) -> EngineLoad {
        let [running, waiting, cache, throughput] = self.gauges.shown();
        self.kind.shows(running, waiting, cache, throughput, self.counted)
    }

    /// The connections to its port: requests, and some that are kept for the next one.
    pub fn traffic(&self, now: Moment) -> Traffic {
        let silent = |request: &&Running| !request.streams || request.made == 0.0;
        let read = self.reading.iter().map(|reading| reading.since);
        let unanswered = self.requests.iter().filter(silent).map(|request| request.since);
        let unanswered: Vec<Moment> = unanswered.chain(read).chain(self.waiting.iter().copied()).collect();
        let streaming = self.requests.len() - self.requests.iter().filter(silent).count();
        let stalled = if now.since(self.token_at) > STALLED { streaming } else { 0 };
        let kept = if is_night(now) { 0 } else { 2 };
        Traffic {
            listening: self.serves(now),
            open: (unanswered.len() + streaming + kept) as u32,
            unanswered: unanswered.len() as u32,
            longest: unanswered.iter().min().map_or(Duration::ZERO, |since| now.since(*since)),
            stalled: stalled as u32,
            answered: self.answered as u64,
        }
    }

    /// Bytes of device memory: weights and cache, graphs that are captured step by step, caches that grow and
    /// level out, what requests need, and what a collector takes back every few minutes.
    pub fn device_memory(&self) -> u64 {
        let age = self.at.since(self.born).as_secs_f64();
        let graphs = 60.0 * MIB * ((age - 4.0) / 2.0).floor().clamp(0.0, 8.0);
        let held = 27.0 * GIB + graphs + self.warm(age) + 4.0 * MIB * self.running() as f64 + saw(age, 173.0, 250.0);
        self.holds.unwrap_or((held + self.leaked(|leak| leak.1)) as u64)
    }

    /// Bytes of host memory of all its processes.
    pub fn host_memory(&self) -> u64 {
        let age = self.at.since(self.born).as_secs_f64();
        let held = 5.0 * GIB + 0.7 * self.warm(age) + MIB * self.waiting.len() as f64 + saw(age, 331.0, 400.0);
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
