//! Incidents from the stream of events: each fault is one, from its evidence to its own end; which one led to which, how
//! many are kept, and what of them is to be written. In memory; it decides nothing about the groups themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::open_incident::OpenIncident;
use crate::model::{Event, Fault, GroupName, GroupStatus, Incident, Moment, Reason, Status, Strength, Suspicion, What};

/// The latest are kept.
const MAX_INCIDENTS: usize = 100;
/// Most incidents of one group that are open at once: faults that last and are not mended. The oldest is closed for a
/// newer one.
const MAX_OPEN: usize = 64;
/// Time without a line after which an incident in which nothing is on its way is left alone: its fault lasts, and what
/// happens now is another matter.
const QUIET: Duration = Duration::from_secs(60);

/// Those that go on and those that are over.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    /// Oldest first.
    open: Vec<OpenIncident>,
    /// Oldest first.
    closed: VecDeque<Arc<Incident>>,
    /// Number of the latest closed incidents that are not written yet.
    unwritten: usize,
}

impl Incidents {
    /// Takes up one event. `boot` is the boot's wall time in seconds since 1970; `status` says which groups are
    /// on a GPU.
    pub(super) fn record(&mut self, event: &Event, status: &Status, boot: f64) {
        match (&event.what, &event.group) {
            // Looks go on all the time, and say nothing here that their sources do not.
            (What::Command { .. }, _) => {}
            (What::Xid { gpu: Some(gpu), .. } | What::DriverWants { gpu, .. }, _) => {
                let there = status.groups.iter().filter(|group| group.gpus.contains(gpu));
                there.for_each(|group| self.add(event, &group.name, Some(group), boot));
            }
            (_, Some(group)) => self.add(event, group, status.group(group.as_str()), boot),
            (_, None) => {}
        }
    }

    /// Closes those of groups that are no longer there.
    pub(super) fn keep_groups_of(&mut self, status: &Status) {
        let (kept, gone) =
            std::mem::take(&mut self.open).into_iter().partition(|open| status.group(open.group().as_str()).is_some());
        self.open = kept;
        for open in gone {
            let at = status.at;
            self.keep(open.closed("removed", at));
        }
    }

    /// Every one that is kept.
    pub(super) fn newest_first(&self) -> Vec<Arc<Incident>> {
        let open = self.open.iter().map(|open| Arc::new(open.so_far()));
        let mut all: Vec<Arc<Incident>> = self.closed.iter().cloned().chain(open).collect();
        all.sort_by(|one, other| other.decided_at.total_cmp(&one.decided_at).then_with(|| other.id.cmp(&one.id)));
        all.truncate(MAX_INCIDENTS);
        all
    }

    /// Takes in those of earlier runs, newest first. What was not over then is closed where it is last heard of;
    /// given back are those that this changed.
    pub(super) fn remember(&mut self, earlier: Vec<Incident>) -> Vec<Arc<Incident>> {
        let mut changed = Vec::new();
        let room = MAX_INCIDENTS.saturating_sub(self.closed.len());
        for mut incident in earlier.into_iter().take(room) {
            let was_open = incident.ended_at.is_none();
            if was_open {
                let last = incident.lines.last().map_or(incident.decided_at, |line| line.at);
                (incident.ended_at, incident.result) = (Some(last), Some("watchdog_ended".to_owned()));
            }
            let incident = Arc::new(incident);
            changed.extend(was_open.then(|| Arc::clone(&incident)));
            self.closed.push_front(incident);
        }
        changed
    }

    /// What is to be written: one that began or ended at once, what else happens in one about once a second.
    pub(super) fn take_unwritten(&mut self, now: Moment) -> Vec<Arc<Incident>> {
        let unwritten = std::mem::take(&mut self.unwritten).min(self.closed.len());
        let closed = self.closed.range(self.closed.len() - unwritten..).cloned();
        closed.chain(self.open.iter_mut().filter_map(|open| open.take_unwritten(now).map(Arc::new))).collect()
    }

    /// Takes an event of a group to the incident that it is about, and to those that go on meanwhile; then closes what
    /// is over by it. `known`: the group as it was before.
    fn add(&mut self, event: &Event, group: &GroupName, known: Option<&GroupStatus>, boot: f64) {
        let about = self.index_of(event, group);
        for (index, open) in self.open.iter_mut().enumerate().filter(|(_, open)| open.group() == group) {
            if about == Some(index) || open.sees(event, QUIET) {
                open.add(event, known);
            }
        }
        let open = about.map(|index| &mut self.open[index]);
        match (&event.what, open) {
            (What::FaultBegan { .. }, _) => self.begin(event, group, boot),
            (What::FaultEnded { .. }, Some(open)) => open.fault_ended(),
            (What::RestartBegan { .. }, Some(open)) => open.restart_began(),
            (What::RestartEnded { result, .. }, Some(open)) => open.restart_ended(*result),
            (What::Suspected { suspicions, verdict, evidence, .. }, Some(open)) => {
                open.weighed(suspicions, verdict, evidence);
                self.link_to_the_convicted(about, suspicions);
            }
            _ => {}
        }
        let stopped = matches!(event.what, What::Stopped).then_some("stopped");
        self.close(event.at, |open| stopped.filter(|_| open.group() == group).or_else(|| open.result()));
    }

    fn close(&mut self, at: Moment, result: impl Fn(&OpenIncident) -> Option<&'static str>) {
        for open in std::mem::take(&mut self.open) {
            match result(&open) {
                Some(result) => self.keep(open.closed(result, at)),
                None => self.open.push(open),
            }
        }
    }

    /// Which open incident the event is about: that of its fault, of the fault that is the reason for a restart, or of
    /// the restart that ends.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other events are about no one incident")]
    fn index_of(&self, event: &Event, group: &GroupName) -> Option<usize> {
        let engine = &event.engine;
        let latest = |wanted: &dyn Fn(&OpenIncident) -> bool| {
            self.open.iter().rposition(|open| open.group() == group && wanted(open))
        };
        match &event.what {
            What::FaultEnded { fault, .. } => {
                self.open.iter().position(|open| open.group() == group && open.is_of(engine, *fault))
            }
            // One that goes further than its fault asked for is about what it began with.
            What::RestartBegan { reason: Reason::Fault(fault), .. } => latest(&|open| open.is_of(engine, *fault))
                .or_else(|| latest(&|open| open.has_engine(engine) && !open.only_lasts())),
            What::RestartEnded { .. } => latest(&|open| open.has_engine(engine) && open.is_being_mended()),
            What::Suspected { .. } => latest(&|open| open.has_engine(&None) && !open.only_lasts()),
            _ => None,
        }
    }

    /// Which open incident led to a fault that begins: that of the whole group took an engine down, that of the same
    /// engine went further, or the restart of the whole group met another fault.
    fn cause_of(&self, event: &Event, fault: Fault, group: &GroupName) -> Option<String> {
        let latest = |wanted: &dyn Fn(&OpenIncident) -> bool| {
            self.open.iter().rfind(|open| open.group() == group && wanted(open)).map(|open| open.id().to_owned())
        };
        let goes_on = |open: &OpenIncident| !open.is_quiet(QUIET, event.at);
        let of_the_group = |open: &OpenIncident| open.has_engine(&None) && !open.only_lasts() && goes_on(open);
        let of_the_engine = |open: &OpenIncident| open.has_engine(&event.engine) && goes_on(open);
        match (&event.engine, fault) {
            (None, _) => latest(&|open| of_the_group(open) && open.is_being_mended() && !open.is_about(fault)),
            (Some(_), Fault::CrashLoop) => latest(&of_the_engine),
            (Some(_), _) => latest(&of_the_group).or_else(|| latest(&of_the_engine)),
        }
    }

    /// The end of an engine that is convicted led to the fault of the group, where that engine had an incident.
    fn link_to_the_convicted(&mut self, about: Option<usize>, suspicions: &[Suspicion]) {
        let convicted = suspicions.iter().find(|suspicion| suspicion.strength == Strength::Convicted);
        let (Some(about), Some(convicted)) = (about, convicted) else { return };
        let engine = Some(convicted.engine.clone());
        let group = self.open[about].group().clone();
        let led = |open: &&OpenIncident| *open.group() == group && open.has_engine(&engine) && !open.only_lasts();
        if let Some(id) = self.open.iter().rfind(led).map(|open| open.id().to_owned()) {
            self.open[about].was_caused_by(&id);
        }
    }

    fn begin(&mut self, event: &Event, group: &GroupName, boot: f64) {
        let What::FaultBegan { fault, .. } = event.what else { return };
        let of_group = |open: &&OpenIncident| open.group() == group;
        if self.open.iter().filter(of_group).count() >= MAX_OPEN
            && let Some(oldest) = self.open.iter().position(|open| open.group() == group)
        {
            let open = self.open.remove(oldest);
            self.keep(open.closed("lasts", event.at));
        }
        let cause = self.cause_of(event, fault, group);
        if let Some(mut open) = OpenIncident::begin(event, group, boot, cause) {
            // Its name is that of a file, too: no two have the same.
            open.name_apart_from(|id| self.has(id));
            self.open.push(open);
        }
    }

    fn has(&self, id: &str) -> bool {
        self.open.iter().any(|open| open.id() == id) || self.closed.iter().any(|closed| closed.id == id)
    }

    fn keep(&mut self, incident: Incident) {
        self.closed.push_back(Arc::new(incident));
        self.unwritten += 1;
        if self.closed.len() > MAX_INCIDENTS {
            self.closed.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "incidents_tests.rs"]
mod tests;
