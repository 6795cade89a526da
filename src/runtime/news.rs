//! What comes to the core loop beside facts and requests: a changed configuration to be applied, and events of others
//! than the core.

use tokio::sync::oneshot;

use crate::config::{FoundEngineSettings, Hooks};
use crate::decide::PolicyChange;
use crate::host::clock;
use crate::model::{Event, GroupLaunch, What};

/// One piece of it.
pub(super) enum News {
    /// Something happened; it is counted and logged as the core's own events are.
    Event(What),
    /// A configuration that was checked wholly; the answer says whether it was applied.
    TakeUp(Box<TakeUp>),
}

/// A changed configuration, ready to be applied at once.
pub(super) struct TakeUp {
    /// The change for the core.
    pub change: PolicyChange,
    /// All groups.
    pub launches: Vec<GroupLaunch>,
    /// Commands that are called for events.
    pub hooks: Hooks,
    /// What is true of each engine that is found.
    pub found: FoundEngineSettings,
    /// Event that says so, where there is something to say.
    pub event: Option<What>,
    /// Channel for the answer: why nothing was applied, if so.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// An event of the watchdog as a whole.
pub(super) fn event(what: What) -> Event {
    Event { at: clock::now(), group: None, engine: None, what }
}
