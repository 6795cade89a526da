//! What comes to the core loop beside facts and requests: a changed configuration to be taken up, and what
//! others than the core have to tell.

use tokio::sync::oneshot;

use crate::config::Hooks;
use crate::decide::PolicyChange;
use crate::host::clock;
use crate::model::{Event, GroupLaunch, What};

/// One piece of it.
pub(super) enum News {
    /// Something happened; it is counted and told as the core's own events are.
    Told(What),
    /// A configuration that was checked wholly; the answer says whether it was taken up.
    TakeUp(Box<TakeUp>),
}

/// A changed configuration, ready to be taken up at once.
pub(super) struct TakeUp {
    /// The change for the core.
    pub change: PolicyChange,
    /// All groups.
    pub launches: Vec<GroupLaunch>,
    /// Commands told of events.
    pub hooks: Hooks,
    /// What to tell of it, where it is worth telling.
    pub told: Option<What>,
    /// Why nothing was taken up.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// An event of the watchdog as a whole.
pub(super) fn event(what: What) -> Event {
    Event { at: clock::now(), group: None, engine: None, what }
}
