//! Actions that have no outcome yet: who waits for which.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{ActionId, EngineName, Look, Moment};

/// How long after its deadline an action is given up even if the executor says nothing.
const SLACK: Duration = Duration::from_secs(1);

/// One domain of this run. What it is called may be another's later; this is never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DomainNumber(pub u64);

/// What an action was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A reading.
    Look(Look),
    /// A step of the whole group's restart or stop.
    Group,
    /// The start of the control daemon, a step of the whole group's restart.
    Control,
    /// The start of one engine's process.
    Launch(EngineName),
    /// A step of one engine's end.
    Engine(EngineName),
    /// The wait for an engine's last request, before its end.
    Fence(EngineName),
    /// Following the server's end.
    Watch,
    /// Keeping the core's memory.
    Save,
    /// Closing NVML.
    Driver,
}

/// One action without an outcome.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// The domain it belongs to; `None`: to none.
    pub domain: Option<DomainNumber>,
    /// What it was for.
    pub purpose: Purpose,
    deadline: Moment,
}

/// All actions without an outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenActions {
    last: u64,
    open: BTreeMap<ActionId, Open>,
    deadlines: BTreeSet<(Moment, ActionId)>,
}

impl OpenActions {
    /// Adds a new action.
    pub(super) fn add(&mut self, domain: Option<DomainNumber>, purpose: Purpose, deadline: Moment) -> ActionId {
        self.last += 1;
        let id = ActionId(self.last);
        self.open.insert(id, Open { domain, purpose, deadline });
        self.deadlines.insert((deadline, id));
        id
    }

    /// Ends an action. `None`: it had ended before, and this outcome comes too late to count.
    pub(super) fn end(&mut self, id: ActionId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.deadlines.remove(&(open.deadline, id));
        Some(open)
    }

    /// The action that has waited longest for an executor that broke its promise to answer by the deadline.
    pub(super) fn overdue(&self, now: Moment) -> Option<ActionId> {
        self.deadlines.first().filter(|(deadline, _)| deadline.after(SLACK) <= now).map(|(_, id)| *id)
    }

    /// When the next action would be overdue.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first().map(|(deadline, _)| deadline.after(SLACK))
    }

    /// Whether a GPU is being read.
    pub(super) fn reads_a_gpu(&self) -> bool {
        self.open.values().any(|open| matches!(open.purpose, Purpose::Look(Look::Gpu(_))))
    }

    /// Whether any intervention of this group (no look, watch, save, fence or closing of NVML) is on its way.
    pub(super) fn busy(&self, domain: DomainNumber) -> bool {
        let waits = |purpose: &Purpose| {
            matches!(purpose, Purpose::Look(_) | Purpose::Watch | Purpose::Save | Purpose::Driver | Purpose::Fence(_))
        };
        self.open.values().any(|open| open.domain == Some(domain) && !waits(&open.purpose))
    }

    /// Whether an engine or the daemon of this group may still come up.
    pub(super) fn starting(&self, domain: DomainNumber) -> bool {
        let starts = |purpose: &Purpose| matches!(purpose, Purpose::Control | Purpose::Launch(_));
        self.open.values().any(|open| open.domain == Some(domain) && starts(&open.purpose))
    }

    /// Whether an engine of this group may still come up.
    pub(super) fn launching(&self, domain: DomainNumber) -> bool {
        self.open.values().any(|open| open.domain == Some(domain) && matches!(open.purpose, Purpose::Launch(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: DomainNumber = DomainNumber(0);
    const TWO: DomainNumber = DomainNumber(1);

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    #[test]
    fn an_order_ends_once() {
        let mut open = OpenActions::default();
        let id = open.add(Some(ONE), Purpose::Group, at(10));
        assert!(open.end(id).is_some());
        assert!(open.end(id).is_none());
    }

    #[test]
    fn an_order_without_an_outcome_is_given_up_a_second_after_its_deadline() {
        let mut open = OpenActions::default();
        let id = open.add(Some(ONE), Purpose::Group, at(10));
        assert_eq!(open.overdue(at(1009)), None);
        assert_eq!(open.overdue(at(1010)), Some(id));
        assert_eq!(open.next_deadline(), Some(at(1010)));
    }

    #[test]
    fn a_group_waits_for_its_own_starts_and_for_no_look() {
        let mut open = OpenActions::default();
        open.add(Some(ONE), Purpose::Watch, at(10));
        open.add(Some(TWO), Purpose::Launch(EngineName::from("a")), at(10));
        assert!(!open.busy(ONE) && !open.launching(ONE) && !open.starting(ONE));
        assert!(open.busy(TWO) && open.launching(TWO) && open.starting(TWO));
        open.add(Some(ONE), Purpose::Control, at(10));
        assert!(open.busy(ONE) && !open.launching(ONE) && open.starting(ONE));
    }
}
