//! What an engine says of its load, in the Prometheus text format. A page is read in pieces and never held:
//! only the figures that vLLM and SGLang have names for are kept. Bounded, whatever comes; judges nothing.

use std::mem;
use std::time::Duration;

use memchr::{memchr, memchr2};

use super::http::{GetError, Peer};
use crate::model::EngineLoad;

/// Of one page, in bytes. A busy engine's has some 100 KB.
const MOST_BYTES: usize = 16 << 20;

/// Of one page.
const MOST_LINES: usize = 100_000;

/// In bytes; all that is ever held of a page.
const LONGEST_LINE: usize = 16 << 10;

/// More of a model's name is not kept, in characters.
const LONGEST_MODEL: usize = 200;

/// The names that are read. Of a figure with several, the first that is there counts: an older name may stand
/// beside the newer one, with the same value.
const NAMES: [(&str, Figure); 18] = [
    ("vllm:num_requests_running", Figure::Running),
    ("sglang:num_running_reqs", Figure::Running),
    ("vllm:num_requests_waiting", Figure::Waiting),
    ("sglang:num_queue_reqs", Figure::Waiting),
    ("vllm:kv_cache_usage_perc", Figure::KvCache),
    ("vllm:gpu_cache_usage_perc", Figure::KvCache),
    ("sglang:token_usage", Figure::KvCache),
    ("vllm:prompt_tokens_total", Figure::PromptTokens),
    ("vllm:prompt_tokens", Figure::PromptTokens),
    ("sglang:prompt_tokens_total", Figure::PromptTokens),
    ("sglang:prompt_tokens", Figure::PromptTokens),
    ("vllm:generation_tokens_total", Figure::GenerationTokens),
    ("vllm:generation_tokens", Figure::GenerationTokens),
    ("sglang:generation_tokens_total", Figure::GenerationTokens),
    ("sglang:generation_tokens", Figure::GenerationTokens),
    ("vllm:request_success_total", Figure::Requests),
    ("vllm:request_success", Figure::Requests),
    ("sglang:num_requests_total", Figure::Requests),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Running,
    Waiting,
    KvCache,
    PromptTokens,
    GenerationTokens,
    Requests,
}

/// Why an engine's load could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// No whole answer.
    #[error(transparent)]
    Get(#[from] GetError),
    /// Neither a page nor the word that there is none.
    #[error("its metrics answer with status {0}")]
    Status(u16),
    /// Too many bytes.
    #[error("over {} MiB of metrics: see what answers at its metrics_path", MOST_BYTES >> 20)]
    TooLarge,
    /// Too many lines.
    #[error("over {MOST_LINES} lines of metrics: see which of its labels has so many values")]
    TooManyLines,
    /// Too long a line.
    #[error("line {line} of its metrics is over {} KiB long", LONGEST_LINE >> 10)]
    LongLine {
        /// From 1.
        line: usize,
    },
    /// Not the text format.
    #[error("line {line} of its metrics is not in the Prometheus text format: {start:?}; see its metrics_path")]
    Malformed {
        /// From 1.
        line: usize,
        /// How it begins.
        start: String,
    },
    /// The page ends within a line.
    #[error("its metrics end in the middle of line {line}")]
    Unfinished {
        /// From 1.
        line: usize,
    },
}

/// Reads an engine's load from the page at `path`, all within `timeout`. An engine without such a page (404,
/// 405), or whose page has none of the names, shows an empty load.
pub async fn read(peer: &mut Peer, path: &str, timeout: Duration) -> Result<EngineLoad, MetricsError> {
    let mut page = Page::default();
    match peer.read(path, timeout, |piece| page.push(piece)).await? {
        200 => page.finish(),
        404 | 405 => Ok(EngineLoad::default()),
        status => Err(MetricsError::Status(status)),
    }
}

/// A page that is being read.
#[derive(Debug, Default)]
pub struct Page {
    bytes: usize,
    lines: usize,
    /// A line whose end has not come yet.
    begun: Vec<u8>,
    /// By the order of `NAMES`. NaN: what it says can't be.
    values: [Option<f64>; NAMES.len()],
    model: Option<String>,
}

impl Page {
    /// Takes the next piece; lines may be cut anywhere.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), MetricsError> {
        self.bytes += piece.len();
        if self.bytes > MOST_BYTES {
            return Err(MetricsError::TooLarge);
        }
        while let Some(end) = memchr(b'\n', piece) {
            if self.begun.is_empty() {
                self.line(&piece[..end])?;
            } else {
                self.begin(&piece[..end])?;
                let whole = mem::take(&mut self.begun);
                self.line(&whole)?;
            }
            piece = &piece[end + 1..];
        }
        self.begin(piece)
    }

    /// The load, once the whole page was pushed.
    pub fn finish(self) -> Result<EngineLoad, MetricsError> {
        if !self.begun.is_empty() {
            return Err(MetricsError::Unfinished { line: self.lines + 1 });
        }
        Ok(EngineLoad {
            running: self.figure(Figure::Running),
            waiting: self.figure(Figure::Waiting),
            kv_cache: self.figure(Figure::KvCache),
            prompt_tokens: self.figure(Figure::PromptTokens),
            generation_tokens: self.figure(Figure::GenerationTokens),
            requests: self.figure(Figure::Requests),
            model: self.model,
            ..EngineLoad::default()
        })
    }

    fn figure(&self, wanted: Figure) -> Option<f64> {
        let mut named = NAMES.iter().zip(self.values).filter(|((_, figure), _)| *figure == wanted);
        named.find_map(|(_, value)| value).filter(|value| value.is_finite())
    }

    fn begin(&mut self, piece: &[u8]) -> Result<(), MetricsError> {
        self.bound_line(self.begun.len() + piece.len())?;
        self.begun.extend_from_slice(piece);
        Ok(())
    }

    fn bound_line(&self, length: usize) -> Result<(), MetricsError> {
        if length > LONGEST_LINE { Err(MetricsError::LongLine { line: self.lines + 1 }) } else { Ok(()) }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), MetricsError> {
        self.bound_line(line.len())?;
        self.lines += 1;
        if self.lines > MOST_LINES {
            return Err(MetricsError::TooManyLines);
        }
        let line = line.trim_ascii();
        if line.first().is_none_or(|first| *first == b'#') || self.sample(line).is_some() {
            return Ok(());
        }
        let start = String::from_utf8_lossy(line).chars().take(60).collect();
        Err(MetricsError::Malformed { line: self.lines, start })
    }

    /// Takes up a sample of a known name. Of the thousand others only the first name and the last character
    /// are looked at. `None`: it is no sample.
    fn sample(&mut self, line: &[u8]) -> Option<()> {
        let (name, rest) = line.split_at(line.iter().position(|byte| !is_of_a_name(*byte))?);
        let Some(place) = NAMES.iter().position(|(known, _)| known.as_bytes() == name) else {
            return (may_follow_a_name(name, rest) && line.last().is_some_and(ends_a_number)).then_some(());
        };
        let (labels, rest) = Labels::parse(rest)?;
        let value = rest.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
        let value: f64 = str::from_utf8(value).ok()?.parse().ok()?;
        self.model = self.model.take().or_else(|| labels.model.map(unescape));
        // SGLang shows each priority's part beside the whole, which has an empty priority.
        if !labels.part {
            self.add(place, value);
        }
        Some(())
    }

    /// Series of one name (an engine may run several schedulers) add up. Of their caches the fullest counts:
    /// it is where requests wait first.
    fn add(&mut self, place: usize, value: f64) {
        let cache = NAMES[place].1 == Figure::KvCache;
        let can_be = value.is_finite() && value >= 0.0 && (!cache || value <= 1.0);
        let value = if can_be { value } else { f64::NAN };
        let so_far = self.values[place].unwrap_or(0.0);
        // A sum with NaN is NaN; the larger of NaN and a number would be the number.
        let sum = so_far + value;
        self.values[place] = Some(if cache && !sum.is_nan() { so_far.max(value) } else { sum });
    }
}

/// Of a sample's labels, those that matter.
#[derive(Default)]
struct Labels<'a> {
    /// As it stands there.
    model: Option<&'a [u8]>,
    /// It counts a part of what another series counts whole.
    part: bool,
}

impl<'a> Labels<'a> {
    /// What stands between a name and its value, and what follows. `None`: these are no labels.
    fn parse(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut labels = Labels::default();
        let Some(mut rest) = text.strip_prefix(b"{") else { return Some((labels, text)) };
        loop {
            rest = rest.trim_ascii_start();
            if let Some(after) = rest.strip_prefix(b"}") {
                return Some((labels, after));
            }
            let (name, after) = rest.split_at(memchr(b'=', rest)?);
            let (value, after) = quoted(after[1..].trim_ascii_start())?;
            match name.trim_ascii() {
                b"model_name" if !value.is_empty() => labels.model = Some(value),
                b"priority" => labels.part = !value.is_empty(),
                _ => {}
            }
            rest = after.trim_ascii_start();
            rest = rest.strip_prefix(b",").unwrap_or(rest);
        }
    }
}

/// What stands between two quotes, escapes and all, and what follows.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let mut end = 0;
    loop {
        end += memchr2(b'"', b'\\', text.get(end..)?)?;
        if text[end] == b'"' {
            return Some((&text[..end], &text[end + 1..]));
        }
        end += 2;
    }
}

/// A model with its escapes undone, cut where it is too long. Bytes that are no UTF-8 become U+FFFD.
fn unescape(quoted: &[u8]) -> String {
    let mut bytes = quoted.iter();
    let mut value = Vec::new();
    while let Some(byte) = bytes.next() {
        let escaped = if *byte == b'\\' { bytes.next() } else { None };
        value.push(match escaped {
            Some(b'n') => b'\n',
            other => *other.unwrap_or(byte),
        });
    }
    String::from_utf8_lossy(&value).chars().take(LONGEST_MODEL).collect()
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

fn may_follow_a_name(name: &[u8], rest: &[u8]) -> bool {
    name.first().is_some_and(|first| !first.is_ascii_digit()) && matches!(rest.first(), Some(b'{' | b' ' | b'\t'))
}

/// A digit, or the end of `1.`, `Inf`, `NaN` and their like.
fn ends_a_number(byte: &u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'f' | b'F' | b'N')
}

#[cfg(test)]
#[path = "engine_metrics_tests.rs"]
mod tests;
