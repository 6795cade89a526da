//! Holds: an operator's word that nothing is to be done by itself in a group, and its end.

use std::time::Duration;

use super::{Context, Group};
use crate::decide::detect;
use crate::decide::domain::phase::Phase;
use crate::model::{Hold, Moment, Slot, What};

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldEnd {
    /// An operator ended it.
    SentAction,
    /// Its time is over.
    Expired,
}

impl Group {
    /// Begins a hold, or gives the one that lasts a new end and reason.
    pub(super) fn begin_hold(&mut self, lasts: Option<Duration>, reason: &str, context: &mut Context<'_>) {
        let news = self.hold.is_none();
        let since = self.hold.as_ref().map_or(context.now, |hold| hold.since);
        let until = lasts.map(|lasts| context.now.after(lasts));
        self.hold = Some(Hold { reason: reason.to_owned(), since, until });
        self.at(Slot::Main, context, |domain, turn| {
            turn.save();
            turn.emit(What::HoldBegan { reason: reason.to_owned(), lasts });
            if news && matches!(domain.phase, Phase::Running(_)) {
                // Those that wait for their grace: what is reported once for a fault is reported now.
                for finding in detect::findings(&domain.scene, domain.waiting_for_active(), turn.gpu, turn.now) {
                    domain.tell_suppressed(&finding, turn);
                }
            }
        });
    }

    /// Ends the hold; faults that are still there are acted on in this same turn.
    pub(super) fn end_hold(&mut self, how: HoldEnd, context: &mut Context<'_>) {
        let Some(hold) = self.hold.take() else { return };
        self.at(Slot::Main, context, |_, turn| {
            turn.save();
            turn.emit(What::HoldEnded { lasted: turn.now.since(hold.since), expired: how == HoldEnd::Expired });
        });
    }

    /// Ends a hold whose time ran out, be it while the watchdog was away.
    pub(super) fn end_an_expired_hold(&mut self, context: &mut Context<'_>) {
        if self.hold_until().is_some_and(|until| until <= context.now) {
            self.end_hold(HoldEnd::Expired, context);
        }
    }

    /// When the hold ends by itself, if it does.
    pub(crate) fn hold_until(&self) -> Option<Moment> {
        self.hold.as_ref()?.until
    }
}
