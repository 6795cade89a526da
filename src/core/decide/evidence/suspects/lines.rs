//! The evidence of a case as lines with their times, for the incident. Bounded.

use crate::decide::evidence::suspects::case::Case;
use crate::decide::evidence::suspects::evidence::EngineEvidence;
use crate::model::{EngineName, EvidenceLine, EvidenceSource, Moment};

/// Most lines of one case.
const MOST: usize = 100;

/// Every piece of it, by time.
pub(crate) fn of(case: &Case) -> Vec<EvidenceLine> {
    let fault = line(case.evidence.fault_at, EvidenceSource::ServerLog, None, case.because.clone());
    let xids = case.xids.iter().map(|(at, xid, pid)| {
        let named = pid.map_or_else(String::new, |pid| format!(", its line names pid {pid}"));
        line(*at, EvidenceSource::Xid, None, format!("Xid {xid}{named}"))
    });
    let exits = case.exits.iter().map(|(at, engine, exit)| {
        line(*at, EvidenceSource::Exit, Some(engine), format!("its main process ended with {exit}"))
    });
    let engines = case.evidence.engines.iter().flat_map(of_engine);
    let mut all: Vec<EvidenceLine> = std::iter::once(fault).chain(xids).chain(exits).chain(engines).collect();
    all.sort_by_key(|line| line.at);
    all.truncate(MOST);
    all
}

fn of_engine(known: &EngineEvidence) -> impl Iterator<Item = EvidenceLine> + '_ {
    let of = |at, source, text| line(at, source, Some(&known.engine), text);
    let error =
        known.error.map(|(at, code)| of(at, EvidenceSource::Output, format!("its output names CUDA error {code}")));
    let left = known.left.map(|at| of(at, EvidenceSource::Exit, "its process leaves the server".to_owned()));
    let load = known.requests.map(|(running, waiting, at)| {
        of(at, EvidenceSource::Load, format!("{running} requests running, {waiting} waiting"))
    });
    let memory = known.memory.map(|(bytes, at)| {
        let gib = bytes as f64 / f64::from(1u32 << 30);
        of(at, EvidenceSource::Memory, format!("{gib:.1} GiB of device memory"))
    });
    [error, left, load, memory].into_iter().flatten()
}

fn line(at: Moment, source: EvidenceSource, engine: Option<&EngineName>, text: String) -> EvidenceLine {
    EvidenceLine { at, source, engine: engine.cloned(), text }
}
