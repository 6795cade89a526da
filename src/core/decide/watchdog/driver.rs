//! Whether the driver is used. While every group is stopped by an operator nothing of the watchdog's holds it: it can be
//! reloaded, and a GPU can be reset.

use std::time::Duration;

use super::Watchdog;
use crate::decide::domain::state::Domain;
use crate::decide::effects::Effects;
use crate::decide::open_actions::Purpose;
use crate::decide::turn::{NO_OUTCOME, failure};
use crate::model::{Action, FailedAction, Outcome, What};

/// Upper bound for NVML to be closed: those who read it may be waiting for an event of it.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// What is done with the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DriverUse {
    /// GPUs are read.
    #[default]
    Read,
    /// No GPU is to be read; a reading may still be under way.
    Rests,
    /// It is being closed.
    Closing,
    /// Nothing uses it.
    LetGo,
    /// It did not close in its time, and no GPU is read.
    Stuck,
}

impl DriverUse {
    /// Whether no GPU is to be read.
    pub(crate) fn rests(self) -> bool {
        self != DriverUse::Read
    }

    /// Whether nothing uses it.
    pub(crate) fn is_let_go(self) -> bool {
        self == DriverUse::LetGo
    }
}

impl Watchdog {
    /// Closes it where every group is to stay stopped, and reads GPUs again where one is not.
    pub(super) fn let_go_of_driver(&mut self, effects: &mut Effects) {
        let rests = !self.groups.is_empty() && self.domains().all(Domain::stays_stopped);
        if rests != self.driver.rests() {
            self.driver = if rests { DriverUse::Rests } else { DriverUse::Read };
            (0..self.groups.len()).for_each(|index| self.want_looks(index));
        }
        if self.driver == DriverUse::Rests && !self.open.reads_a_gpu() {
            self.driver = DriverUse::Closing;
            let deadline = self.now.after(CLOSED_WITHIN);
            let id = self.open.add(None, Purpose::Driver, deadline);
            effects.act(id, deadline, Action::LetGoOfDriver);
        }
    }

    /// The closing ended. A group that was started meanwhile reads GPUs already.
    pub(super) fn driver_was_let_go(&mut self, outcome: &Outcome, effects: &mut Effects) {
        if self.driver != DriverUse::Closing {
            return;
        }
        let let_go = *outcome == Outcome::Done;
        self.driver = if let_go { DriverUse::LetGo } else { DriverUse::Stuck };
        let why = failure(outcome).unwrap_or_else(|| NO_OUTCOME.to_owned());
        let what = match let_go {
            true => What::DriverLetGo,
            false => What::ActionFailed { action: FailedAction::LetGoOfDriver, why },
        };
        effects.emit(None, None, what);
    }
}
