//! One incident while it goes on: its lines, within their bounds, and what it still waits for.

use std::collections::VecDeque;
use std::time::Duration;

use super::incident_cost::Cost;
use super::sentence::{sentence, word};
use crate::model::{
    EngineName, Event, EvidenceLine, Fault, GroupName, GroupStatus, Incident, IncidentLine, Moment, RecoveryResult,
    Suspicion, What,
};
use crate::text::plain::one_line;

/// Most lines of the beginning, and of the end, each.
const MAX_LINES: usize = 100;
/// Pause between two writings of an incident that goes on.
const WRITE_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of evidence and of a line: an engine's output may be in it.
const LONGEST_TEXT: usize = 500;

/// An incident that is not over.
#[derive(Debug)]
pub(super) struct OpenIncident {
    /// The incident without its lines and its cost.
    incident: Incident,
    first: Vec<IncidentLine>,
    last: VecDeque<IncidentLine>,
    omitted: u32,
    /// Wall time of the boot in seconds since 1970, for all of its times.
    boot: f64,
    cost: Cost,
    fault: Stand,
    restart: Stand,
    /// Its group can't go on because of it.
    held: bool,
    /// What it comes to once nothing of it is left.
    result: &'static str,
    latest: Moment,
    given: Given,
}

/// Whether something of an incident is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    There,
    Over,
}

/// When it was last given out to be written.
#[derive(Debug, PartialEq)]
enum Given {
    Never,
    /// And nothing happened since.
    At(Moment),
    /// And something happened since.
    Before(Moment),
}

impl OpenIncident {
    /// Begins with a fault, which `caused_by` led to; `None` for any other event.
    pub(super) fn begin(event: &Event, group: &GroupName, boot: f64, caused_by: Option<String>) -> Option<Self> {
        let What::FaultBegan { fault, evidence_at, because } = &event.what else { return None };
        let decided_at = boot + event.at.as_secs_f64();
        let id = format!("{}-{group}-{fault}", stamp(decided_at));
        let begins = Incident::begins(id, group.clone(), *fault, boot + evidence_at.as_secs_f64(), decided_at);
        let incident = Incident { engine: event.engine.clone(), because: cut(because.clone()), caused_by, ..begins };
        let mut open = OpenIncident {
            incident,
            first: Vec::new(),
            last: VecDeque::new(),
            omitted: 0,
            boot,
            cost: Cost::default(),
            fault: Stand::There,
            restart: Stand::Over,
            held: false,
            result: if *fault == Fault::CrashLoop { "released" } else { "over" },
            latest: event.at,
            given: Given::Never,
        };
        open.push_line(event);
        Some(open)
    }

    /// Gives it a name that is not `taken`: its own, where the time alone makes it differ.
    pub(super) fn name_apart_from(&mut self, taken: impl Fn(&str) -> bool) {
        let own = self.incident.id.clone();
        let mut number = 1u32;
        while taken(&self.incident.id) {
            number += 1;
            self.incident.id = format!("{own}-{number}");
        }
    }

    /// Id of the incident.
    pub(super) fn id(&self) -> &str {
        &self.incident.id
    }

    /// Group of the incident.
    pub(super) fn group(&self) -> &GroupName {
        &self.incident.group
    }

    /// Fault of the incident, and the engine that has it; `None`: the whole group has it.
    pub(super) fn is_of(&self, engine: &Option<EngineName>, fault: Fault) -> bool {
        self.fault == Stand::There && self.incident.fault == fault && self.incident.engine == *engine
    }

    /// Whether this kind of fault began it, over or not.
    pub(super) fn is_about(&self, fault: Fault) -> bool {
        self.incident.fault == fault
    }

    /// Whether it is one of this engine; `None`: of the whole group.
    pub(super) fn has_engine(&self, engine: &Option<EngineName>) -> bool {
        self.incident.engine == *engine
    }

    /// Whether a restart for it is on its way.
    pub(super) fn is_being_mended(&self) -> bool {
        self.restart == Stand::There
    }

    /// Whether its fault may last, and nothing is done about it now.
    pub(super) fn only_lasts(&self) -> bool {
        self.restart == Stand::Over
            && !self.held
            && (is_often_only_reported(self.incident.fault) || self.incident.fault == Fault::CrashLoop)
    }

    /// Whether nothing is on its way and nothing was said for `pause`.
    pub(super) fn is_quiet(&self, pause: Duration, now: Moment) -> bool {
        self.restart == Stand::Over && !self.held && now.since(self.latest) > pause
    }

    /// Whether an event that it does not wait for belongs to it all the same: it happened meanwhile, to its engine or
    /// to the whole group.
    pub(super) fn sees(&self, event: &Event, pause: Duration) -> bool {
        let concerned =
            self.incident.engine.is_none() || event.engine.is_none() || self.incident.engine == event.engine;
        concerned && !self.only_lasts() && !self.is_quiet(pause, event.at)
    }

    /// What another incident that led to it is called, where only later evidence says so.
    pub(super) fn was_caused_by(&mut self, id: &str) {
        self.incident.caused_by.get_or_insert_with(|| id.to_owned());
    }

    /// Who did it was weighed.
    pub(super) fn weighed(&mut self, suspicions: &[Suspicion], verdict: &str, evidence: &[EvidenceLine]) {
        self.incident.verdict = Some(cut(verdict.to_owned()));
        self.incident.suspects = suspicions.to_vec();
        self.incident.evidence = evidence.iter().map(|line| of_evidence(line, self.boot)).collect();
    }

    /// Its own fault ended.
    pub(super) fn fault_ended(&mut self) {
        self.fault = Stand::Over;
    }

    /// A restart for it began.
    pub(super) fn restart_began(&mut self) {
        self.restart = Stand::There;
        self.held = false;
    }

    /// The restart for it ended.
    pub(super) fn restart_ended(&mut self, result: RecoveryResult) {
        self.restart = Stand::Over;
        self.result = result.as_str();
    }

    /// An event of it, whatever else it is. `group`: as it was before.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other events are lines of it and no more")]
    pub(super) fn add(&mut self, event: &Event, group: Option<&GroupStatus>) {
        self.latest = event.at;
        if let Given::At(at) = self.given {
            self.given = Given::Before(at);
        }
        self.push_line(event);
        let of_it = self.incident.engine.is_none() || self.incident.engine == event.engine;
        if of_it {
            self.cost.add(event, group);
        }
        match &event.what {
            What::Suppressed { .. } if self.incident.engine == event.engine => self.result = "observed",
            What::EngineQuarantined { .. } if self.incident.engine == event.engine => self.result = "quarantined",
            What::Held { .. } if self.incident.engine == event.engine => self.held = true,
            What::Released { .. } => self.held = false,
            _ => {}
        }
    }

    /// Result of the incident, with the end of its fault and of what was done about it; `None` while it goes on.
    pub(super) fn result(&self) -> Option<&'static str> {
        let over = self.fault == Stand::Over && self.restart == Stand::Over && !self.held;
        over.then_some(self.result)
    }

    /// The incident as it stands.
    pub(super) fn so_far(&self) -> Incident {
        let lines = self.first.iter().chain(&self.last).cloned().collect();
        let (requests_in_flight, unavailable_seconds) = (self.cost.requests(), self.cost.seconds(self.latest));
        let incident = self.incident.clone();
        Incident { lines, omitted: self.omitted, requests_in_flight, unavailable_seconds, ..incident }
    }

    /// The incident as it stands, where that is to be written now.
    pub(super) fn take_unwritten(&mut self, now: Moment) -> Option<Incident> {
        match self.given {
            Given::At(_) => return None,
            Given::Before(at) if now.since(at) < WRITE_PAUSE => return None,
            Given::Never | Given::Before(_) => {}
        }
        self.given = Given::At(now);
        Some(self.so_far())
    }

    /// The incident as it ended, at `at`.
    pub(super) fn closed(mut self, result: &str, at: Moment) -> Incident {
        self.latest = at;
        let ended_at = Some(self.boot + at.as_secs_f64());
        Incident { ended_at, result: Some(result.to_owned()), ..self.so_far() }
    }

    fn push_line(&mut self, event: &Event) {
        let line = IncidentLine {
            at: self.boot + event.at.as_secs_f64(),
            engine: event.engine.clone(),
            word: word(event).to_owned(),
            text: cut(sentence(event)),
            took: took(&event.what).map(|took| took.as_secs_f64()),
        };
        if self.first.len() < MAX_LINES {
            return self.first.push(line);
        }
        self.last.push_back(line);
        if self.last.len() > MAX_LINES {
            self.last.pop_front();
            self.omitted = self.omitted.saturating_add(1);
        }
    }
}

/// Faults that are reported and may last, and that nothing or only sometimes something is restarted for.
fn is_often_only_reported(fault: Fault) -> bool {
    use Fault::{
        ClientLimit, DeviceOom, ForeignProcess, LimitExceeded, LimitMissing, MemoryLeak, Starved, UidMismatch,
        UnknownClient,
    };
    matches!(
        fault,
        ClientLimit
            | DeviceOom
            | ForeignProcess
            | LimitExceeded
            | LimitMissing
            | MemoryLeak
            | Starved
            | UidMismatch
            | UnknownClient
    )
}

fn of_evidence(line: &EvidenceLine, boot: f64) -> IncidentLine {
    IncidentLine {
        at: boot + line.at.as_secs_f64(),
        engine: line.engine.clone(),
        word: line.source.as_str().to_owned(),
        text: cut(one_line(&line.text)),
        took: None,
    }
}

/// How long that took which the event ends.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other event ends something that took time")]
fn took(what: &What) -> Option<Duration> {
    match what {
        What::StepEnded { took, .. } | What::RestartEnded { took, .. } | What::EngineServing { took } => Some(*took),
        What::FaultEnded { lasted, .. } | What::HoldEnded { lasted, .. } => Some(*lasted),
        _ => None,
    }
}

/// `20261122T231502.123`, UTC: names sort by time.
fn stamp(seconds: f64) -> String {
    let millis = (seconds * 1e3).round();
    let time = jiff::Timestamp::from_millisecond(millis as i64).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%dT%H%M%S.%3f").to_string()
}

/// Cuts a text to `LONGEST_TEXT` bytes, at a character's end.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
