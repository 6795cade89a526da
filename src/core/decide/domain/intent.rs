//! What a domain is to be, what it may still spend, and what it is asked for.

use std::collections::BTreeSet;

use crate::decide::domain::others::Search;
use crate::decide::domain::phase::AfterStop;
use crate::decide::facts::guard::{Attempts, Jitter};
use crate::model::{EngineName, Moment};

/// Whether a domain is to be down, and what becomes of it then.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    /// An operator stopped it: it is not started before a person says so.
    pub kept_down: bool,
    /// What becomes of it once it is stopped.
    pub after_stop: AfterStop,
    /// Not everything was proven gone when it was stopped: its next start begins with the kill and the proof.
    pub left_behind: bool,
}

/// Restarts that a domain had, and those that it may still have.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    /// Whole restarts so far.
    pub generation: u32,
    /// When whole restarts were ordered.
    pub attempts: Attempts,
    /// Spreads the waits between them.
    pub jitter: Jitter,
}

/// What a domain is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Time since which something makes the server's word urgent.
    pub server: Option<Moment>,
    /// When a server was last asked for while engines ran, since the daemon had let its own go.
    pub for_server: Option<Moment>,
    /// The search for the control daemon that others run, while engines run and it is not there.
    pub control: Search,
    /// The control daemon that others run was ended here, and is to be started through them.
    pub control_owed: bool,
    /// Whose turn it is, while a fault of all of it is left to those who run its engines.
    pub owners: Option<String>,
}

/// What was done about the last fault that hit a part of a domain.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartOfIt {
    /// The fault that was counted against the budget.
    pub counted: Option<Moment>,
    /// The fault of which it was reported what is not done for the whole domain.
    pub emitted: Option<Moment>,
    /// Engines of which it was reported that they are not restarted for it.
    pub refused: BTreeSet<EngineName>,
}
