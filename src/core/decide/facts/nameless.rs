//! Clients of a server whose log does not say who they are (drivers before r525). That one left makes the watchdog ask
//! who is still there; who is missing then, or whose process ended, is the one that left.

use std::time::Duration;

use crate::model::Moment;

/// Time for which a departure is looked for closely; then an answer that was asked for after it must do.
const CLOSELY: Duration = Duration::from_millis(500);

/// A departure that has no name yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nameless {
    pub at: Option<Moment>,
    read: Moment,
}

impl Nameless {
    /// Somebody left.
    pub(crate) fn left(&mut self, at: Moment, now: Moment) {
        self.at = self.at.or(Some(at));
        self.read = now;
    }

    /// Time of the last departure without a name, if there is one.
    pub(crate) fn departure(&self) -> Option<Moment> {
        self.at
    }

    /// Whether it is to be asked now who.
    pub(crate) fn asks(&self, clients_asked: Option<Moment>, now: Moment) -> bool {
        self.at.is_some() && (now.since(self.read) < CLOSELY || clients_asked.is_none_or(|asked| asked <= self.read))
    }

    /// A list came that was asked for after it was read, and enough time for a process to end has passed.
    pub(crate) fn settle(&mut self, now: Moment) {
        if now.since(self.read) >= CLOSELY {
            self.at = None;
        }
    }
}
