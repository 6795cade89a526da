//! An incident: a fault, its evidence, what was decided and done, and how it ended. For people and programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{EngineName, Fault, GroupName, Suspicion};

words! {
    /// How the writing of an incident to disk ended.
    Written {
        /// The incident was written.
        Ok = "ok",
        /// It is not, and will be tried again.
        Failed = "failed",
        /// It will not be tried again: too many newer ones wait.
        Dropped = "dropped",
    }
}

/// One fault from its evidence to its end: as many incidents as faults. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Sorts by time and is unique: `20261122T231502.123-small-llms-gpu_fault`.
    pub id: String,
    /// Group of the incident.
    pub group: GroupName,
    /// Engine of the incident; `None`: the whole group's.
    pub engine: Option<EngineName>,
    /// The fault that it began with.
    pub fault: Fault,
    /// The evidence, for people.
    pub because: String,
    /// The evidence's own time.
    pub evidence_at: f64,
    /// When it was decided that this is a fault.
    pub decided_at: f64,
    /// When it was over; `None`: it is not.
    pub ended_at: Option<f64>,
    /// Result of the incident: that of its own recovery, `over` for a fault that went by itself, `released` for an engine
    /// that was given up and is let start again, or `watchdog_ended` for one that was not over when the watchdog ended.
    pub result: Option<String>,
    /// Incident that led to this one; `None`: it began by itself, as far as is known.
    #[serde(default)]
    pub caused_by: Option<String>,
    /// Requests that were in flight in engines that it took down, as last read before; `None`: not known.
    #[serde(default)]
    pub requests_in_flight: Option<f64>,
    /// Seconds that each engine did not serve in it.
    #[serde(default)]
    pub unavailable_seconds: BTreeMap<EngineName, f64>,
    /// Who did it, for people; `None`: the question does not arise, or nothing was said so far.
    #[serde(default)]
    pub verdict: Option<String>,
    /// Every engine, most suspected first; empty without a verdict.
    #[serde(default)]
    pub suspects: Vec<Suspicion>,
    /// What the verdict rests on, by its own times; the word is its source, as `EvidenceSource` spells it. Bounded.
    #[serde(default)]
    pub evidence: Vec<IncidentLine>,
    /// Everything of its group meanwhile, in order; bounded, the oldest evidence and the latest end are kept.
    #[serde(default)]
    pub lines: Vec<IncidentLine>,
    /// Lines that were left out for the bound.
    #[serde(default)]
    pub omitted: u32,
}

impl Incident {
    /// One of a whole group that begins, without a reason yet; its times are seconds since 1970.
    pub fn begins(id: String, group: GroupName, fault: Fault, evidence_at: f64, decided_at: f64) -> Incident {
        Incident {
            id,
            group,
            engine: None,
            fault,
            because: String::new(),
            evidence_at,
            decided_at,
            ended_at: None,
            result: None,
            caused_by: None,
            requests_in_flight: None,
            unavailable_seconds: BTreeMap::new(),
            verdict: None,
            suspects: Vec::new(),
            evidence: Vec::new(),
            lines: Vec::new(),
            omitted: 0,
        }
    }
}

/// One thing that happened in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentLine {
    /// Time in seconds since 1970.
    pub at: f64,
    /// Engine of the line; `None`: the whole group's.
    pub engine: Option<EngineName>,
    /// One word, as in the story of `demo`.
    pub word: String,
    /// Sentence for people.
    pub text: String,
    /// How long it took in seconds, where it is the end of something.
    pub took: Option<f64>,
}
