//! One turn of the core: the time, and where orders and events go.

use std::time::Duration;

use super::effects::Effects;
use super::facts::gpu::GpuFacts;
use super::open_actions::{DomainNumber, OpenActions, Purpose};
use crate::model::{Action, ActionId, EngineName, FailedAction, GroupName, Hold, Moment, Outcome, What};

/// Reason where an order's outcome is late.
pub(super) const NO_OUTCOME: &str = "no outcome in its time";

/// What every step of a group gets. Lives for one `handle`.
pub(super) struct Turn<'a> {
    /// The time of this turn.
    pub now: Moment,
    /// The group's GPU.
    pub gpu: &'a GpuFacts,
    /// Whether no other group uses that GPU.
    pub alone: bool,
    /// Whether an engine of the main domain is being started, for a group's second domain.
    pub home_starts: bool,
    /// An operator's word that nothing is to be done by itself in its group.
    pub hold: Option<&'a Hold>,
    /// Which domain of this run it is.
    pub domain: DomainNumber,
    /// The name of its group, as the outside knows it.
    pub group: GroupName,
    /// Actions without an outcome yet.
    pub open: &'a mut OpenActions,
    /// What this turn puts out.
    pub effects: &'a mut Effects,
}

impl Turn<'_> {
    /// Sends an action for this group, with an outcome within `bound`.
    pub(super) fn send(&mut self, purpose: Purpose, action: Action, bound: Duration) -> ActionId {
        let deadline = self.now.after(bound);
        let id = self.open.add(Some(self.domain), purpose, deadline);
        self.effects.act(id, deadline, action);
        id
    }

    /// Emits what happened to the group.
    pub(super) fn emit(&mut self, what: What) {
        self.push(None, what);
    }

    /// Emits what happened to one engine.
    pub(super) fn emit_of(&mut self, engine: &EngineName, what: What) {
        self.push(Some(engine.clone()), what);
    }

    /// Emits that an action about the group failed, and why.
    pub(super) fn emit_failure(&mut self, action: FailedAction, outcome: &Outcome) {
        let why = failure(outcome).unwrap_or_else(|| NO_OUTCOME.to_owned());
        self.emit(What::ActionFailed { action, why });
    }

    /// Emits that an action about one engine failed, if it did.
    pub(super) fn emit_failure_of(&mut self, engine: &EngineName, action: FailedAction, outcome: &Outcome) {
        if let Some(why) = failure(outcome) {
            self.emit_of(engine, What::ActionFailed { action, why });
        }
    }

    /// What must survive a crash has changed.
    pub(super) fn save(&mut self) {
        self.effects.save();
    }

    fn push(&mut self, engine: Option<EngineName>, what: What) {
        self.effects.emit(Some(self.group.clone()), engine, what);
    }
}

/// Why an order failed; `None`: it did not.
pub(super) fn failure(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Waits { why, .. } => Some(why.clone()),
        Outcome::TimedOut => Some(NO_OUTCOME.to_owned()),
        outcome @ (Outcome::Done
        | Outcome::Started { .. }
        | Outcome::Killed { .. }
        | Outcome::Gone { .. }
        | Outcome::Failed { .. }
        | Outcome::NotUnderstood { .. }
        | Outcome::NotAsked { .. }) => outcome.blindness().map(|blindness| blindness.why),
    }
}

/// A turn of its own for tests of what works on one.
#[cfg(test)]
pub(super) mod stand {
    use super::*;
    use crate::decide::Decision;
    use crate::decide::policy::EnginePolicy;
    use crate::model::{Custody, EngineKind, Event, GpuIdentity, GpuUuid};

    /// What a turn borrows; gathers what its turns put out.
    pub(crate) struct Stand {
        gpu: GpuFacts,
        open: OpenActions,
        effects: Effects,
        decided: Decision,
    }

    impl Default for Stand {
        fn default() -> Self {
            let identity = GpuIdentity::absent(GpuUuid::from("GPU-0"), Some(0));
            let effects = Effects::new(Moment::ZERO);
            Stand { gpu: GpuFacts::new(identity), open: OpenActions::default(), effects, decided: Decision::default() }
        }
    }

    impl Stand {
        /// A turn at so many milliseconds.
        pub(crate) fn turn(&mut self, millis: u64) -> Turn<'_> {
            let now = Moment::ZERO.after(Duration::from_millis(millis));
            self.gather(now);
            let (domain, group) = (DomainNumber(0), GroupName::from("small-llms"));
            let (gpu, open, effects) = (&self.gpu, &mut self.open, &mut self.effects);
            Turn { now, gpu, alone: true, home_starts: false, hold: None, domain, group, open, effects }
        }

        /// The events since the last call.
        pub(crate) fn events(&mut self) -> Vec<Event> {
            self.gather(Moment::ZERO);
            std::mem::take(&mut self.decided.events)
        }

        /// The actions since the last call.
        pub(crate) fn actions(&mut self) -> Vec<(ActionId, Action)> {
            self.gather(Moment::ZERO);
            self.decided.actions.drain(..).map(|ordered| (ordered.id, ordered.action)).collect()
        }

        /// Ends an action, for those who ask what is on its way.
        pub(crate) fn ended(&mut self, id: ActionId) {
            self.open.end(id);
        }

        fn gather(&mut self, now: Moment) {
            let done = std::mem::replace(&mut self.effects, Effects::new(now)).decision();
            self.decided.actions.extend(done.actions);
            self.decided.events.extend(done.events);
        }
    }

    /// An engine's policy with 5 s to stop.
    pub(crate) fn engine(name: &str) -> EnginePolicy {
        EnginePolicy {
            name: EngineName::from(name),
            custody: Custody::Own,
            origin: Default::default(),
            container: Default::default(),
            address: "http://127.0.0.1:8001".into(),
            device_memory_limit: None,
            memory_max: None,
            start_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(5),
            drain_timeout: Duration::ZERO,
            hang_after: Duration::from_secs(20),
            leak_after: Duration::from_secs(180),
            sm_limited: false,
            sm_percentage: None,
            kind: EngineKind::Other,
            health_timeout: Duration::from_secs(1),
            probe_request: false,
            probe: false,
            on_clean_end: crate::decide::policy::CleanEnd::Restart,
            launch: 0,
        }
    }
}
