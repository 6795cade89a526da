//! A restart of the whole group, step by step; the first start is one with nothing to end.
//!
//! ```text
//! End -> (Gpu) -> Memory -> Backoff -> (StartControl) -> Active -> engines
//! ``` It begins with the end of what there was (`teardown`), in the daemon tier of the daemon too. Each wait is
//! bounded. What takes longer holds the group, with the reason; the wait itself goes on, more slowly, so that a new
//! fact lets the group go on without a person.
//!
//! `state` is what a restart is; `begin` lets one in, `steps` goes from the end of the old to the server's start,
//! `active` from there to the new generation, `gpu` waits where the GPU itself is sick.

pub(crate) mod active;
pub(crate) mod begin;
pub(crate) mod gpu;
pub(crate) mod steps;

use crate::decide::domain::phase::Phase;
use crate::decide::domain::phase::restart::{Gate, Restart, Step};
use crate::decide::domain::state::Domain;
use crate::decide::turn::Turn;
use crate::model::{Fault, Moment, Tier};

/// What comes after a piece of work on a restart.
pub(crate) enum Next {
    Go,
    /// The old is gone and the server is ACTIVE.
    Generation,
    /// The attempt failed: another one, for this reason.
    Again(Fault),
}

impl Domain {
    /// Runs `work` on the restart, if there is one, and follows what it says comes next.
    fn with_restart(
        &mut self,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Domain, &mut Restart, &mut Turn<'_>) -> Next,
    ) {
        if !matches!(self.phase, Phase::Restart(_)) {
            return;
        }
        let Phase::Restart(mut restart) = std::mem::replace(&mut self.phase, Phase::InRestart) else { return };
        let next = work(self, &mut restart, turn);
        match next {
            Next::Go => self.phase = Phase::Restart(restart),
            Next::Generation => self.new_generation(*restart, turn),
            Next::Again(reason) => {
                self.phase = Phase::Restart(restart);
                self.begin_restart(Tier::Daemon, reason.into(), turn.now, turn);
            }
        }
    }

    /// When a restart tries again what did not come about, or goes on after its back-off; `None`: it waits for no time.
    pub(crate) fn next_attempt(&self, restart: &Restart) -> Option<Moment> {
        match &restart.step {
            Step::Backoff { until } if restart.gate != Gate::Hold => Some(*until),
            Step::Blocked { again } => Some(*again),
            Step::Active { .. } => self.start_due(restart),
            Step::Backoff { .. } | Step::End(_) | Step::Gpu | Step::Memory | Step::StartControl(_) => None,
        }
    }

    /// When a restart changes by time alone.
    pub(crate) fn restart_deadline(&self, restart: &Restart) -> Option<Moment> {
        match &restart.step {
            Step::End(teardown) => teardown.deadline(),
            Step::Blocked { again } => Some(*again),
            Step::Memory => Some(restart.step_since.after(self.scene.policy.recovery.memory_timeout)),
            Step::Backoff { until } => Some(*until),
            Step::Active { .. } if self.start_due(restart).is_some() => self.start_due(restart),
            Step::Active { since } if restart.tier == Tier::Daemon => Some(since.after(active::NEW_ACTIVE_BOUND)),
            Step::Active { since } => Some(since.after(active::ACTIVE_BOUND)),
            Step::Gpu | Step::StartControl(_) => None,
        }
    }
}
