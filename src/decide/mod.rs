//! The pure core: observations in, decisions out. No clock, no randomness, no I/O, no lock, no log.

pub mod policy;

pub use policy::Policy;
