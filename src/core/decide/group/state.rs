//! The group itself, and how its domains are reached.

use crate::decide::domain::state::Domain;
use crate::decide::effects::Effects;
use crate::decide::evidence::isolation::Isolation;
use crate::decide::facts::GpuFacts;
use crate::decide::group::time::IsolatedTime;
use crate::decide::open_actions::{DomainNumber, OpenActions};
use crate::decide::policy::GroupPolicy;
use crate::decide::remembered::GroupMemory;
use crate::decide::turn::Turn;
use crate::model::{Custody, DomainId, EngineName, GroupName, Hold, Moment, Slot};

/// Numbers for domains, never given twice, and what the jitter of each begins with.
#[derive(Clone, Debug)]
pub(in crate::decide) struct Numbers {
    next: u64,
    seed: u64,
}

impl Numbers {
    /// The first number comes next.
    pub(crate) fn new(seed: u64) -> Self {
        Numbers { next: 0, seed }
    }

    /// A domain of its own number that has not started, with what is remembered of it.
    pub(crate) fn domain(&mut self, id: DomainId, policy: GroupPolicy, remembered: GroupMemory) -> Domain {
        let number = self.next;
        self.next += 1;
        Domain::new(DomainNumber(number), id, policy, remembered, self.seed.wrapping_add(number))
    }
}

/// What every step of a group gets. Lives for one `handle`.
pub(in crate::decide) struct Context<'a> {
    /// The time of this turn.
    pub now: Moment,
    /// The group's GPU.
    pub gpu: &'a GpuFacts,
    /// Whether no other group uses that GPU.
    pub alone: bool,
    /// Numbers for domains that come.
    pub numbers: &'a mut Numbers,
    /// Actions without an outcome yet.
    pub open: &'a mut OpenActions,
    /// What this turn puts out.
    pub effects: &'a mut Effects,
}

/// One group.
#[derive(Clone, Debug)]
pub(in crate::decide) struct Group {
    /// Name of the group.
    pub name: GroupName,
    /// The domain that it always has.
    pub main: Domain,
    /// The one that it has while engines run isolated from the others.
    pub second: Option<Domain>,
    /// An operator's word that nothing is to be done by itself.
    pub hold: Option<Hold>,
    /// What is known of the culprit of repeated faults.
    pub isolation: Isolation,
    /// Time in which engines serve in both domains.
    pub isolated: IsolatedTime,
}

impl Group {
    /// A group that has not started, with what is remembered of it and of its second domain.
    pub(crate) fn new(
        policy: GroupPolicy,
        mut remembered: GroupMemory,
        second: Option<GroupMemory>,
        numbers: &mut Numbers,
    ) -> Self {
        if let Some(second) = &second {
            remembered.engines.extend(second.engines.clone());
        }
        let (name, hold, isolation) = (policy.name.clone(), remembered.hold.take(), remembered.isolation.clone());
        let main = numbers.domain(DomainId::main(&name), policy, remembered);
        let mut group = Group { name, main, second: None, hold, isolation, isolated: IsolatedTime::default() };
        if let Some(second) = second {
            group.add_second(second, numbers);
        }
        group
    }

    /// The second domain, with what is remembered of it; its engines come from the main one.
    pub(crate) fn add_second(&mut self, remembered: GroupMemory, numbers: &mut Numbers) {
        let memory = GroupMemory { engines: Default::default(), ..remembered };
        // Its daemon is ours, whosever the first one is.
        let policy = GroupPolicy { custody: Custody::Own, ..self.main.scene.policy.clone() };
        let mut second = numbers.domain(DomainId::isolation(&self.name), policy, memory);
        second.scene.engines.clear();
        self.second = Some(second);
    }

    /// What must survive, by domain.
    pub(crate) fn memory(&self) -> impl Iterator<Item = (DomainId, GroupMemory)> + '_ {
        let of_all = (self.hold.clone(), self.isolation.clone());
        self.domains().filter(|domain| domain.scene.id.slot != Slot::Main || !domain.is_forgotten()).map(
            move |domain| {
                let memory = domain.memory();
                let memory = match domain.scene.id.slot {
                    Slot::Main => GroupMemory { hold: of_all.0.clone(), isolation: of_all.1.clone(), ..memory },
                    Slot::Isolation => memory,
                };
                (domain.scene.id.clone(), memory)
            },
        )
    }

    /// The configuration has it again. One whose main domain was gone for good begins anew.
    pub(crate) fn come_back(&mut self, policy: &GroupPolicy, numbers: &mut Numbers) {
        if self.main.is_forgotten() {
            self.main = numbers.domain(DomainId::main(&self.name), policy.clone(), GroupMemory::default());
            (self.hold, self.isolation) = (None, Isolation::default());
        }
    }

    /// All of its domains, the main one first.
    pub(crate) fn domains(&self) -> impl Iterator<Item = &Domain> {
        std::iter::once(&self.main).chain(&self.second)
    }

    /// The same, to be changed.
    pub(crate) fn domains_mut(&mut self) -> impl Iterator<Item = &mut Domain> {
        std::iter::once(&mut self.main).chain(&mut self.second)
    }

    /// The slots of all of its domains, the main one first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        let second = self.second.as_ref().map(|_| Slot::Isolation);
        std::iter::once(Slot::Main).chain(second)
    }

    /// The domain in that slot.
    pub(crate) fn domain(&self, slot: Slot) -> Option<&Domain> {
        match slot {
            Slot::Main => Some(&self.main),
            Slot::Isolation => self.second.as_ref(),
        }
    }

    /// The same, to be changed.
    pub(crate) fn domain_mut(&mut self, slot: Slot) -> Option<&mut Domain> {
        match slot {
            Slot::Main => Some(&mut self.main),
            Slot::Isolation => self.second.as_mut(),
        }
    }

    /// Where an engine is; in the main domain, if it is in none.
    pub(crate) fn slot_of(&self, engine: &EngineName) -> Slot {
        let has = |domain: &Domain| domain.scene.engine(engine).is_some();
        if self.second.as_ref().is_some_and(has) && !has(&self.main) { Slot::Isolation } else { Slot::Main }
    }

    /// Does something to a domain, if there is one in that slot.
    pub(crate) fn at(&mut self, slot: Slot, context: &mut Context<'_>, work: impl FnOnce(&mut Domain, &mut Turn<'_>)) {
        let home_starts = slot != Slot::Main && self.main.starts_an_engine();
        let alone = context.alone && self.second.is_none();
        let domain = match slot {
            Slot::Main => Some(&mut self.main),
            Slot::Isolation => self.second.as_mut(),
        };
        let Some(domain) = domain else { return };
        let mut turn = Turn {
            now: context.now,
            gpu: context.gpu,
            alone,
            home_starts,
            hold: self.hold.as_ref(),
            domain: domain.number,
            group: self.name.clone(),
            open: context.open,
            effects: context.effects,
        };
        work(domain, &mut turn);
    }

    /// Does something to a domain and sees that it is stepped in this turn.
    pub(crate) fn stir_at(
        &mut self,
        slot: Slot,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Domain, &mut Turn<'_>),
    ) {
        if let Some(domain) = self.domain_mut(slot) {
            domain.stir();
        }
        self.at(slot, context, work);
    }

    /// Goes one step on in a domain.
    pub(crate) fn step(&mut self, slot: Slot, context: &mut Context<'_>) {
        if slot == Slot::Main {
            self.end_an_expired_hold(context);
        }
        self.at(slot, context, |domain, turn| domain.step(turn));
        let own = [self.hold_until(), self.isolation_until()].into_iter().flatten().min();
        let Some(domain) = self.domain_mut(slot) else { return };
        domain.count_active_time(context.now);
        domain.stepped(own.filter(|_| slot == Slot::Main), context.now);
        // The second one starts engines only while the main one starts none.
        if let (Slot::Main, Some(second)) = (slot, &mut self.second) {
            second.stir();
        }
    }

    /// Forgets a second domain that was stopped for good. True: it is gone.
    pub(crate) fn forget_second(&mut self) -> bool {
        // Its engines go back to the main one first.
        let waits = |second: &Domain| !second.scene.engines.is_empty() && !self.main.is_forgotten();
        let goes = self.second.as_ref().is_some_and(|second| second.is_forgotten() && !waits(second));
        if goes {
            self.second = None;
        }
        goes
    }
}
