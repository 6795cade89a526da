//! What differs between the engines that are simulated, as far as it shows outside: their words, what their metrics
//! say and when, how they answer for their health, and how they end.

mod sglang;
mod speech;
mod vllm;

pub use speech::Program;
pub(crate) use speech::{Dialect, End, Received, Row, Voice, Work, named};
use speech::{counter, gauge, repr, thousands, torch_words};
