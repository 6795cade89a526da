//! One fault domain: what it is (`state`), what is done with it turn by turn (`run`), how it is restarted, stopped and torn
//! down, and what it takes in (`seen`).

pub(crate) mod alone;
pub(crate) mod case;
pub(crate) mod faults;
pub(crate) mod intent;
pub(crate) mod looks;
pub(crate) mod memory_gate;
pub(crate) mod operator;
pub(crate) mod others;
pub(crate) mod overlap;
pub(crate) mod part;
pub(crate) mod permission;
pub(crate) mod phase;
pub(crate) mod pulse;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod seen;
pub(crate) mod state;
pub(crate) mod stopping;
pub(crate) mod teardown;
