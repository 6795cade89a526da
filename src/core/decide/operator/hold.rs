//! Holds: an operator's word that nothing is to be done by itself in a group, and its end.

use std::time::Duration;

use crate::decide::detect;
use crate::decide::domain::Domain;
use crate::decide::phase::Phase;
use crate::decide::turn::Turn;
use crate::model::{HeldReason, Hold, Moment, What};

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldEnd {
    /// An operator ended it.
    Ordered,
    /// Its time ran out.
    Expired,
}

impl Domain {
    /// Begins a hold, or gives the one that lasts a new end and reason.
    pub(super) fn begin_hold(&mut self, lasts: Option<Duration>, reason: &str, turn: &mut Turn<'_>) {
        let news = self.hold.is_none();
        let since = self.hold.as_ref().map_or(turn.now, |hold| hold.since);
        let until = lasts.map(|lasts| turn.now.after(lasts));
        self.hold = Some(Hold { reason: reason.to_owned(), since, until });
        turn.save();
        turn.emit(What::HoldBegan { reason: reason.to_owned(), lasts });
        if news && matches!(self.phase, Phase::Running(_)) {
            // Those that wait for their grace: what is told once a fault is told now.
            for finding in detect::findings(self, turn.gpu, turn.now) {
                self.tell_suppressed(&finding, turn);
            }
        }
    }

    /// Ends the hold; faults that are still there are acted on in this same turn.
    pub(super) fn end_hold(&mut self, end: HoldEnd, turn: &mut Turn<'_>) {
        if let Some(hold) = self.hold.take() {
            turn.save();
            let expired = end == HoldEnd::Expired;
            turn.emit(What::HoldEnded { lasted: turn.now.since(hold.since), expired });
        }
    }

    /// Ends a hold whose time ran out, be it while the watchdog was away.
    pub fn end_an_expired_hold(&mut self, turn: &mut Turn<'_>) {
        // A second side holds for as long as the first.
        if !self.is_apart() && self.hold_until().is_some_and(|until| until <= turn.now) {
            self.end_hold(HoldEnd::Expired, turn);
        }
    }

    /// When the hold ends by itself, if it does.
    pub fn hold_until(&self) -> Option<Moment> {
        self.hold.as_ref()?.until
    }

    /// The hold as a reason why the group is held; its state stays what its engines are.
    pub fn held_by_an_operator(&self) -> Option<(HeldReason, String)> {
        self.hold.as_ref().map(|hold| (HeldReason::Operator, hold.reason.clone()))
    }
}
