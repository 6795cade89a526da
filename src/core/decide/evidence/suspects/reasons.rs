//! What was found about an engine, in sentences for people. Nothing is judged here.

use std::time::Duration;

use crate::decide::evidence::suspects::evidence::{EngineEvidence, Evidence};
use crate::model::Exit;

/// Age of a process at the fault up to which it is worth a word.
pub(crate) const NEW: Duration = Duration::from_secs(10);

/// Everything that was found, whatever it is worth.
pub(crate) fn found(engine: &EngineEvidence, evidence: &Evidence) -> Vec<String> {
    if !engine.there {
        return vec!["it had no process".to_owned()];
    }
    let age = evidence.fault_at.since(engine.started);
    let new = (age < NEW).then(|| format!("its process had been started {} before", said(age)));
    let blamed = engine.blamed.then(|| "the server's log names it, which is no proof (1 of 9)".to_owned());
    let in_xid = engine.in_xid.then(|| "an Xid's line names it, which is no proof (4 of 13)".to_owned());
    let evicted = engine.evicted.then(|| "mpswarden was taking it out".to_owned());
    let error = engine.error.map(|(at, code)| {
        let (after, before) = (at.since(evidence.fault_at), evidence.ahead(at));
        let (apart, side) = if before.is_zero() { (after, "after") } else { (before, "before") };
        format!("its output named CUDA error {code} {} {side} the fault", said(apart))
    });
    let all = [Some(work(engine, evidence)), error, evicted, new, blamed, in_xid];
    all.into_iter().flatten().collect()
}

/// What is known of its work at the fault.
fn work(engine: &EngineEvidence, evidence: &Evidence) -> String {
    if let Some((since, read)) = engine.idle {
        let (time, ago) = (said(read.since(since)), said(evidence.ahead(read)));
        return format!("it had been idle for {time} when last read, {ago} before the fault");
    }
    match engine.requests {
        Some((running, waiting, read)) => {
            let ago = said(evidence.ahead(read));
            format!("{running} requests running and {waiting} waiting when last read, {ago} before the fault")
        }
        None => "it is not known whether it had work".to_owned(),
    }
}

/// How and when an engine left the server before the fault.
pub(crate) fn left_words(engine: &EngineEvidence, evidence: &Evidence) -> String {
    let before = said(engine.left.map(|left| evidence.ahead(left)).unwrap_or_default());
    match engine.exit {
        _ if engine.evicted => format!("mpswarden ended it {before} before the fault"),
        Some((_, Exit::Signal(signal))) => format!("signal {signal} ended it {before} before the fault"),
        Some((_, Exit::Status(status))) => format!("it ended with status {status} {before} before the fault"),
        _ => format!("its process left the server {before} before the fault"),
    }
}

/// Names in a row.
pub(crate) fn names(engines: &[&EngineEvidence]) -> String {
    engines.iter().map(|engine| engine.engine.as_str()).collect::<Vec<_>>().join(", ")
}

/// A duration as people say it: `96 ms`, `1.5 s`.
pub(crate) fn said(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}
