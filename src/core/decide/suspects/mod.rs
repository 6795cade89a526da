//! Who did it, after a fault of the whole group: evidence in, verdict out. It orders nothing.
//!
//! `evidence` is what is known, `weigh` what it is worth, `verdict` what it comes to, `reasons` and `lines` its
//! words, `idle` who had no work; `case` keeps it all for a group from the fault to the next generation.

mod case;
mod evidence;
mod lines;
pub(crate) mod of_domain;
mod reasons;
mod verdict;
mod weigh;

pub(super) use case::Suspects;
#[cfg(test)]
mod tests;
