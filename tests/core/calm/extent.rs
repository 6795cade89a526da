//! How far a day went: what traffic was really seen, so that a generator which lost its teeth is noticed.

use std::collections::BTreeMap;
use std::time::Duration;

use mpswarden_core::model::{EngineLoad, Member, Moment};

/// The most of it.
#[derive(Debug, Default)]
pub struct Extent {
    pub most_waiting: f64,
    /// Requests running and no token, of those that count them all.
    pub longest_silence: Duration,
    /// No request at all.
    pub longest_idle: Duration,
    /// Counters that began anew.
    pub resets: u32,
    pub failed_readings: u32,
    /// Readings in which the GPU had no SM left.
    pub full_readings: u32,
    last: BTreeMap<Member, Last>,
}

/// What an engine said last, and since when.
#[derive(Debug, Default)]
struct Last {
    tokens: f64,
    silent_since: Option<Moment>,
    idle_since: Option<Moment>,
}

impl Extent {
    /// An engine says this of its load.
    pub fn saw(&mut self, key: &Member, load: &EngineLoad, now: Moment) {
        let last = self.last.entry(key.clone()).or_default();
        let running = load.running.unwrap_or(0.0) > 0.0;
        self.most_waiting = self.most_waiting.max(load.waiting.unwrap_or(0.0));
        if let (Some(prompt), Some(generated)) = (load.prompt_tokens, load.generation_tokens) {
            let tokens = prompt + generated;
            self.resets += u32::from(tokens < last.tokens);
            let moved = tokens != std::mem::replace(&mut last.tokens, tokens);
            last.silent_since = last.silent_since.filter(|_| running && !moved).or(running.then_some(now));
        }
        last.idle_since = last.idle_since.filter(|_| !running).or((!running).then_some(now));
        let longest = |since: Option<Moment>| since.map_or(Duration::ZERO, |since| now.since(since));
        self.longest_silence = self.longest_silence.max(longest(last.silent_since));
        self.longest_idle = self.longest_idle.max(longest(last.idle_since));
    }

    /// Nobody saw the time in which the machine slept.
    pub fn slept(&mut self) {
        self.last.clear();
    }
}
