//! The pure core: observations in, decisions out. No clock, no randomness, no I/O, no lock, no log.
//!
//! Its layers, each of which names only those before it: `facts` is what is known, each thing by itself; `evidence` who
//! did it; `detect` which faults are there; `goal` what is next for an engine, `may` what may not be done now; `domain` and `instance` what is done with
//! one fault domain and one engine; `group` what needs more than one domain; `watchdog` takes one input and gives one
//! decision. Read `watchdog`, then `domain::run`, which puts faults, engines and starts in their order.

mod detect;
mod domain;
mod effects;
mod evidence;
mod facts;
mod goal;
mod group;
mod input;
mod instance;
mod may;
mod open_actions;
pub mod policy;
mod remembered;
mod turn;
mod watchdog;

pub use input::{Decision, Input, PolicyChange};
pub use policy::Policy;
pub use remembered::Memory;
pub use watchdog::Watchdog;
