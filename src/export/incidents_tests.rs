//! Stories of events, and the incidents that they make.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::export::testing::{engine, group, status};
use crate::model::{EngineLoad, Exit, ExitCause, RecoveryResult, RecoveryStep, Refusal, SuppressedAction, Tier};

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
    event(seconds, "", What::Suppressed { action: SuppressedAction::RestartClients, reason: Refusal::Observe, detail })
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
fn a_fault_of_a_sibling_is_an_incident_of_its_own_with_its_own_end() {
    let incidents = after(&[
        began(1.0, "qwen-a", Fault::EngineDied),
        restart(1.0, "qwen-a", Fault::EngineDied),
        began(2.0, "qwen-b", Fault::EngineDied),
        ended(3.0, "qwen-a", RecoveryResult::Serving),
        over(3.0, "qwen-a", Fault::EngineDied),
        restart(4.0, "qwen-b", Fault::EngineDied),
    ]);
    assert_eq!((incidents.len(), result(&incidents[0]), result(&incidents[1])), (2, None, Some("serving")));
    assert_eq!((&incidents[0].caused_by, incidents[1].ended_at), (&None, Some(BOOT + 3.0)));
    assert_eq!(words(&incidents[1]), ["engine_died", "restart", "serving", "fault_over"]);
}

#[test]
fn a_fault_during_a_restart_is_another_incident_and_supersedes_the_first() {
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
    let results: Vec<_> = incidents.iter().map(|incident| result(incident)).collect();
    assert_eq!(results, [Some("partly"), Some("superseded")]);
    assert_eq!(incidents[0].caused_by, None);
}

#[test]
fn an_engine_that_is_given_up_ends_its_incident_and_its_crash_loop_ends_with_its_release() {
    let mut events = vec![
        began(1.0, "qwen-b", Fault::EngineDied),
        restart(1.0, "qwen-b", Fault::EngineDied),
        ended(2.0, "qwen-b", RecoveryResult::Superseded),
        event(2.5, "qwen-b", What::EngineQuarantined { failures: 5 }),
        began(2.6, "qwen-b", Fault::CrashLoop),
        over(2.6, "qwen-b", Fault::EngineDied),
    ];
    let incidents = after(&events);
    assert_eq!((incidents.len(), result(&incidents[0]), result(&incidents[1])), (2, None, Some("quarantined")));
    assert_eq!(incidents[0].caused_by.as_ref(), Some(&incidents[1].id));
    events.push(over(9000.0, "qwen-b", Fault::CrashLoop));
    assert_eq!((result(&after(&events)[0]), after(&events)[0].ended_at), (Some("released"), Some(BOOT + 9000.0)));
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
        over(900.2, "", Fault::GpuFault),
        ended(902.0, "", RecoveryResult::Serving),
    ];
    let incidents = after(&events);
    assert_eq!((incidents.len(), incidents[0].fault, result(&incidents[0])), (2, Fault::GpuFault, Some("serving")));
    assert_eq!((incidents[1].fault, result(&incidents[1])), (Fault::UnknownClient, None));
    events.push(over(1800.0, "", Fault::UnknownClient));
    assert_eq!(after(&events)[1].ended_at, Some(BOOT + 1800.0));
}

#[test]
fn a_fault_that_is_only_reported_swallows_no_other_and_is_swallowed_by_none() {
    let mut events = vec![
        began(1.0, "", Fault::ForeignProcess),
        began(2.0, "", Fault::GpuFault),
        restart(2.0, "", Fault::GpuFault),
        began(2.5, "", Fault::UidMismatch),
        over(3.0, "", Fault::GpuFault),
        ended(4.0, "", RecoveryResult::Serving),
        began(5.0, "qwen-a", Fault::EngineDied),
        restart(5.0, "qwen-a", Fault::EngineDied),
        over(6.0, "qwen-a", Fault::EngineDied),
        ended(6.0, "qwen-a", RecoveryResult::Serving),
    ];
    let faults = |all: &[Arc<Incident>]| all.iter().map(|incident| incident.fault).collect::<Vec<_>>();
    let incidents = after(&events);
    assert_eq!(faults(&incidents), [Fault::EngineDied, Fault::UidMismatch, Fault::GpuFault, Fault::ForeignProcess]);
    let results: Vec<_> = incidents.iter().map(|incident| result(incident)).collect();
    assert_eq!(results, [Some("serving"), None, Some("serving"), None]);
    assert_eq!(words(&incidents[2])[2], "uid_mismatch");
    events.push(over(7.0, "", Fault::ForeignProcess));
    assert_eq!(result(&after(&events)[3]), Some("over"));
}

#[test]
fn a_fault_that_was_reported_ahead_is_one_incident_with_its_restart() {
    let incidents = after(&[
        began(1.0, "qwen-a", Fault::MemoryLeak),
        began(2.0, "", Fault::ForeignProcess),
        restart(600.0, "qwen-a", Fault::MemoryLeak),
        over(600.0, "qwen-a", Fault::MemoryLeak),
        ended(603.0, "qwen-a", RecoveryResult::Serving),
    ]);
    assert_eq!((incidents.len(), incidents[1].fault, result(&incidents[1])), (2, Fault::MemoryLeak, Some("serving")));
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
    events.push(over(9.0, "", Fault::GpuFault));
    events.push(ended(9.0, "", RecoveryResult::Serving));
    let incidents = after(&events);
    let incident = &incidents[0];
    assert_eq!((incident.lines.len(), incident.omitted), (200, 5004 - 200));
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

#[test]
fn the_fault_of_a_group_led_to_the_deaths_of_its_engines_and_not_to_one_long_after() {
    let incidents = after(&[
        began(1.0, "", Fault::GpuFault),
        observed(1.0),
        began(1.1, "qwen-a", Fault::EngineDied),
        began(500.0, "qwen-b", Fault::EngineDied),
    ]);
    let causes: Vec<_> = incidents.iter().map(|incident| incident.caused_by.as_ref()).collect();
    assert_eq!(causes, [None, Some(&incidents[2].id), None]);
}

#[test]
fn the_end_of_an_engine_that_is_convicted_led_to_the_fault_of_its_group() {
    let suspicions = vec![Suspicion { engine: "qwen-b".into(), strength: Strength::Convicted, why: Vec::new() }];
    let verdict = "qwen-b: it was ended 40 ms before".to_owned();
    let weighed = What::Suspected { suspicions, explained: None, verdict, evidence: Vec::new() };
    let incidents = after(&[
        began(1.0, "qwen-b", Fault::EngineDied),
        restart(1.0, "qwen-b", Fault::EngineDied),
        began(3.0, "", Fault::GpuFault),
        event(3.0, "", weighed),
    ]);
    assert_eq!(incidents[0].caused_by.as_ref(), Some(&incidents[1].id));
    assert_eq!((incidents[0].verdict.is_some(), incidents[1].verdict.is_some()), (true, false));
}

#[test]
fn a_restart_that_goes_further_for_another_fault_is_of_the_fault_that_asked_for_it() {
    let incidents = after(&[
        began(1.0, "", Fault::GpuFault),
        restart(1.0, "", Fault::GpuFault),
        began(11.0, "", Fault::ServerStuck),
        ended(11.0, "", RecoveryResult::Superseded),
        restart(11.0, "", Fault::ServerStuck),
        over(12.0, "", Fault::GpuFault),
        over(12.0, "", Fault::ServerStuck),
        ended(14.0, "", RecoveryResult::Serving),
    ]);
    let results: Vec<_> = incidents.iter().map(|incident| result(incident)).collect();
    assert_eq!(results, [Some("serving"), Some("superseded")]);
    assert_eq!(incidents[0].caused_by.as_ref(), Some(&incidents[1].id));
}

#[test]
fn what_an_incident_cost_is_the_requests_in_flight_and_the_time_without_each_engine() {
    let load = |running| Some(EngineLoad { running: Some(running), waiting: Some(1.0), ..EngineLoad::default() });
    let mut known = group("small-llms");
    known.engines = vec![engine("qwen-a"), engine("qwen-b")];
    (known.engines[0].load, known.engines[1].load) = (load(3.0), load(2.0));
    let (mut incidents, status) = (Incidents::default(), status(vec![known]));
    let serves = |seconds, name| event(seconds, name, What::EngineServing { took: Duration::from_secs(1) });
    let events = [
        began(1.0, "", Fault::GpuFault),
        restart(1.0, "", Fault::GpuFault),
        over(1.5, "", Fault::GpuFault),
        serves(3.0, "qwen-a"),
        serves(5.5, "qwen-b"),
        ended(5.5, "", RecoveryResult::Serving),
    ];
    events.iter().for_each(|event| incidents.record(event, &status, BOOT));
    let incident = &incidents.newest_first()[0];
    assert_eq!(incident.requests_in_flight, Some(7.0));
    let seconds: Vec<_> =
        incident.unavailable_seconds.iter().map(|(name, seconds)| (name.as_str(), *seconds)).collect();
    assert_eq!(seconds, [("qwen-a", 2.0), ("qwen-b", 4.5)]);
}

/// What may happen in a story, by numbers: a fault begins, ends, a restart for it begins or ends, the group stops.
fn story() -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    prop::collection::vec((0u8..5, 0usize..4, 0usize..4), 0..80)
}

const ENGINES: [&str; 4] = ["", "qwen-a", "qwen-b", "qwen-c"];
const FAULTS: [Fault; 4] = [Fault::GpuFault, Fault::EngineDied, Fault::MemoryLeak, Fault::CrashLoop];

proptest! {
    #[test]
    fn there_are_as_many_incidents_as_faults_and_each_ends_with_its_own(steps in story()) {
        let (mut incidents, status) = (Incidents::default(), status(vec![group("small-llms")]));
        let mut there = BTreeSet::new();
        let (mut faults, mut now) = (0, 1.0);
        for (step, engine, fault) in steps {
            let (name, fault) = (ENGINES[engine], FAULTS[fault]);
            now += 7.0;
            let event = match step {
                0 if there.insert((name, fault)) => {
                    faults += 1;
                    began(now, name, fault)
                }
                1 if there.remove(&(name, fault)) => over(now, name, fault),
                2 if there.contains(&(name, fault)) => restart(now, name, fault),
                3 => ended(now, name, RecoveryResult::Serving),
                4 if engine == 0 && fault == Fault::CrashLoop => {
                    there.clear();
                    event(now, "", What::Stopped)
                }
                _ => continue,
            };
            incidents.record(&event, &status, BOOT);
            let all = incidents.newest_first();
            prop_assert_eq!(all.len(), faults);
            let open: BTreeSet<(&str, Fault)> = all
                .iter()
                .filter(|incident| incident.ended_at.is_none())
                .map(|incident| (incident.engine.as_ref().map_or("", |engine| engine.as_str()), incident.fault))
                .collect();
            prop_assert!(there.iter().all(|fault| open.contains(fault)), "{:?} of {:?}", open, there);
        }
    }
}
