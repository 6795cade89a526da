//! What keeps studies from being compared, or makes them less alike than they look, each in a sentence. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::Entry;
use super::load_words;
use crate::study::analysis::Load;
use crate::study::figures::{listed, percent, short};
use crate::study::results::Study;
use crate::text::figures::plural;
use crate::text::plain::one_line;

/// Fewest repeats of a study whose intervals are worth much.
const FEWEST: u32 = 3;

/// All of them.
pub(super) fn notes(entries: &[Entry], loads: &[Load]) -> Vec<String> {
    let mut notes = simulated(entries);
    notes.extend(entries.iter().filter_map(version));
    notes.extend(differing(entries));
    notes.extend(entries.iter().flat_map(missing));
    notes.extend(nothing_in_common(entries, loads));
    notes
}

/// Where some are simulated and some are not.
fn simulated(entries: &[Entry]) -> Vec<String> {
    let (simulated, real): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.study.simulated);
    if simulated.is_empty() || real.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = simulated.iter().map(|entry| entry.name.clone()).collect();
    let are = if names.len() == 1 { "is a study" } else { "are studies" };
    vec![format!(
        "{} {are} of simulated engines on a simulated GPU: compare nothing of it with the studies of real ones.",
        listed(&names)
    )]
}

fn version(entry: &Entry) -> Option<String> {
    let (theirs, ours) = (&entry.study.version, env!("CARGO_PKG_VERSION"));
    (theirs != ours).then(|| {
        format!(
            "{} was measured by mpswarden {}, and this is {ours}: versions differ in what they count and when.",
            entry.name,
            one_line(theirs)
        )
    })
}

/// A property of a study in words.
type Property = fn(&Study) -> String;

/// What is not the same of all, beside the models: then the lines compare that, too.
fn differing(entries: &[Entry]) -> Vec<String> {
    let properties: [(&str, Property); 6] = [
        ("GPUs", |study| one_line(&study.gpu)),
        ("drivers", |study| study.driver.as_deref().map_or_else(|| "none known".to_owned(), one_line)),
        ("numbers of engines", |study| study.engines.len().to_string()),
        ("active thread percentages", percentages),
        ("loads", |study| {
            study.plan.rate.map_or_else(
                || "requests that follow each other".to_owned(),
                |rate| format!("{} requests a second to each engine", short(rate)),
            )
        }),
        ("times that count", |study| {
            format!("{} of {} s", plural(study.plan.repeats as usize, "repeat"), short(study.plan.seconds))
        }),
    ];
    properties.iter().filter_map(|(what, of)| differs(entries, what, *of)).collect()
}

fn percentages(study: &Study) -> String {
    let each = study.engines.iter().map(|engine| engine.sm_percentage.map_or_else(|| "none".to_owned(), percent));
    let each: BTreeSet<String> = each.collect();
    listed(&each.into_iter().collect::<Vec<_>>())
}

fn differs(entries: &[Entry], what: &str, of: Property) -> Option<String> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in entries {
        values.entry(of(&entry.study)).or_default().push(entry.name.clone());
    }
    let parts: Vec<String> = values.iter().map(|(value, names)| format!("{value} ({})", listed(names))).collect();
    (parts.len() > 1).then(|| format!("Their {what} differ: {}.", parts.join("; ")))
}

/// What a study lacks.
fn missing(entry: &Entry) -> Vec<String> {
    let Entry { name, study, analysis, .. } = entry;
    let measured = analysis.cells.iter().filter(|cell| cell.gain.is_some()).count();
    let all = plural(analysis.cells.len(), "load");
    let doubtful = analysis.cells.iter().filter(|cell| cell.failures.is_some()).count();
    let mut notes = Vec::new();
    match (measured, study.ended_early) {
        (0, _) if study.plan.repeats < 2 => notes
            .push(format!("{name} has a single repeat, which says nothing of how far runs differ: it has no ratio.")),
        (0, _) => notes.push(format!("{name} measured no load both alone and under MPS.")),
        (some, true) => notes.push(format!("{name} was ended early by a signal: {some} of its {all} were measured.")),
        (some, false) if some < analysis.cells.len() => {
            notes.push(format!("{name} measured {some} of its {all}; its report says why."));
        }
        _ => {}
    }
    if measured > 0 && study.plan.repeats < FEWEST {
        notes.push(format!("{name} has {} repeats: its intervals are wide, or narrow by luck.", study.plan.repeats));
    }
    if doubtful > 0 {
        notes.push(format!("Of {name} too many requests failed at {}: marked with ?.", plural(doubtful, "load")));
    }
    notes.extend(twice(entry));
    notes
}

/// Loads that a study has more than once.
fn twice(entry: &Entry) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let loads = entry.analysis.cells.iter().map(|cell| cell.load);
    let again: BTreeSet<Load> = loads.filter(|load| !seen.insert(*load)).collect();
    let told = |load: &Load| format!("{} has {} more than once: the first counts.", entry.name, load_words(load));
    again.iter().map(told).collect()
}

fn nothing_in_common(entries: &[Entry], loads: &[Load]) -> Option<String> {
    let shared = |load: &&Load| entries.iter().filter(|entry| entry.cell(**load).is_some()).count() > 1;
    (entries.len() > 1 && loads.iter().filter(shared).count() == 0)
        .then(|| "No two of these studies have a load in common: nothing stands beside anything.".to_owned())
}
