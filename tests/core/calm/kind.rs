//! What engines show of themselves, by their dialect.

use std::time::Duration;

use mpswarden_core::model::{EngineKind, EngineLoad};
use mpswarden_sim::Chance;

/// Whose habits all engines of a day have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Vllm,
    Sglang,
}

impl Dialect {
    /// The four engines of a day.
    pub fn engines(self) -> [Kind; 4] {
        match self {
            Dialect::Vllm => [Kind::Vllm, Kind::Pooling, Kind::CountsPrompts, Kind::Terse],
            Dialect::Sglang => [Kind::Sglang, Kind::Sglang, Kind::SglangOfLongAnswers, Kind::Sglang],
        }
    }

    /// How long the health of an engine takes that has so much to do.
    pub fn health_takes(self, works_hard: bool, stuck: bool, chance: &mut Chance) -> Duration {
        match (self, works_hard) {
            // A token that never comes is waited for, 20 s long.
            (Dialect::Sglang, _) if stuck => Duration::from_secs(20),
            // Health waits in the same queue as the requests.
            (_, true) => chance.millis(500, 8000),
            (Dialect::Vllm, false) => chance.millis(1, 30),
            (Dialect::Sglang, false) => chance.millis(1001, 1300),
        }
    }
}

/// What an engine is and what it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All counters; its key-value cache fills while a prompt is read.
    Vllm,
    /// An engine that embeds: no request ever generates a token, and its requests come in batches. It says nothing of
    /// its cache: while it reads a long prompt nothing moves.
    Pooling,
    /// It counts prompts and no generated tokens, and answers for minutes.
    CountsPrompts,
    /// It says how many requests it has, and nothing else.
    Terse,
    /// It counts tokens where a request ends, and looks at its batch now and then.
    Sglang,
    /// The same, and it answers for minutes.
    SglangOfLongAnswers,
}

impl Kind {
    /// Its token counters move where a request ends, and its gauges at intervals.
    pub fn counts_at_the_end(self) -> bool {
        matches!(self, Kind::Sglang | Kind::SglangOfLongAnswers)
    }

    pub fn answers_for_minutes(self) -> bool {
        matches!(self, Kind::CountsPrompts | Kind::SglangOfLongAnswers)
    }

    /// Requests that come in a second, in the morning and so many more at noon. Of answers that take minutes there are
    /// fewer, and of SGLang's so few that one is often alone for long.
    pub fn requests_a_second(self) -> (f64, f64) {
        match self {
            Kind::SglangOfLongAnswers => (0.002, 0.008),
            Kind::CountsPrompts => (0.05, 0.1),
            _ => (0.05, 0.25),
        }
    }

    /// Its metrics, of these gauges and of tokens of prompts and generated ones.
    pub fn shows(self, running: f64, waiting: f64, cache: f64, throughput: f64, counted: (f64, f64)) -> EngineLoad {
        let whole = matches!(self, Kind::Vllm) || self.counts_at_the_end();
        let some = |value: f64, shown: bool| shown.then_some(value);
        EngineLoad {
            running: Some(running),
            waiting: Some(waiting),
            kv_cache: some(cache, whole),
            prompt_tokens: some(counted.0, self != Kind::Terse),
            generation_tokens: some(counted.1, whole || self == Kind::Pooling),
            steps: some(throughput, self.counts_at_the_end()),
            kind: Some(if self.counts_at_the_end() { EngineKind::Sglang } else { EngineKind::Vllm }),
            ..EngineLoad::default()
        }
    }
}
