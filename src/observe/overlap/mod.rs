//! The watchdog's side of the kernel probe: windows are ordered of all probes of a group at once, and what they
//! recorded is counted. All of it runs on a thread of its own.

pub mod concurrency;
mod listen;
mod probes;
mod sampler;
mod window;

pub use sampler::{Owner, Owners, Sampler, Timing};

#[cfg(test)]
mod tests;
