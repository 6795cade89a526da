//! What a dialect is, and what all of them share.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use jiff::Zoned;

use super::super::books::Figures;
use super::{sglang, vllm};
use crate::cuda::CudaError;

/// The program that a simulated engine is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The program vLLM.
    Vllm,
    /// The program SGLang.
    Sglang,
}

impl Program {
    /// Its name, as in the simulated engine's argument `--speaks`.
    pub fn as_str(self) -> &'static str {
        match self {
            Program::Vllm => "vllm",
            Program::Sglang => "sglang",
        }
    }
}

/// The process that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The process that serves HTTP.
    Front,
    /// The process that is the GPU's client.
    Core,
}

/// How an engine ends once its core is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Time after the core.
    pub after: Duration,
    /// Exit status; `None`: it ends by a SIGKILL of its own.
    pub status: Option<u8>,
}

/// A request as a log has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    /// Number of the request.
    pub id: u64,
    /// What its user wrote.
    pub prompt: &'a str,
    /// Tokens that it may get.
    pub tokens: u32,
}

/// What a batch did, as a log has it now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    /// Requests in the batch, and those that wait.
    pub running: usize,
    pub waiting: usize,
    /// Share of the cache in use, 0 to 1.
    pub cache: f64,
    /// Prompt tokens: a second, or those of the prompts that were read just now.
    pub prompt: f64,
    /// Generated tokens a second.
    pub generated: f64,
}

/// A metric with its series: a suffix of its name, labels, value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub series: Vec<(&'static str, String, f64)>,
}

/// One kind of engine. Words are lines without their time; `line` adds it.
pub(crate) trait Dialect: Sync {
    /// A line as it stands in the log.
    fn line(&self, voice: Voice, now: &Zoned, text: &str) -> String;
    /// The front's first words.
    fn begins(&self, model: &str) -> Vec<String>;
    /// The core's words while it loads.
    fn loads(&self, model: &str) -> Vec<String>;
    /// The core's words once all its memory is allocated: of the cache's size in tokens, and how long it took.
    fn allocated(&self, tokens: u64, took: Duration) -> Vec<String>;
    /// The front's words once it serves.
    fn serves(&self, port: u16) -> Vec<String>;
    /// The front's words of a request, where requests are logged.
    fn received(&self, request: &Received) -> String;
    /// What is said of the last ten seconds; `None`: it says no such thing.
    fn periodic(&self, work: &Work) -> Option<String>;
    /// What is said of a prefill or of some decode steps; `None`: it says no such thing.
    fn batch(&self, work: &Work) -> Option<String>;
    /// The core's last words.
    fn dies_of(&self, error: CudaError) -> Vec<String>;
    /// The front's words when its core is gone.
    fn lost_its_core(&self, core: u32) -> Vec<String>;
    /// The front's words at SIGTERM, and once its core is gone.
    fn stops(&self, requests: usize) -> [Vec<String>; 2];
    /// How it ends after its core.
    fn end(&self) -> End;
    /// Whether it serves its requests to their ends at SIGTERM.
    fn drains(&self) -> bool;
    /// Its health is a token, for which it looks this often; `None`: it says at once whether its core is there.
    fn health_by_token(&self) -> Option<Duration>;
    /// Its metrics are brought up to date after every step, and not at intervals.
    fn counts_steps(&self) -> bool;
    /// Rows of its metrics.
    fn rows(&self, model: &str, figures: &Figures) -> Vec<Row>;
}

/// The dialect of that name, `sglang`; anything else is vLLM.
pub(crate) fn named(name: Option<&str>) -> &'static dyn Dialect {
    if name == Some("sglang") { &sglang::Sglang } else { &vllm::Vllm }
}

impl dyn Dialect + '_ {
    /// Says lines, all at one moment and in one write.
    pub(crate) fn say<T: AsRef<str>>(&self, voice: Voice, lines: &[T]) {
        let now = Zoned::now();
        let mut text = String::new();
        for line in lines {
            let _ = writeln!(text, "{}", self.line(voice, &now, line.as_ref()));
        }
        // A log that is not kept is no reason to end.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// A gauge with one series.
pub(super) fn gauge(name: &'static str, help: &'static str, labels: &str, value: f64) -> Row {
    Row { name, kind: "gauge", help, series: vec![("", labels.to_owned(), value)] }
}

/// A counter with one series.
pub(super) fn counter(name: &'static str, help: &'static str, labels: &str, value: f64) -> Row {
    Row { kind: "counter", ..gauge(name, help, labels, value) }
}

/// PyTorch's words for an error, in lines.
pub(super) fn torch_words(error: CudaError) -> Vec<String> {
    if error == CudaError::OUT_OF_MEMORY {
        let text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1024.00 MiB. GPU 0 has a total \
                    capacity of 139.80 GiB of which 512.00 MiB is free. Of the allocated memory 19.37 GiB is allocated by \
                    PyTorch, and 210.41 MiB is reserved by PyTorch but unallocated.";
        return vec![text.to_owned()];
    }
    vec![
        format!("torch.AcceleratorError: CUDA error: {}", error.text()),
        format!(
            "Search for `{}' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more \
             information.",
            error.name()
        ),
        "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be \
         incorrect."
            .to_owned(),
        "For debugging consider passing CUDA_LAUNCH_BLOCKING=1".to_owned(),
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.".to_owned(),
        String::new(),
    ]
}

/// A text as Python's `repr` shows it: on one line, whatever its user wrote.
pub(super) fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::from(quote);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            same if same == quote => shown.extend(['\\', same]),
            control if control.is_ascii_control() => {
                let _ = write!(shown, "\\x{:02x}", u32::from(control));
            }
            other => shown.push(other),
        }
    }
    shown.push(quote);
    shown
}

/// `349520` as `349,520`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes()[first..].chunks(3).map(String::from_utf8_lossy);
    let parts: Vec<_> = std::iter::once(digits[..first].into()).chain(groups).filter(|part| !part.is_empty()).collect();
    parts.join(",")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
