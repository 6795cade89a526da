//! The pure core: observations in, decisions out. No clock, no randomness, no I/O, no lock, no log.
//!
//! Read it in this order: `watchdog` takes one input and gives one decision; `group` is one group's
//! whole state; `detect` finds faults in it; `ladder` and `guard` say how far to go and whether it may;
//! `restart`, `engine_tier` and `stopping` carry that through step by step; `looks` says which readings are
//! wanted and `schedule` when; `pulse` says which groups an input concerns;
//! `isolation` finds the culprit of faults that repeat. `figures` and `overlap` are what is only told.

mod active_time;
mod attached;
mod detect;
mod domain;
mod effects;
mod engine;
mod engine_tier;
mod evicted;
mod facts;
mod faults;
mod figures;
mod foreign;
mod gpu_health;
mod gpu_process;
mod growth;
mod guard;
mod input;
mod instance;
mod isolation;
mod kept_out;
mod ladder;
mod limits;
mod looks;
mod memory_gate;
mod memory_trend;
mod nameless;
mod newcomers;
mod operator;
mod orders;
mod overlap;
mod passage;
pub mod policy;
mod progress;
mod pulse;
mod reading;
mod remembered;
mod restart;
mod said;
mod schedule;
mod server_start;
mod settling;
mod shortage;
mod sources;
mod stall;
mod status;
mod stopping;
mod strangers;
mod suspects;
mod taken;
mod turn;
mod unknown;
mod usage;
mod watchdog;
mod words;
mod xid;

pub use input::{Decision, Input, PolicyChange};
pub use policy::Policy;
pub use remembered::Memory;
pub use watchdog::Watchdog;
