//! When something is to be looked at again, and whether it is calm.

use crate::model::Moment;

/// When a group is to be stepped.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    /// Something was done to it in this turn, or it learnt something.
    pub stirred: bool,
    /// When time alone may change something.
    pub due: Option<Moment>,
    /// All was well after its last step, and nothing but news or its deadline changes anything.
    pub calm: bool,
}

impl Default for Pulse {
    /// The pulse of a new group: it is stepped in the first turn.
    fn default() -> Self {
        Pulse { stirred: true, due: None, calm: false }
    }
}

impl Pulse {
    /// When time alone may change something.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.due
    }
}
