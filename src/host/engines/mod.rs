//! What engines' output says: one file a dialect, the errors that all of them share, and what kind of line it is.

mod dialect;
mod errors;
mod json;
mod line;
mod llama_cpp;
mod other;
mod pattern;
mod place;
mod saying;
mod sglang;
#[cfg(test)]
mod spellings;
#[cfg(test)]
mod tests;
mod transformers;
mod vllm;

pub use saying::{LineReader, may_say, said_in};
