//! Orders the looks that are due, each with the time that it may take.

use std::time::Duration;

use super::Watchdog;
use crate::decide::effects::Effects;
use crate::decide::open_actions::Purpose;
use crate::model::{Action, Look, Member};

/// Upper bound for one look, whatever hangs.
const LOOK_BOUND: Duration = Duration::from_secs(4);
/// Upper bound for a look that may take two control commands of 3 s.
const TWO_COMMANDS_BOUND: Duration = Duration::from_secs(7);
/// Time for the look over that which an engine may take to answer.
const FOR_THE_LOOK_ITSELF: Duration = Duration::from_secs(1);

impl Watchdog {
    pub(super) fn order_looks(&mut self, effects: &mut Effects) {
        for look in self.looks.due(self.now) {
            let deadline = self.now.after(self.bound_of(&look));
            let id = self.open.add(None, Purpose::Look(look.clone()), deadline);
            effects.act(id, deadline, Action::Look(look));
        }
    }

    /// Upper bound for a look to end, whatever hangs. What an engine is asked for may take as long as its configuration
    /// says.
    fn bound_of(&self, look: &Look) -> Duration {
        let engine = |at: &Member| {
            self.place(&at.domain.group)
                .and_then(|place| self.groups[place].domain(at.domain.slot)?.scene.engine(&at.engine))
        };
        match look {
            Look::Server { server: None, .. } => TWO_COMMANDS_BOUND,
            Look::Health(key) | Look::Load(key) => {
                engine(key).map_or(LOOK_BOUND, |engine| engine.policy.health_timeout + FOR_THE_LOOK_ITSELF)
            }
            Look::Token(key) => engine(key).map_or(LOOK_BOUND, |engine| engine.policy.hang_after + FOR_THE_LOOK_ITSELF),
            Look::Gpu(_)
            | Look::Server { .. }
            | Look::Clients { .. }
            | Look::Trees(_)
            | Look::Pipe(_)
            | Look::CommandLines { .. }
            | Look::Environment(_)
            | Look::Traffic(_)
            | Look::Overlap(_) => LOOK_BOUND,
        }
    }
}
