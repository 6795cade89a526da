//! The weighing: evidence in, verdict out. Each source counts for what it was worth in thirteen faults with a known
//! culprit (four traps, nine illegal addresses); the server log's name and the Xid's pid count for nothing.
//!
//! In this order: a client that died with work in flight explains the fault; who was idle is cleared, and who is left
//! alone is convicted; the rest is suspicion. What an engine printed never convicts: any user that may send it a prompt
//! can have it print that. It makes the one whose error came first suspected, unless such words were wrong shortly
//! before. No tie convicts.

use std::time::Duration;

use crate::decide::evidence::suspects::evidence::{EngineEvidence, Evidence, FaultKind};
use crate::decide::evidence::suspects::reasons::{found, left_words, names, said};
use crate::decide::evidence::suspects::verdict::Verdict;
use crate::decide::facts::AFTERSHOCK;
use crate::model::{Exit, Moment, Strength, Suspicion};

/// Time by which one error must precede all others to accuse. After a trap the culprit's error comes within 10 ms of
/// the fatal line, any other's 96 ms after it at the earliest: the middle. Errors closer together than this accuse no
/// engine.
pub(crate) const WELL_AHEAD: Duration = Duration::from_millis(50);
/// Time from a client's end to its siblings' faults, at the earliest: an engine that leaves later is already a victim.
const NO_VICTIM: Duration = Duration::from_millis(20);
/// CUDA's code after a trap, `cudaErrorLaunchFailure`.
const LAUNCH_FAILURE: u32 = 719;
/// SIGHUP, SIGINT, SIGKILL and SIGTERM come from outside; any other signal is a crash of its own.
const FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

/// Says who did it, as far as the evidence goes. The order of the engines and their names change nothing.
pub(crate) fn weigh(evidence: &Evidence) -> Verdict {
    let death = by_a_death(evidence).or_else(|| by_a_nameless_death(evidence));
    death.unwrap_or_else(|| by_exclusion(evidence))
}

/// A client died so shortly before that the fault is the aftershock of its death.
fn by_a_death(evidence: &Evidence) -> Option<Verdict> {
    let is_cause = |engine: &&EngineEvidence| {
        let before = engine.left.map(|left| evidence.ahead(left));
        let in_time = before.is_some_and(|before| (NO_VICTIM..=AFTERSHOCK).contains(&before));
        in_time && engine.idle.is_none()
    };
    let mut causes = evidence.engines.iter().filter(is_cause).filter(|_| evidence.kind != FaultKind::Trap);
    let cause = causes.next()?;
    if causes.next().is_some() {
        // Two left: which of them had work in flight is not known.
        return None;
    }
    let how = left_words(cause, evidence);
    let why = format!("{how}; a client that ends with work in flight faults all others");
    let sentence = format!("{}: {how}, and took the others with it", cause.engine);
    let explained = (!crashed(cause)).then(|| cause.engine.clone());
    let sentence = if explained.is_some() { format!("{sentence}; that is no fault of its own") } else { sentence };
    Some(Verdict { explained, ..convict(evidence, cause, why, sentence) })
}

/// Somebody left so shortly before that the fault is the aftershock of that, and this driver's log does not say who.
fn by_a_nameless_death(evidence: &Evidence) -> Option<Verdict> {
    let before = evidence.someone_left.map(|left| evidence.ahead(left)).filter(|_| evidence.kind != FaultKind::Trap)?;
    if !(NO_VICTIM..=AFTERSHOCK).contains(&before) {
        return None;
    }
    let sentence = format!(
        "a client left {} ms before the fault and took the others with it; the log of this driver does not say whose it was",
        before.as_millis()
    );
    Some(Verdict { unnamed: true, sentence, ..by_exclusion(evidence) })
}

fn crashed(engine: &EngineEvidence) -> bool {
    !engine.evicted && matches!(engine.exit, Some((_, Exit::Signal(signal))) if !FROM_OUTSIDE.contains(&signal))
}

/// The one error that came as soon after a trap as only its culprit's does. After an illegal address all come within
/// 1.5 ms, in no order: those accuse none.
fn early_error(evidence: &Evidence) -> Option<(&EngineEvidence, Moment)> {
    let errors = errors(evidence);
    let (at, first) = *errors.first().filter(|_| evidence.kind == FaultKind::Trap)?;
    let apart = at.since(evidence.fault_at).max(evidence.ahead(at));
    let ahead = errors.get(1).is_none_or(|(second, _)| second.since(at) >= WELL_AHEAD);
    let trapped = first.error.is_some_and(|(_, code)| code == LAUNCH_FAILURE);
    (trapped && ahead && apart < WELL_AHEAD).then_some((first, at))
}

/// The first error of each engine that has one, in order.
fn errors(evidence: &Evidence) -> Vec<(Moment, &EngineEvidence)> {
    let mut errors: Vec<_> =
        evidence.engines.iter().filter_map(|engine| engine.error.map(|(at, _)| (at, engine))).collect();
    errors.sort_by_key(|(at, _)| *at);
    errors
}

/// Who can't have done it is cleared; if that leaves one, it did it.
fn by_exclusion(evidence: &Evidence) -> Verdict {
    let mut candidates: Vec<&EngineEvidence> = evidence.engines.iter().filter(|engine| !is_cleared(engine)).collect();
    if candidates.is_empty() {
        // They all looked idle, and one of them was not.
        candidates = evidence.engines.iter().filter(|engine| engine.there).collect();
    }
    if let [only] = candidates.as_slice()
        && !evidence.strangers
        && only.idle.is_none()
    {
        let alone = evidence.engines.iter().filter(|engine| engine.there).count() == 1;
        let why = if alone { "no other engine was on the server" } else { "every other engine was idle" };
        return convict(evidence, only, why.to_owned(), format!("{}, by exclusion: {why}", only.engine));
    }
    let most = standing_out(evidence, &candidates);
    let judged = |engine: &EngineEvidence| {
        let strength = match candidates.iter().any(|held| held.engine == engine.engine) {
            true if most.as_ref().is_some_and(|(name, _)| *name == engine) => Strength::Suspected,
            true => Strength::Weak,
            false => Strength::Cleared,
        };
        let why = most.iter().filter(|(held, _)| *held == engine).map(|(_, why)| why.clone());
        Suspicion { engine: engine.engine.clone(), strength, why: why.chain(found(engine, evidence)).collect() }
    };
    let sentence = open_sentence(evidence, &candidates, most.as_ref());
    ranked(evidence, evidence.engines.iter().map(judged).collect(), sentence)
}

/// An idle client made no call, so it did nothing. Whatever error it prints, its own or quoted words, says that it was
/// not idle.
fn is_cleared(engine: &EngineEvidence) -> bool {
    !engine.there || engine.idle.is_some() && engine.error.is_none()
}

/// The one candidate that more speaks against than against any other, and what; `None`: they are alike.
fn standing_out<'a>(evidence: &Evidence, candidates: &[&'a EngineEvidence]) -> Option<(&'a EngineEvidence, String)> {
    match candidates {
        [only] if only.idle.is_some() => {
            let why = "it looked idle as the others did, and its output names an error".to_owned();
            return (!evidence.doubtful).then_some((*only, why));
        }
        [only] => {
            let why = "every other engine was idle, but it may have been a client that is no engine".to_owned();
            return Some((*only, why));
        }
        _ => {}
    }
    if let Some(first) = by_the_first_error(evidence, candidates) {
        return Some(first);
    }
    let mut always = candidates.iter().filter(|engine| evidence.earlier > 0 && engine.before == evidence.earlier);
    if let (Some(one), None) = (always.next(), always.next()) {
        let faults = evidence.earlier + 1;
        return Some((one, format!("it was at work in each of the last {faults} faults, and no other engine was")));
    }
    None
}

/// The engine whose error came well before any other's, and in which words; none where such words were wrong of late.
fn by_the_first_error<'a>(
    evidence: &Evidence,
    candidates: &[&'a EngineEvidence],
) -> Option<(&'a EngineEvidence, String)> {
    let errors = errors(evidence);
    let second = errors.get(1).map(|(second, _)| *second);
    let early = early_error(evidence).map(|(engine, at)| {
        let alone = || {
            format!(
                "its error came {} after a trap's fatal line, and no other's did so soon",
                said(at.since(evidence.fault_at))
            )
        };
        let why = second.map(|second| format!("its error came {} before any other's", said(second.since(at))));
        (engine, why.unwrap_or_else(alone))
    });
    let (engine, why) = early.or_else(|| blind_error(evidence)).filter(|_| !evidence.doubtful)?;
    let candidate = candidates.iter().find(|held| held.engine == engine.engine)?;
    Some((*candidate, why))
}

/// A trap's error that came well before any other's, where the server wrote no line.
fn blind_error(evidence: &Evidence) -> Option<(&EngineEvidence, String)> {
    let errors = errors(evidence);
    let [(first, engine), (second, _), ..] = errors.as_slice() else { return None };
    let lead = second.since(*first);
    let trapped = engine.error.is_some_and(|(_, code)| code == LAUNCH_FAILURE);
    let blind = evidence.kind == FaultKind::Unknown && trapped && lead >= WELL_AHEAD;
    blind.then(|| (*engine, format!("its error came {} before any other's, without a line of the server", said(lead))))
}

fn open_sentence(
    evidence: &Evidence,
    candidates: &[&EngineEvidence],
    most: Option<&(&EngineEvidence, String)>,
) -> String {
    let blamed = evidence.engines.iter().find(|engine| engine.blamed);
    let blamed = blamed
        .map_or_else(String::new, |engine| format!("; the server's log names {}, which is no proof", engine.engine));
    let stranger = if evidence.strangers { ", or a client that is no engine" } else { "" };
    match most {
        Some((engine, why)) => format!("perhaps {}: {why}{blamed}", engine.engine),
        None => format!("not known: it was one of {}{stranger}{blamed}", names(candidates)),
    }
}

/// `culprit` did it, so no other did.
fn convict(evidence: &Evidence, culprit: &EngineEvidence, why: String, sentence: String) -> Verdict {
    let judged = |engine: &EngineEvidence| {
        let (strength, first) = if engine.engine == culprit.engine {
            (Strength::Convicted, why.clone())
        } else {
            (Strength::Cleared, format!("{} did it", culprit.engine))
        };
        let why = std::iter::once(first).chain(found(engine, evidence)).collect();
        Suspicion { engine: engine.engine.clone(), strength, why }
    };
    ranked(evidence, evidence.engines.iter().map(judged).collect(), sentence)
}

/// Strongest first; of equals those that were there in more of the earlier faults, then those that are new.
fn ranked(evidence: &Evidence, mut suspicions: Vec<Suspicion>, sentence: String) -> Verdict {
    let of = |held: &Suspicion| evidence.engines.iter().find(|engine| engine.engine == held.engine);
    suspicions.sort_by_key(|held| {
        let (before, started) = of(held).map_or((0, Moment::ZERO), |engine| (engine.before, engine.started));
        let new = evidence.fault_at.since(started) < crate::decide::evidence::suspects::reasons::NEW;
        (held.strength, std::cmp::Reverse(before), !new)
    });
    Verdict { suspicions, explained: None, unnamed: false, sentence }
}
