//! The pure core: observations in, decisions out. No clock, no randomness, no I/O, no lock, no log.
//!
//! Read it in this order: `watchdog` takes one input and gives one decision; `domain` is all that is known of one
//! fault domain, and `phase` what it is about; `detect` finds faults in it; `ladder` says how far to go, `may` whether
//! that may be done now, and `facts::guard` counts attempts; `settling` puts that together; `restart`, `engine_tier` and
//! `stopping` carry it through step by step, and `teardown` ends processes for all three; `attempt` is what is reported
//! of a recovery from its begin to its end; `looks` says which readings are wanted and `schedule` when; `pulse` says
//! which domains an input concerns;
//! `isolation` finds the culprit of faults that repeat. `figures` and `overlap` are what is only told.

mod attached;
mod attempt;
mod detect;
mod domain;
mod effects;
mod engine_tier;
mod evidence;
mod facts;
mod faults;
mod figures;
mod foreign;
mod group;
mod input;
mod isolation;
mod ladder;
mod limits;
mod looks;
mod may;
mod memory_gate;
mod nameless;
mod newcomers;
mod operator;
mod orders;
mod overlap;
mod permission;
mod phase;
pub mod policy;
mod pulse;
mod remembered;
mod restart;
mod schedule;
mod settling;
mod shortage;
mod sources;
mod status;
mod stopping;
mod strangers;
mod suspects;
mod teardown;
mod turn;
mod unknown;
mod watchdog;
mod words;

pub use input::{Decision, Input, PolicyChange};
pub use policy::Policy;
pub use remembered::Memory;
pub use watchdog::Watchdog;
