//! Incidents from the stream of events: which event belongs to which, when one begins and is over, how many are
//! kept, and what of them is to be written. In memory; it decides nothing about the groups themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::open_incident::OpenIncident;
use crate::model::{Event, GroupName, Incident, Moment, Status, What};

/// The latest are kept.
const MAX_INCIDENTS: usize = 100;
/// Most incidents of one group that are open at once: faults that last and are not mended. The oldest is closed for a
/// newer one.
const MAX_OPEN: usize = 8;
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
                let there = status.groups.iter().filter(|group| group.gpu == *gpu);
                there.for_each(|group| self.add(event, &group.name, boot));
            }
            (_, Some(group)) => self.add(event, group, boot),
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

    fn add(&mut self, event: &Event, group: &GroupName, boot: f64) {
        let Some(index) = self.index_of(event, group) else {
            if let What::FaultBegan { .. } = event.what {
                self.begin(event, group, boot);
            }
            return;
        };
        self.open[index].add(event);
        if let Some(result) = self.open[index].result() {
            let open = self.open.remove(index);
            self.keep(open.closed(result, event.at));
        }
    }

    /// Which open incident the event belongs to: the one that waits for it, else the latest of the group unless it
    /// has gone quiet. One that only lasts is quiet for all that begins something else.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other events belong to what is still going on")]
    fn index_of(&self, event: &Event, group: &GroupName) -> Option<usize> {
        let latest = |wanted: &dyn Fn(&OpenIncident) -> bool| {
            self.open.iter().rposition(|open| open.group() == group && wanted(open))
        };
        let takes = |open: &OpenIncident| match &event.what {
            What::Stopped => true,
            What::FaultBegan { fault, .. } => !open.is_quiet(QUIET, event.at) && open.is_of(*fault),
            What::RestartBegan { .. } => false,
            _ => !open.is_quiet(QUIET, event.at),
        };
        latest(&|open| open.awaits(event))
            .or_else(|| latest(&|open| !open.only_lasts()).filter(|at| self.goes_on(*at, event)))
            .or_else(|| latest(&|_| true).filter(|at| takes(&self.open[*at])))
    }

    fn goes_on(&self, index: usize, event: &Event) -> bool {
        !self.open[index].is_quiet(QUIET, event.at) || matches!(event.what, What::Stopped)
    }

    fn begin(&mut self, event: &Event, group: &GroupName, boot: f64) {
        let of_group = |open: &&OpenIncident| open.group() == group;
        if self.open.iter().filter(of_group).count() >= MAX_OPEN
            && let Some(oldest) = self.open.iter().position(|open| open.group() == group)
        {
            let open = self.open.remove(oldest);
            self.keep(open.closed("lasts", event.at));
        }
        if let Some(mut open) = OpenIncident::begin(event, group, boot) {
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
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::testing::{group, status};
    use super::*;
    use crate::model::{Exit, ExitCause, Fault, RecoveryResult, RecoveryStep, Refusal, SuppressedAction, Tier};

    /// Wall time of the boot: 2026-11-22 23:15:00 UTC.
    const BOOT: f64 = 1_795_389_300.0;

    fn at(seconds: f64) -> Moment {
        Moment::from_nanos((seconds * 1e9) as u64)
    }

    fn event(seconds: f64, engine: &str, what: What) -> Event {
        let engine = (!engine.is_empty()).then(|| engine.into());
        Event { at: at(seconds), group: Some("small-llms".into()), engine, what }
    }

    fn began(seconds: f64, engine: &str, fault: Fault) -> Event {
        let because = format!("evidence of {fault}");
        event(seconds, engine, What::FaultBegan { fault, evidence_at: at(seconds - 0.25), because })
    }

    fn over(seconds: f64, engine: &str, fault: Fault) -> Event {
        event(seconds, engine, What::FaultEnded { fault, lasted: Duration::from_secs(1) })
    }

    fn restart(seconds: f64, engine: &str, reason: Fault) -> Event {
        let tier = if engine.is_empty() { Tier::Clients } else { Tier::Engine };
        event(seconds, engine, What::RestartBegan { tier, reason: reason.into(), attempt: 1, budget_left: 4 })
    }

    fn ended(seconds: f64, engine: &str, result: RecoveryResult) -> Event {
        let tier = if engine.is_empty() { Tier::Clients } else { Tier::Engine };
        event(seconds, engine, What::RestartEnded { tier, result, took: Duration::from_secs(2) })
    }

    fn observed(seconds: f64) -> Event {
        let detail = "evidence".to_owned();
        event(
            seconds,
            "",
            What::Suppressed { action: SuppressedAction::RestartClients, reason: Refusal::Observe, detail },
        )
    }

    /// Newest first.
    fn after(events: &[Event]) -> Vec<Arc<Incident>> {
        let (mut incidents, status) = (Incidents::default(), status(vec![group("small-llms")]));
        events.iter().for_each(|event| incidents.record(event, &status, BOOT));
        incidents.newest_first()
    }

    fn words(incident: &Incident) -> Vec<&str> {
        incident.lines.iter().map(|line| line.word.as_str()).collect()
    }

    fn result(incident: &Incident) -> Option<&str> {
        incident.result.as_deref()
    }

    #[test]
    fn a_restart_of_the_group_is_told_from_the_evidence_to_its_end() {
        let gone = What::StepEnded { step: RecoveryStep::Gone, took: Duration::from_millis(161) };
        let exited = What::EngineExited { exit: Exit::Signal(9), cause: ExitCause::GroupRestart };
        let xid = What::Xid { gpu: Some("GPU-0".into()), xid: 31, pid: None };
        let incidents = after(&[
            event(1.0, "", What::ServerStarted { server: 11 }),
            began(2.25, "", Fault::GpuFault),
            restart(2.25, "", Fault::GpuFault),
            event(2.26, "", What::Command { result: crate::model::CommandResult::Answered }),
            Event { group: None, ..event(2.27, "", xid) },
            event(2.4, "qwen-a", exited),
            event(2.5, "", gone),
            over(2.6, "", Fault::GpuFault),
            ended(4.25, "", RecoveryResult::Serving),
            event(9.0, "qwen-a", What::EngineFailing { because: "later".to_owned() }),
        ]);
        let incident = &incidents[0];
        assert_eq!(incidents.len(), 1);
        assert_eq!(incident.id, "20261122T231502.250-small-llms-gpu_fault");
        assert_eq!((incident.fault, incident.because.as_str()), (Fault::GpuFault, "evidence of gpu_fault"));
        assert_eq!((incident.evidence_at, incident.decided_at), (BOOT + 2.0, BOOT + 2.25));
        assert_eq!((incident.ended_at, result(incident)), (Some(BOOT + 4.25), Some("serving")));
        assert_eq!(words(incident), ["gpu_fault", "restart", "xid", "exited", "step", "fault_over", "serving"]);
        assert_eq!((incident.lines[4].took, incident.lines[4].text.as_str()), (Some(0.161), "gone took 161 ms"));
        assert_eq!(incident.lines[3].engine, Some("qwen-a".into()));
    }

    #[test]
    fn a_restart_of_one_engine_is_an_incident_of_that_engine() {
        let incidents = after(&[
            began(1.0, "qwen-b", Fault::EngineDied),
            restart(1.0, "qwen-b", Fault::EngineDied),
            ended(3.0, "qwen-b", RecoveryResult::Serving),
            over(3.0, "qwen-b", Fault::EngineDied),
        ]);
        assert_eq!((incidents.len(), incidents[0].engine.clone()), (1, Some("qwen-b".into())));
        assert_eq!(result(&incidents[0]), Some("serving"));
    }

    #[test]
    fn a_fault_of_a_sibling_keeps_the_incident_open_until_that_is_mended_too() {
        let mut events = vec![
            began(1.0, "qwen-a", Fault::EngineDied),
            restart(1.0, "qwen-a", Fault::EngineDied),
            began(2.0, "qwen-b", Fault::EngineDied),
            ended(3.0, "qwen-a", RecoveryResult::Serving),
        ];
        assert_eq!(result(&after(&events)[0]), None);
        events.push(restart(4.0, "qwen-b", Fault::EngineDied));
        events.push(ended(5.0, "qwen-b", RecoveryResult::Serving));
        assert_eq!((after(&events).len(), result(&after(&events)[0])), (1, Some("serving")));
    }

    #[test]
    fn a_restart_that_another_supersedes_stays_in_its_incident() {
        let incidents = after(&[
            began(1.0, "", Fault::GpuFault),
            restart(1.0, "", Fault::GpuFault),
            over(1.2, "", Fault::GpuFault),
            began(3.0, "", Fault::GpuFault),
            ended(3.0, "", RecoveryResult::Superseded),
            restart(3.0, "", Fault::GpuFault),
            over(3.2, "", Fault::GpuFault),
            ended(9.0, "", RecoveryResult::Partly),
        ]);
        assert_eq!((incidents.len(), incidents[0].lines.len(), result(&incidents[0])), (1, 8, Some("partly")));
    }

    #[test]
    fn an_engine_that_is_given_up_ends_its_incident_as_quarantined() {
        let incidents = after(&[
            began(1.0, "qwen-b", Fault::EngineDied),
            restart(1.0, "qwen-b", Fault::EngineDied),
            ended(2.0, "qwen-b", RecoveryResult::Superseded),
            event(2.5, "qwen-b", What::EngineQuarantined { failures: 5 }),
            began(2.5, "qwen-b", Fault::CrashLoop),
            over(2.5, "qwen-b", Fault::EngineDied),
        ]);
        assert_eq!((incidents.len(), result(&incidents[0])), (1, Some("quarantined")));
    }

    #[test]
    fn a_fault_that_is_only_observed_ends_when_it_goes() {
        let mut events = vec![began(1.0, "", Fault::GpuFault), observed(1.0)];
        assert_eq!((result(&after(&events)[0]), after(&events)[0].ended_at), (None, None));
        events.push(over(2.0, "", Fault::GpuFault));
        assert_eq!(result(&after(&events)[0]), Some("observed"));
        let by_itself = [began(1.0, "", Fault::UnknownClient), over(2.0, "", Fault::UnknownClient)];
        assert_eq!(result(&after(&by_itself)[0]), Some("over"));
    }

    #[test]
    fn a_fault_that_lasts_hides_no_later_incident() {
        let mut events = vec![
            began(1.0, "", Fault::UnknownClient),
            began(900.0, "", Fault::GpuFault),
            restart(900.0, "", Fault::GpuFault),
            ended(902.0, "", RecoveryResult::Serving),
        ];
        let incidents = after(&events);
        assert_eq!((incidents.len(), incidents[0].fault, result(&incidents[0])), (2, Fault::GpuFault, Some("serving")));
        assert_eq!((incidents[1].fault, result(&incidents[1])), (Fault::UnknownClient, None));
        events.push(over(1800.0, "", Fault::UnknownClient));
        assert_eq!(after(&events)[1].ended_at, Some(BOOT + 1800.0));
    }

    #[test]
    fn a_fault_that_is_only_told_swallows_no_other_however_soon_that_comes() {
        let mut events = vec![
            began(1.0, "", Fault::ForeignProcess),
            began(2.0, "", Fault::GpuFault),
            restart(2.0, "", Fault::GpuFault),
            began(2.5, "", Fault::UidMismatch),
            over(3.0, "", Fault::GpuFault),
            ended(4.0, "", RecoveryResult::Serving),
            began(5.0, "qwen-a", Fault::EngineDied),
            restart(5.0, "qwen-a", Fault::EngineDied),
            began(5.5, "", Fault::ClientLimit),
            over(6.0, "qwen-a", Fault::EngineDied),
            ended(6.0, "qwen-a", RecoveryResult::Serving),
        ];
        let faults = |all: &[Arc<Incident>]| all.iter().map(|incident| incident.fault).collect::<Vec<_>>();
        let incidents = after(&events);
        assert_eq!(faults(&incidents), [Fault::EngineDied, Fault::GpuFault, Fault::ForeignProcess]);
        assert_eq!([0, 1, 2].map(|at| result(&incidents[at])), [Some("serving"), Some("serving"), None]);
        assert_eq!(words(&incidents[1])[2], "uid_mismatch");
        events.push(over(7.0, "", Fault::ForeignProcess));
        assert_eq!(result(&after(&events)[2]), Some("over"));
    }

    #[test]
    fn a_fault_that_was_told_ahead_is_one_incident_with_its_restart() {
        let incidents = after(&[
            began(1.0, "qwen-a", Fault::MemoryLeak),
            began(2.0, "", Fault::ForeignProcess),
            restart(600.0, "qwen-a", Fault::MemoryLeak),
            over(600.0, "qwen-a", Fault::MemoryLeak),
            ended(603.0, "qwen-a", RecoveryResult::Serving),
        ]);
        assert_eq!(
            (incidents.len(), incidents[1].fault, result(&incidents[1])),
            (2, Fault::MemoryLeak, Some("serving"))
        );
        assert_eq!(result(&incidents[0]), None);
    }

    #[test]
    fn a_held_group_is_one_incident_until_it_goes_on() {
        let reason = crate::model::HeldReason::BudgetSpent;
        let incidents = after(&[
            began(1.0, "", Fault::GpuFault),
            event(2.0, "", What::Held { reason, detail: "spent".to_owned() }),
            event(9000.0, "", What::Released { reason }),
            restart(9000.0, "", Fault::GpuFault),
            over(9000.1, "", Fault::GpuFault),
            ended(9002.0, "", RecoveryResult::Serving),
        ]);
        assert_eq!((incidents.len(), result(&incidents[0])), (1, Some("serving")));
    }

    #[test]
    fn a_group_that_stops_or_leaves_ends_its_incidents() {
        let stopped = after(&[began(1.0, "", Fault::GpuFault), observed(1.0), event(500.0, "", What::Stopped)]);
        assert_eq!(result(&stopped[0]), Some("stopped"));
        let mut incidents = Incidents::default();
        incidents.record(&began(1.0, "", Fault::GpuFault), &status(vec![group("small-llms")]), BOOT);
        incidents.keep_groups_of(&status(Vec::new()));
        assert_eq!(result(&incidents.newest_first()[0]), Some("removed"));
    }

    #[test]
    fn a_storm_keeps_the_latest_incidents_each_with_a_name_of_its_own() {
        let storm: Vec<Event> =
            (0..5000).flat_map(|_| [began(1.0, "", Fault::GpuFault), over(1.0, "", Fault::GpuFault)]).collect();
        let incidents = after(&storm);
        let names: std::collections::BTreeSet<&str> = incidents.iter().map(|incident| incident.id.as_str()).collect();
        assert_eq!((incidents.len(), names.len()), (MAX_INCIDENTS, MAX_INCIDENTS));
    }

    #[test]
    fn a_long_incident_keeps_its_first_and_its_last_lines() {
        let mut events = vec![began(1.0, "", Fault::GpuFault), restart(1.0, "", Fault::GpuFault)];
        let line = || What::EngineFailing { because: "é".repeat(10_000) };
        events.extend((0..5000).map(|_| event(1.1, "qwen-a", line())));
        events.push(ended(9.0, "", RecoveryResult::Serving));
        let incidents = after(&events);
        let incident = &incidents[0];
        assert_eq!((incident.lines.len(), incident.omitted), (200, 5003 - 200));
        assert_eq!((words(incident)[0], words(incident)[199]), ("gpu_fault", "serving"));
        assert!(incident.lines.iter().all(|line| line.text.len() <= 500));
    }

    #[test]
    fn faults_that_nobody_mends_are_bounded_too() {
        let many: Vec<Event> =
            (0..100).map(|n| began(f64::from(n) * 100.0 + 1.0, &format!("engine-{n}"), Fault::Hang)).collect();
        let incidents = after(&many);
        assert_eq!(incidents.iter().filter(|incident| incident.ended_at.is_none()).count(), MAX_OPEN);
        assert_eq!(result(&incidents[MAX_OPEN]), Some("lasts"));
    }

    /// What is written now: how many lines it has, and its result.
    fn written(incidents: &mut Incidents, now: f64) -> Vec<(usize, Option<String>)> {
        let written = incidents.take_unwritten(at(now));
        written.iter().map(|incident| (incident.lines.len(), incident.result.clone())).collect()
    }

    #[test]
    fn beginnings_and_ends_are_written_at_once_and_the_rest_once_a_second() {
        let (mut incidents, status) = (Incidents::default(), status(vec![group("small-llms")]));
        incidents.record(&began(1.0, "", Fault::GpuFault), &status, BOOT);
        assert_eq!(written(&mut incidents, 1.0), [(1, None)]);
        assert_eq!(written(&mut incidents, 9.0), []);
        incidents.record(&restart(9.0, "", Fault::GpuFault), &status, BOOT);
        assert_eq!(written(&mut incidents, 9.0), [(2, None)]);
        incidents.record(&over(9.1, "", Fault::GpuFault), &status, BOOT);
        assert_eq!(written(&mut incidents, 9.1), []);
        assert_eq!(written(&mut incidents, 10.1), [(3, None)]);
        incidents.record(&ended(10.2, "", RecoveryResult::Serving), &status, BOOT);
        assert_eq!(written(&mut incidents, 10.2), [(4, Some("serving".to_owned()))]);
        assert_eq!(written(&mut incidents, 99.0), []);
    }

    #[test]
    fn a_storm_that_nobody_writes_is_bounded_too() {
        let (mut incidents, status) = (Incidents::default(), status(vec![group("small-llms")]));
        for _ in 0..500 {
            incidents.record(&began(1.0, "", Fault::GpuFault), &status, BOOT);
            incidents.record(&over(1.0, "", Fault::GpuFault), &status, BOOT);
        }
        assert_eq!(written(&mut incidents, 1.0).len(), MAX_INCIDENTS);
    }

    #[test]
    fn what_was_not_over_when_the_watchdog_ended_ended_where_it_is_last_heard_of() {
        let open = after(&[began(1.0, "", Fault::GpuFault), restart(1.5, "", Fault::GpuFault)]).remove(0);
        let closed = after(&[began(0.0, "", Fault::GpuFault), over(0.5, "", Fault::GpuFault)]).remove(0);
        let mut incidents = Incidents::default();
        let changed = incidents.remember(vec![(*open).clone(), (*closed).clone()]);
        assert_eq!(changed.len(), 1);
        assert_eq!((result(&changed[0]), changed[0].ended_at), (Some("watchdog_ended"), Some(BOOT + 1.5)));
        assert_eq!(incidents.newest_first(), [changed[0].clone(), closed]);
        assert_eq!(written(&mut incidents, 2.0), []);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_name_twice() {
        let mut events = vec![began(1.0, "", Fault::GpuFault), over(1.0, "", Fault::GpuFault)];
        let earlier = (*after(&events)[0]).clone();
        let (mut incidents, status) = (Incidents::default(), status(vec![group("small-llms")]));
        incidents.remember(vec![earlier.clone()]);
        events.extend(events.clone());
        events.iter().for_each(|event| incidents.record(event, &status, BOOT));
        let names: Vec<String> = incidents.newest_first().iter().map(|incident| incident.id.clone()).collect();
        assert_eq!(names, [format!("{}-3", earlier.id), format!("{}-2", earlier.id), earlier.id]);
    }
}
