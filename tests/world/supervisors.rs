//! Those who run engines and control daemons of others: they start what is found, and do what they are asked.

use std::time::Duration;

use mpswarden_core::model::{Custody, Exit, HeldReason, InstanceId, Outcome, Owner, Powers};

use super::{ActionId, Happening, TEARDOWN, World, ms};

/// Time after which a supervisor starts an engine again whose process ended: the default of `RestartSec`, and some.
const RESTARTS_AFTER: Duration = Duration::from_millis(200);
/// Time that a supervisor takes to start what it is asked for.
const STARTS_WITHIN: Duration = Duration::from_millis(20);

/// What a supervisor makes of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supervises {
    /// It starts it when it is to.
    #[default]
    Starts,
    /// It waits before it starts it: a back-off after a crash loop.
    Waits,
    /// It can't start it.
    Fails,
}

impl World {
    /// Whoever runs a group's control daemon starts it.
    pub(super) fn others_start_control(&mut self, group: usize) {
        if self.groups[group].of_others && self.groups[group].control.is_none() {
            let owner = Owner::Control(self.groups[group].domain.clone());
            self.groups[group].control = Some(self.spawn(group, owner).pid);
            self.groups[group].wedged = false;
        }
    }

    /// The same, and its engines that others run.
    pub(super) fn others_start_all(&mut self, group: usize) {
        self.others_start_control(group);
        for index in 0..self.groups[group].engines.len() {
            if self.groups[group].engines[index].of_others && !self.groups[group].engines[index].stopped {
                self.others_start_engine(group, index);
            }
        }
    }

    /// Whoever runs an engine starts it.
    pub(super) fn others_start_engine(&mut self, group: usize, index: usize) {
        let owner = Owner::Engine(self.key(group, index).instance(0));
        let pid = self.spawn(group, owner).pid;
        let engine = &mut self.groups[group].engines[index];
        (engine.pid, engine.ready, engine.client, engine.terminated) = (Some(pid), false, false, false);
        engine.stopped = false;
        self.later(self.start_takes * 4 / 5, Happening::Connects(pid));
        self.later(self.start_takes, Happening::Ready(pid));
    }

    /// Whoever runs an engine takes it away: it is asked to end, and its cgroup is removed.
    pub(super) fn others_take_away(&mut self, group: usize, index: usize) {
        let Some(pid) = self.groups[group].engines[index].pid else { return };
        if let Some(process) = self.processes.get_mut(&pid) {
            process.taken_away = true;
        }
        self.groups[group].engines[index].stopped = true;
        self.signal(pid, Exit::Status(0), ms(100));
    }

    /// An engine of others has ended: a supervisor that starts it by itself does so.
    pub(super) fn supervisor_saw_the_end(&mut self, group: usize, index: usize) {
        let engine = &self.groups[group].engines[index];
        let restarts = engine.custody == Custody::Others(Powers::Signal) && engine.supervises == Supervises::Starts;
        if restarts && !engine.stopped {
            self.later(RESTARTS_AFTER, Happening::SupervisorStarts(group, index));
        }
    }

    /// It starts it, unless that has happened.
    pub(super) fn supervisor_starts(&mut self, group: usize, index: usize) {
        if self.groups[group].engines[index].pid.is_none() {
            self.others_start_engine(group, index);
        }
    }

    /// What a supervisor makes of an engine from now on.
    pub(super) fn supervise(&mut self, group: usize, index: usize, supervises: Supervises) {
        self.groups[group].engines[index].supervises = supervises;
        if self.groups[group].engines[index].pid.is_none() {
            self.supervisor_saw_the_end(group, index);
        }
    }

    /// Looks for an engine that others run; from then on its process is known as this incarnation.
    pub(super) fn find_engine_of_others(&mut self, id: ActionId, instance: &InstanceId) {
        let outcome = self.found_as(instance).unwrap_or_else(|| self.absent_outcome(instance));
        self.later(ms(1), Happening::Finish(id, outcome));
    }

    /// A supervisor is asked for an engine. One that runs already is found.
    pub(super) fn ask_for_engine(&mut self, id: ActionId, instance: &InstanceId) {
        let (group, index) = self.find_engine(&instance.member());
        if !self.groups[group].engines[index].custody.may_start() {
            self.violate(&format!("{} was started, which others run", instance.member()));
        }
        let engine = &self.groups[group].engines[index];
        let outcome = match (engine.pid, engine.supervises) {
            (None, Supervises::Starts) => {
                self.check_start(group, index, &instance.member());
                self.others_start_engine(group, index);
                self.found_as(instance)
            }
            (None, _) => None,
            (Some(_), _) => self.found_as(instance),
        };
        let outcome = outcome.unwrap_or_else(|| self.absent_outcome(instance));
        self.later(STARTS_WITHIN, Happening::Finish(id, outcome));
    }

    fn found_as(&mut self, instance: &InstanceId) -> Option<Outcome> {
        let (group, index) = self.find_engine(&instance.member());
        let pid = self.groups[group].engines[index].pid?;
        let process = self.processes.get_mut(&pid)?;
        process.owner = Owner::Engine(instance.clone());
        Some(Outcome::Started { process: process.id })
    }

    fn absent_outcome(&self, instance: &InstanceId) -> Outcome {
        let (group, index) = self.find_engine(&instance.member());
        match self.groups[group].engines[index].supervises {
            Supervises::Waits => {
                Outcome::Waits { reason: HeldReason::EnginesNotOurs, why: "its unit is in auto-restart".to_owned() }
            }
            Supervises::Starts | Supervises::Fails => Outcome::Failed { why: "no process of it is there".to_owned() },
        }
    }

    /// Those who run an engine are asked to end it, or it is signalled where they let it be.
    pub(super) fn end_engine_of_others(&mut self, group: usize, index: usize) {
        let engine = &mut self.groups[group].engines[index];
        engine.stopped = engine.custody == Custody::Others(Powers::Supervisor);
        if let Some(pid) = engine.pid {
            self.signal(pid, Exit::Signal(9), TEARDOWN);
        }
    }
}
