//! The core itself: one input in, one decision out. It keeps the groups, the GPUs and the cadences together.

mod answers;
mod driver;
mod gpus;
mod groups;
mod looking;
pub(crate) mod schedule;
mod sharing;
pub(crate) mod sources;
pub(crate) mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::effects::Effects;
use super::facts::GpuFacts;
use super::facts::engine::Engine;
use super::group::{Context, Group, Numbers, no_such_group, plan_for_all};
use super::may::Others;
use super::open_actions::{OpenActions, Purpose};
use super::remembered::Memory;
use super::turn::Turn;
use super::{Decision, Input, Policy};
use crate::decide::domain::operator;
use crate::decide::domain::state::Domain;
use crate::decide::watchdog::schedule::Schedule;
use crate::decide::watchdog::sources::Logs;
use crate::model::{
    Action, ActionId, Blindness, DomainId, GpuIdentity, GpuUuid, GroupName, Look, Moment, Observation, Outcome, Owner,
    Plan, Request, Slot, Source, SourceScope, Status, What, XidVia,
};
use driver::DriverUse;

/// Upper bound for keeping the core's memory.
const SAVE_BOUND: Duration = Duration::from_secs(2);
/// The same Xid of the same GPU from the kernel log and from NVML, so close together, is one.
const SAME_XID: Duration = Duration::from_secs(1);

/// Most rounds of one turn in which engines change domains: out, over, and up.
const SIDES_BOUND: usize = 4;

/// The watchdog state machine. See the module's head for what it never does.
#[derive(Clone, Debug)]
pub struct Watchdog {
    gpus: BTreeMap<GpuUuid, GpuFacts>,
    groups: Vec<Group>,
    numbers: Numbers,
    /// An operator ends it all, and the watchdog with it.
    ending: bool,
    /// GPUs that more than one group uses.
    shared: BTreeSet<GpuUuid>,
    looks: Schedule,
    /// Whether the driver is used.
    driver: DriverUse,
    open: OpenActions,
    now: Moment,
    logs: Logs,
    xids: BTreeMap<(Option<GpuUuid>, u32), (Moment, XidVia)>,
}

impl Watchdog {
    /// A watchdog that has seen nothing yet.
    pub fn new(policy: Policy, mut memory: Memory) -> Self {
        let facts = |identity: GpuIdentity| (identity.uuid.clone(), GpuFacts::new(identity));
        let mut watchdog = Watchdog {
            shared: BTreeSet::new(),
            gpus: policy.gpus.into_iter().map(facts).collect(),
            groups: Vec::new(),
            numbers: Numbers::new(policy.seed),
            ending: false,
            looks: Schedule::default(),
            driver: DriverUse::default(),
            open: OpenActions::default(),
            now: Moment::ZERO,
            logs: Logs::default(),
            xids: BTreeMap::new(),
        };
        for group in policy.groups {
            let remembered = memory.groups.remove(&DomainId::main(&group.name)).unwrap_or_default();
            let apart = memory.groups.remove(&DomainId::isolation(&group.name));
            watchdog.add(group, remembered, apart);
        }
        watchdog.shared = groups::shared(&watchdog.groups);
        watchdog
    }

    /// Takes one input and says what to do and what to tell.
    pub fn handle(&mut self, input: Input, now: Moment) -> Decision {
        self.now = now.max(self.now);
        let mut effects = Effects::new(self.now);
        match input {
            Input::Observed(observation) => self.observe(observation, &mut effects),
            Input::Finished(id, outcome) => self.finish(id, outcome, &mut effects),
            Input::Asked(request) => self.asked(&request, &mut effects),
            Input::PolicyChanged(change) => self.policy_changed(*change, &mut effects),
            Input::Woke => {}
        }
        while let Some(id) = self.open.overdue(self.now) {
            self.finish(id, Outcome::TimedOut, &mut effects);
        }
        self.wait_for_drivers();
        self.step(&mut effects);
        if !self.ending && self.has_done_its_work() {
            self.end_with_its_work(&mut effects);
            self.step(&mut effects);
        }
        self.forget_groups(&mut effects);
        self.let_go_of_driver(&mut effects);
        self.order_looks(&mut effects);
        if effects.saves() {
            self.order_save(&mut effects);
        }
        effects.decision()
    }

    /// Every domain that this turn concerns goes as far as it can.
    fn step(&mut self, effects: &mut Effects) {
        for _ in 0..SIDES_BOUND {
            self.step_groups(effects);
            if !self.arrange(effects) {
                break;
            }
        }
    }

    /// When it wants to be woken if nothing else happens. Later than the last input, or `None`.
    pub fn next_deadline(&self) -> Option<Moment> {
        let groups = self.domains().filter_map(|domain| domain.pulse.due());
        let others = [self.looks.next_deadline(), self.open.next_deadline()];
        let gpus = self.gpus.values().filter_map(|gpu| gpu.health.deadline());
        groups.chain(gpus).chain(others.into_iter().flatten()).filter(|at| *at > self.now).min()
    }

    /// What it knows, for gauges, JSON and people.
    pub fn status(&self, now: Moment) -> Status {
        status::status(&self.groups, &self.gpus, &self.looks, &self.logs, self.driver, now)
    }

    /// What an order would come to, as things stand; or why it can't be done. Changes nothing.
    pub fn plan(&self, request: &Request, now: Moment) -> Result<Plan, String> {
        if self.ending && !matches!(request, Request::Stop | Request::StopNow) {
            return Err("mpswarden is being stopped and takes no order any more".to_owned());
        }
        let Some(name) = operator::group_of(request) else {
            return plan_for_all(&self.groups, request, now);
        };
        let group = self.place(name).map(|place| &self.groups[place]).filter(|group| !group.main.is_forgotten());
        group.ok_or_else(|| no_such_group(name, &self.groups))?.plan(request, now)
    }

    /// What must survive a crash.
    pub fn memory(&self) -> Memory {
        Memory { groups: self.groups.iter().flat_map(Group::memory).collect() }
    }

    /// Whether it was asked to end and every group has been stopped. Groups that an operator stopped one by one don't
    /// end it.
    pub fn stopped(&self) -> bool {
        self.ending && self.domains().all(Domain::is_stopped)
    }

    fn observe(&mut self, observation: Observation, effects: &mut Effects) {
        match observation {
            Observation::Gpu { gpu, reading } => {
                let action = reading.recovery_action;
                self.gpu_read(&gpu, reading);
                self.tell_what_the_driver_wants(&gpu, action, effects);
            }
            Observation::GpuLost { gpu, why } => {
                self.gpu_health(&gpu, |health, now| health.lost(format!("NVML says: {why}"), now));
            }
            Observation::GpuResetNeeded { gpu, why } => {
                self.gpu_health(&gpu, |health, now| health.reset_needed(format!("NVML says: {why}"), now));
            }
            Observation::RecoveryAction { gpu, action } => {
                self.gpu_health(&gpu, |health, now| health.announced(action, now));
                self.tell_what_the_driver_wants(&gpu, Some(action), effects);
            }
            Observation::Xid { gpu, xid, pid, via } => {
                if via == XidVia::Kmsg {
                    self.log_heard(&SourceScope::whole(Source::Kmsg), effects);
                }
                self.xid(gpu, xid, pid, via, effects);
            }
            Observation::OomKill { pid, .. } => self.oom_killed(pid, observation, effects),
            Observation::Blind { scope, state, why } if matches!(scope.source, Source::Kmsg | Source::Log) => {
                self.log_lost(scope, Blindness { state, why }, effects);
            }
            Observation::Heard { scope } => self.log_heard(&scope, effects),
            Observation::Overlap { group, window } => self.window_seen(&group, &window),
            Observation::Probe { engine, state, why } => self.probe_seen(&engine, state, why),
            observation @ (Observation::Log { .. }
            | Observation::ServerSaid { .. }
            | Observation::Pipe { .. }
            | Observation::ControlReply { .. }
            | Observation::Server { .. }
            | Observation::Clients { .. }
            | Observation::Ended { .. }
            | Observation::Removed { .. }
            | Observation::Tree { .. }
            | Observation::Claimed { .. }
            | Observation::CommandLines { .. }
            | Observation::Health { .. }
            | Observation::Usage { .. }
            | Observation::Load { .. }
            | Observation::Said { .. }
            | Observation::Traffic { .. }
            | Observation::Token { .. }
            | Observation::MemoryEvents { .. }
            | Observation::HostMemory { .. }
            | Observation::Environment { .. }
            | Observation::Blind { .. }) => {
                self.of_a_domain(observation, effects);
            }
        }
    }

    /// The kernel log names a process that its OOM killer took: its pid says whose it was.
    fn oom_killed(&mut self, pid: u32, observation: Observation, effects: &mut Effects) {
        self.log_heard(&SourceScope::whole(Source::Kmsg), effects);
        let owner = self.domains().find(|domain| domain.scene.owner_of(pid).is_some());
        let Some(DomainId { group, slot }) = owner.map(|domain| domain.scene.id.clone()) else { return };
        let Some(index) = self.place(&group) else { return };
        self.at(index, effects, |group, context| {
            group.stir_at(slot, context, |domain, turn| domain.observe(observation, turn));
        });
    }

    /// A fact about one domain, which it is stepped for if that says something new.
    fn of_a_domain(&mut self, observation: Observation, effects: &mut Effects) {
        let Some(DomainId { group, slot }) = domain_of(&observation) else { return };
        let Some(index) = self.place(&group) else { return };
        let loaded = matches!(observation, Observation::Load { .. });
        let Some(domain) = self.groups[index].domain_mut(slot) else { return };
        if domain.is_news(&observation, self.now) {
            domain.stir();
        }
        self.at_domain((index, slot), effects, |domain, turn| domain.observe(observation, turn));
        if loaded {
            self.weigh_sharing(index, effects);
        }
    }

    /// An Xid makes the watchdog ask the servers on that GPU at once; what it says about the GPU is kept.
    fn xid(&mut self, gpu: Option<GpuUuid>, xid: u32, pid: Option<u32>, via: XidVia, effects: &mut Effects) {
        let seen = self.xids.insert((gpu.clone(), xid), (self.now, via));
        let twin = seen.is_some_and(|(at, by)| by != via && self.now.since(at) <= SAME_XID);
        let now = self.now;
        let concerned = |domain: &&mut Domain| gpu.as_ref().is_none_or(|gpu| domain.scene.policy.gpus.contains(gpu));
        for domain in self.domains_mut().filter(concerned) {
            domain.asked.server = Some(now);
            if let Some(gpu) = &gpu {
                domain.scene.around.spread.xid(gpu, now);
            }
            if !twin {
                domain.suspects.xid(xid, pid, now);
            }
            domain.stir();
        }
        if !twin {
            if let Some(gpu) = &gpu {
                self.gpu_health(gpu, |health, now| health.xid(xid, now));
            }
            effects.emit(None, None, What::Xid { gpu, xid, pid });
        }
    }

    fn finish(&mut self, id: ActionId, outcome: Outcome, effects: &mut Effects) {
        let Some(open) = self.open.end(id) else { return };
        if let Purpose::Look(look) = &open.purpose {
            self.look_ended(look, &outcome, effects);
        }
        if open.purpose == Purpose::Driver {
            return self.driver_was_let_go(&outcome, effects);
        }
        let whose = self.domains().find(|domain| Some(domain.number) == open.domain);
        let Some(DomainId { group, slot }) = whose.map(|domain| domain.scene.id.clone()) else { return };
        let Some(index) = self.place(&group) else { return };
        self.at(index, effects, |group, context| {
            group.stir_at(slot, context, |domain, turn| domain.finished(id, open.purpose, outcome, turn));
        });
    }

    fn asked(&mut self, request: &Request, effects: &mut Effects) {
        let Ok(plan) = self.plan(request, self.now) else { return };
        let engine = operator::engine_of(request).map(|key| key.engine.clone());
        let what = What::Ordered { order: operator::verb_of(request), detail: plan.steps.join("; ") };
        effects.emit(operator::group_of(request).cloned(), engine, what);
        self.ending |= matches!(request, Request::Stop | Request::StopNow);
        // Through these two, so that every group that the order touches is stepped in this same turn.
        match operator::group_of(request) {
            Some(name) => {
                let Some(index) = self.place(name) else { return };
                self.at(index, effects, |group, context| group.take_up(request, context));
            }
            None => self.each_group(effects, |group, context| group.take_up_one_of_all(request, context)),
        }
    }

    /// Whether there were engines, and the work of each is done.
    fn has_done_its_work(&self) -> bool {
        let mut engines = self.domains().flat_map(|domain| &domain.scene.engines).peekable();
        engines.peek().is_some() && engines.all(Engine::is_done)
    }

    /// The last engine ended in order: so does the watchdog.
    fn end_with_its_work(&mut self, effects: &mut Effects) {
        self.ending = true;
        effects.emit(None, None, What::WorkDone);
        self.each_group(effects, |group, context| group.take_up_one_of_all(&Request::Stop, context));
    }

    /// Every group that this turn concerns goes as far as it can, and says what it wants to see then.
    fn step_groups(&mut self, effects: &mut Effects) {
        for id in self.looks.domains_due(self.now) {
            if let Some(domain) =
                self.groups.iter_mut().flat_map(Group::domains_mut).find(|domain| domain.scene.id == *id)
            {
                domain.stir_unless_calm();
            }
        }
        for index in 0..self.groups.len() {
            for slot in self.groups[index].slots() {
                if self.groups[index].domain(slot).is_some_and(|domain| domain.is_stirred(self.now)) {
                    self.at(index, effects, |group, context| group.step(slot, context));
                    self.want_looks(index);
                    self.weigh_sharing(index, effects);
                }
            }
        }
    }

    /// Brings the domains of every group a step nearer to what they are to be. True: something changed, and the domains
    /// that it changed are to be stepped again.
    fn arrange(&mut self, effects: &mut Effects) -> bool {
        let mut changed = false;
        for index in 0..self.groups.len() {
            if !self.groups[index].is_arranged() {
                self.at(index, effects, |group, context| changed |= group.arrange(context));
            }
        }
        changed
    }

    /// Collects the looks that all domains of a group want, at once: what one wants to see depends on the others.
    fn want_looks(&mut self, index: usize) {
        let group = &self.groups[index];
        let changes = group.domains().any(Domain::is_changing);
        let others = if changes { Others::Underway } else { Others::AtRest };
        for domain in group.domains() {
            let Some(gpu) = gpus::of(&self.gpus, &domain.scene.policy.gpus) else { continue };
            let mut wanted = domain.wanted(&gpu.health, others, self.now);
            if self.driver.rests() {
                wanted.retain(|(look, _)| !matches!(look, Look::Gpu(_)));
            }
            self.looks.want(&domain.scene.id, wanted);
        }
    }

    /// Saves before the actions that the saved belongs to.
    fn order_save(&mut self, effects: &mut Effects) {
        let Ok(memory) = serde_json::to_string(&self.memory()) else { return };
        let deadline = self.now.after(SAVE_BOUND);
        let id = self.open.add(None, Purpose::Save, deadline);
        effects.act_first(id, deadline, Action::Save { memory });
    }

    fn each_group(&mut self, effects: &mut Effects, mut work: impl FnMut(&mut Group, &mut Context<'_>)) {
        for index in 0..self.groups.len() {
            self.at(index, effects, &mut work);
        }
    }

    /// Where a group is among the groups.
    fn place(&self, name: &GroupName) -> Option<usize> {
        self.groups.iter().position(|group| group.name == *name)
    }

    fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.groups.iter().flat_map(Group::domains)
    }

    fn domains_mut(&mut self) -> impl Iterator<Item = &mut Domain> {
        self.groups.iter_mut().flat_map(Group::domains_mut)
    }

    /// Does something to a group.
    fn at(&mut self, index: usize, effects: &mut Effects, work: impl FnOnce(&mut Group, &mut Context<'_>)) {
        let Some(group) = self.groups.get_mut(index) else { return };
        let Some(gpu) = gpus::of(&self.gpus, &group.main.scene.policy.gpus) else { return };
        let mut context = Context {
            now: self.now,
            gpu: &gpu,
            alone: !group.main.scene.policy.gpus.iter().any(|gpu| self.shared.contains(gpu)),
            numbers: &mut self.numbers,
            open: &mut self.open,
            effects,
        };
        work(group, &mut context);
    }

    /// Does something to a domain.
    fn at_domain(
        &mut self,
        (index, slot): (usize, Slot),
        effects: &mut Effects,
        work: impl FnOnce(&mut Domain, &mut Turn<'_>),
    ) {
        self.at(index, effects, |group, context| group.at(slot, context, work));
    }
}

/// The domain that a fact is about.
fn domain_of(observation: &Observation) -> Option<DomainId> {
    match observation {
        Observation::Log { domain, .. }
        | Observation::ServerSaid { domain, .. }
        | Observation::Pipe { domain, .. }
        | Observation::ControlReply { domain, .. }
        | Observation::Server { domain, .. }
        | Observation::Clients { domain, .. }
        | Observation::CommandLines { domain, .. }
        | Observation::HostMemory { domain, .. } => Some(domain.clone()),
        Observation::Tree { engine, .. }
        | Observation::Claimed { engine, .. }
        | Observation::Usage { engine, .. }
        | Observation::MemoryEvents { engine, .. }
        | Observation::Environment { engine, .. }
        | Observation::Health { engine, .. }
        | Observation::Load { engine, .. }
        | Observation::Probe { engine, .. }
        | Observation::Traffic { engine, .. }
        | Observation::Token { engine, .. }
        | Observation::Said { engine, .. } => Some(engine.domain.clone()),
        Observation::Removed { instance, .. } | Observation::Ended { owner: Owner::Engine(instance), .. } => {
            Some(instance.domain())
        }
        Observation::Ended { owner: Owner::Control(domain) | Owner::Server(domain), .. } => Some(domain.clone()),
        Observation::Gpu { .. } | Observation::RecoveryAction { .. } => None,
        Observation::GpuLost { .. } | Observation::GpuResetNeeded { .. } => None,
        Observation::Xid { .. } | Observation::Blind { .. } | Observation::Heard { .. } => None,
        // Its pid says whose it was; a window is of a whole group.
        Observation::OomKill { .. } | Observation::Overlap { .. } => None,
    }
}
