//! What must survive of one engine, and why it is to have no process.

use serde::{Deserialize, Serialize};

use crate::decide::facts::overlap::learnt::Learnt;
use crate::model::Moment;

/// One engine's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineMemory {
    /// Starts so far.
    pub incarnation: u32,
    /// When it failed, within the window.
    pub failures: Vec<Moment>,
    /// Why it is not started; `None`: it is.
    #[serde(default)]
    pub rest: Option<Rest>,
    /// How fast it was while it alone had work.
    #[serde(default)]
    pub learnt: Learnt,
    /// Others run it, and the watchdog had it ended and is to have it started again.
    #[serde(default)]
    pub owed: bool,
}

/// Why an engine is to have no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// An operator stopped it.
    Stopped,
    /// An operator took it out for good.
    Quarantined,
    /// It failed too often.
    CrashLoop,
    /// It is suspected of its group's repeated faults, and can't run isolated from its siblings.
    Apart,
    /// It was proven guilty of its group's repeated faults.
    Guilty,
    /// Its work is done: it ended in order.
    Done,
}
