//! Who did it, after a fault of the whole group: evidence in, verdict out. It orders nothing.
//!
//! `evidence` is what is known, `weigh` what it is worth, `verdict` what it comes to, `reasons` and `lines` its
//! words, `idle` who had no work; `case` keeps it all for a group from the fault to the next generation.

pub(crate) mod case;
pub(crate) mod evidence;
pub(crate) mod lines;
pub(crate) mod reasons;
pub(crate) mod verdict;
pub(crate) mod weigh;

pub(crate) use crate::decide::evidence::suspects::case::Suspects;
#[cfg(test)]
mod tests;
