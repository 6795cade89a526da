//! Incidents for programs.

use schemars::JsonSchema;
use serde::Serialize;

use super::times::{finite, rfc3339};
use super::word::Word;
use crate::model::{EngineName, Fault, Incident, IncidentLine, Strength, Suspicion};

/// The incidents that are remembered, newest first: the document of `/api/v1/incidents`.
///
/// Every time stands twice: in RFC 3339, and under the same name with `_timestamp_seconds` as seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "mpswarden: /api/v1/incidents")]
pub struct IncidentsDocument {
    /// The incidents, newest first.
    incidents: Vec<IncidentDocument>,
}

/// One incident: a fault, its evidence, what was done, and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Incident")]
pub struct IncidentDocument {
    /// The incident's ID: unique, and sorted by time.
    id: String,
    /// The group that it happened in.
    group: String,
    /// The engine that it happened to; null: the whole group.
    engine: Option<String>,
    /// The fault that it began with.
    fault: Word<Fault>,
    /// The evidence, in words.
    because: String,
    /// The evidence's own time.
    #[schemars(extend("format" = "date-time"))]
    evidence_at: Option<String>,
    /// The evidence's own time, in seconds since 1970.
    evidence_at_timestamp_seconds: Option<f64>,
    /// When it was decided that this is a fault.
    #[schemars(extend("format" = "date-time"))]
    decided_at: Option<String>,
    /// When it was decided that this is a fault, in seconds since 1970.
    decided_at_timestamp_seconds: Option<f64>,
    /// When it was over; null: it is not.
    #[schemars(extend("format" = "date-time"))]
    ended_at: Option<String>,
    /// When it was over, in seconds since 1970.
    ended_at_timestamp_seconds: Option<f64>,
    /// How it ended: its own recovery's result, `over` for a fault that went by itself, `released` for an engine that
    /// was given up and is let start again, or `watchdog_ended`; null: it is not over.
    result: Option<String>,
    /// The ID of the incident that led to this one; null: it began by itself, as far as is known.
    caused_by: Option<String>,
    /// Requests that were in flight in the engines that went down in it, as last read before; null: not known.
    requests_in_flight: Option<f64>,
    /// Engines that went down in it, and for how long each did not serve, so far.
    unavailable: Vec<UnavailableDocument>,
    /// Who did it, in words; null: the question does not arise, or nothing was said so far.
    verdict: Option<String>,
    /// Every engine, most suspected first; empty without a verdict.
    suspects: Vec<SuspicionDocument>,
    /// What the verdict rests on, by its own times; the word of each is its source.
    evidence: Vec<LineDocument>,
    /// What happened in its group meanwhile, in order.
    lines: Vec<LineDocument>,
    /// Lines that were left out, since there were too many.
    omitted: u32,
}

/// How long an engine did not serve in an incident.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Unavailable")]
struct UnavailableDocument {
    /// The engine.
    engine: String,
    /// The seconds that it did not serve.
    seconds: Option<f64>,
}

/// What is thought of one engine after a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Suspicion")]
struct SuspicionDocument {
    /// The engine.
    engine: String,
    /// How strongly the evidence speaks against it.
    strength: Word<Strength>,
    /// Why, a sentence each; also what was found and is no proof.
    why: Vec<String>,
}

/// One thing that happened in an incident.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Line")]
struct LineDocument {
    /// When this line happened.
    #[schemars(extend("format" = "date-time"))]
    at: Option<String>,
    /// When this line happened, in seconds since 1970.
    at_timestamp_seconds: Option<f64>,
    /// The engine that it happened to; null: the whole group.
    engine: Option<String>,
    /// What happened, in one word.
    word: String,
    /// What happened, in a sentence.
    text: String,
    /// How long it took, where it is the end of something.
    took_seconds: Option<f64>,
}

impl IncidentsDocument {
    /// The document of these incidents, in their order.
    pub fn of<'a>(incidents: impl IntoIterator<Item = &'a Incident>) -> IncidentsDocument {
        IncidentsDocument { incidents: incidents.into_iter().map(IncidentDocument::of).collect() }
    }
}

impl IncidentDocument {
    /// The document of one incident.
    pub fn of(incident: &Incident) -> IncidentDocument {
        #[rustfmt::skip]
        let Incident {
            id, group, engine, fault, because, evidence_at, decided_at, ended_at, result, caused_by, requests_in_flight,
            unavailable_seconds, verdict, suspects, evidence, lines, omitted,
        } = incident;
        IncidentDocument {
            id: id.clone(),
            group: group.to_string(),
            engine: engine.as_ref().map(ToString::to_string),
            fault: Word(*fault),
            because: because.clone(),
            evidence_at: rfc3339(*evidence_at),
            evidence_at_timestamp_seconds: finite(Some(*evidence_at)),
            decided_at: rfc3339(*decided_at),
            decided_at_timestamp_seconds: finite(Some(*decided_at)),
            ended_at: ended_at.and_then(rfc3339),
            ended_at_timestamp_seconds: finite(*ended_at),
            result: result.clone(),
            caused_by: caused_by.clone(),
            requests_in_flight: finite(*requests_in_flight),
            unavailable: unavailable_seconds.iter().map(UnavailableDocument::of).collect(),
            verdict: verdict.clone(),
            suspects: suspects.iter().map(SuspicionDocument::of).collect(),
            evidence: evidence.iter().map(LineDocument::of).collect(),
            lines: lines.iter().map(LineDocument::of).collect(),
            omitted: *omitted,
        }
    }
}

impl UnavailableDocument {
    fn of((engine, seconds): (&EngineName, &f64)) -> UnavailableDocument {
        UnavailableDocument { engine: engine.to_string(), seconds: finite(Some(*seconds)) }
    }
}

impl SuspicionDocument {
    fn of(suspicion: &Suspicion) -> SuspicionDocument {
        let Suspicion { engine, strength, why } = suspicion;
        SuspicionDocument { engine: engine.to_string(), strength: Word(*strength), why: why.clone() }
    }
}

impl LineDocument {
    fn of(line: &IncidentLine) -> LineDocument {
        let IncidentLine { at, engine, word, text, took } = line;
        LineDocument {
            at: rfc3339(*at),
            at_timestamp_seconds: finite(Some(*at)),
            engine: engine.as_ref().map(ToString::to_string),
            word: word.clone(),
            text: text.clone(),
            took_seconds: finite(*took),
        }
    }
}
