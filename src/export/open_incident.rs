//! One incident while it goes on: its lines, within their bounds, and what it still waits for.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::sentence::{sentence, word};
use crate::model::{
    EngineName, Event, EvidenceLine, Fault, GroupName, Incident, IncidentLine, Moment, Reason, RecoveryResult, What,
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
    /// The incident without its lines.
    incident: Incident,
    first: Vec<IncidentLine>,
    last: VecDeque<IncidentLine>,
    omitted: u32,
    /// Wall time of the boot in seconds since 1970, for all of its times.
    boot: f64,
    /// Faults that nothing was restarted for so far.
    faults: BTreeSet<(Option<EngineName>, Fault)>,
    /// Restarts on their way: of these engines, `None` for the whole group.
    restarts: BTreeSet<Option<EngineName>>,
    held: bool,
    over: Over,
    latest: Moment,
    given: Given,
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

/// How it ended, or would.
#[derive(Debug)]
enum Over {
    /// The incident goes on; what it comes to once its faults are over.
    NotYet(&'static str),
    Ended(&'static str),
}

impl OpenIncident {
    /// Begins with a fault; `None` for any other event.
    pub(super) fn begin(event: &Event, group: &GroupName, boot: f64) -> Option<Self> {
        let What::FaultBegan { fault, evidence_at, because } = &event.what else { return None };
        let decided_at = boot + event.at.as_secs_f64();
        let incident = Incident {
            id: format!("{}-{group}-{fault}", stamp(decided_at)),
            group: group.clone(),
            engine: event.engine.clone(),
            fault: *fault,
            because: cut(because.clone()),
            evidence_at: boot + evidence_at.as_secs_f64(),
            decided_at,
            ended_at: None,
            result: None,
            verdict: None,
            suspects: Vec::new(),
            evidence: Vec::new(),
            lines: Vec::new(),
            omitted: 0,
        };
        let mut open = OpenIncident {
            incident,
            first: Vec::new(),
            last: VecDeque::new(),
            omitted: 0,
            boot,
            faults: BTreeSet::new(),
            restarts: BTreeSet::new(),
            held: false,
            over: Over::NotYet("over"),
            latest: event.at,
            given: Given::Never,
        };
        open.add(event);
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

    /// Whether the event is what this one waits for: the end of a fault of it or a restart for one, or the end of a
    /// restart of it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other event ends what an incident waits for")]
    pub(super) fn awaits(&self, event: &Event) -> bool {
        let has = |fault: &Fault| self.faults.contains(&(event.engine.clone(), *fault));
        match &event.what {
            What::FaultEnded { fault, .. } | What::RestartBegan { reason: Reason::Fault(fault), .. } => has(fault),
            What::RestartEnded { .. } => self.restarts.contains(&event.engine),
            _ => false,
        }
    }

    /// Whether it waits for nothing but the end of faults that may last and are not mended. Another fault, or an
    /// ordered restart, is another matter.
    pub(super) fn only_lasts(&self) -> bool {
        let waits = self.restarts.is_empty() && !self.held && !self.faults.is_empty();
        waits && self.faults.iter().all(|(_, fault)| is_often_only_reported(*fault))
    }

    fn is_new(&self) -> bool {
        self.first.len() == 1
    }

    /// Whether it is about this kind of fault.
    pub(super) fn is_of(&self, kind: Fault) -> bool {
        self.faults.iter().any(|(_, fault)| *fault == kind)
    }

    /// Whether nothing is on its way and nothing was said for `pause`.
    pub(super) fn is_quiet(&self, pause: Duration, now: Moment) -> bool {
        self.restarts.is_empty() && !self.held && now.since(self.latest) > pause
    }

    /// Takes up an event of its group.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other events are lines of it and no more")]
    pub(super) fn add(&mut self, event: &Event) {
        self.latest = event.at;
        if let Given::At(at) = self.given {
            self.given = Given::Before(at);
        }
        self.push_line(event);
        let engine = &event.engine;
        match &event.what {
            // It is the end of an incident in which an engine was given up, and lasts until a person comes.
            What::FaultBegan { fault: Fault::CrashLoop, .. } if !self.faults.is_empty() => {}
            // It may last long after this incident is over.
            What::FaultBegan { fault, .. }
                if is_often_only_reported(*fault) && !self.is_new() && !self.only_lasts() => {}
            What::FaultBegan { fault, .. } => {
                self.faults.insert((engine.clone(), *fault));
            }
            What::FaultEnded { fault, .. } => {
                self.faults.remove(&(engine.clone(), *fault));
                self.end_if_nothing_is_left();
            }
            What::Suspected { suspicions, verdict, evidence, .. } => {
                self.incident.verdict = Some(cut(verdict.clone()));
                self.incident.suspects = suspicions.clone();
                self.incident.evidence = evidence.iter().map(|line| of_evidence(line, self.boot)).collect();
            }
            What::RestartBegan { .. } => self.restart_began(engine),
            What::RestartEnded { result, .. } => self.restart_ended(engine, *result),
            What::Suppressed { .. } => self.over = Over::NotYet("observed"),
            What::EngineQuarantined { .. } => self.over = Over::NotYet("quarantined"),
            What::Held { .. } => self.held = true,
            What::Released { .. } => self.held = false,
            What::Stopped => self.over = Over::Ended("stopped"),
            _ => {}
        }
    }

    /// Result of the incident; `None` while it goes on.
    pub(super) fn result(&self) -> Option<&'static str> {
        match self.over {
            Over::NotYet(_) => None,
            Over::Ended(result) => Some(result),
        }
    }

    /// The incident as it stands.
    pub(super) fn so_far(&self) -> Incident {
        let lines = self.first.iter().chain(&self.last).cloned().collect();
        Incident { lines, omitted: self.omitted, ..self.incident.clone() }
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
    pub(super) fn closed(self, result: &str, at: Moment) -> Incident {
        let ended_at = Some(self.boot + at.as_secs_f64());
        let lines = self.first.into_iter().chain(self.last).collect();
        Incident { ended_at, result: Some(result.to_owned()), lines, omitted: self.omitted, ..self.incident }
    }

    /// A restart of the whole group takes those of its engines in.
    fn restart_began(&mut self, engine: &Option<EngineName>) {
        if engine.is_none() {
            self.restarts.clear();
        }
        self.restarts.insert(engine.clone());
    }

    fn restart_ended(&mut self, engine: &Option<EngineName>, result: RecoveryResult) {
        self.restarts.remove(engine);
        if result == RecoveryResult::Superseded {
            return;
        }
        // A fault that a restart does not end is shown by `mps_fault_active`; the incident is over.
        self.faults.retain(|(owner, _)| engine.is_some() && owner != engine);
        self.over = Over::NotYet(result.as_str());
        self.end_if_nothing_is_left();
    }

    fn end_if_nothing_is_left(&mut self) {
        if let Over::NotYet(result) = self.over
            && self.faults.is_empty()
            && self.restarts.is_empty()
        {
            self.over = Over::Ended(result);
        }
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
