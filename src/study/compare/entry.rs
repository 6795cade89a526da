//! The studies that are compared, each with a name of its own and with what it comes to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::notes::notes;
use crate::study::analysis::{Analysis, CellFigures, Load};
use crate::study::figures::{date, percent};
use crate::study::recommend::{Choice, Recommendation, concluded};
use crate::study::results::{Study, Variant};
use crate::text::figures::plural;
use crate::text::plain::one_line;
use crate::text::screen::cut;

/// Columns of a name at most.
const LONGEST: usize = 40;

/// A study as it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Name that it was given; `None`: that of what it studied.
    pub name: Option<String>,
    /// Where it came from, for people.
    pub from: String,
    /// The study.
    pub study: Study,
}

/// One of the studies that are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Name of its own.
    pub name: String,
    /// The study.
    pub study: Study,
    /// What its runs come to, in the way of sharing that gets most done.
    pub analysis: Analysis,
    /// Recommendation by its runs.
    pub recommended: Recommendation,
}

/// Studies beside each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The studies, in the order in which they were given.
    pub entries: Vec<Entry>,
    /// Every load that any of them has, in the order of tables.
    pub loads: Vec<Load>,
    /// What people must know before they compare them.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Compares them. One that is given twice counts once.
    pub fn of(given: Vec<Given>) -> Comparison {
        let mut kept: Vec<Given> = Vec::new();
        let mut twice = Vec::new();
        for one in given {
            match kept.iter().find(|other| other.study == one.study) {
                Some(other) => {
                    twice.push(format!("{} is the same study as {}: it is shown once.", one.from, other.from))
                }
                None => kept.push(one),
            }
        }
        let entries: Vec<Entry> = named(kept);
        let loads: BTreeSet<Load> =
            entries.iter().flat_map(|entry| &entry.analysis.cells).map(|cell| cell.load).collect();
        let loads: Vec<Load> = loads.into_iter().collect();
        let notes = twice.into_iter().chain(notes(&entries, &loads)).collect();
        Comparison { entries, loads, notes }
    }

    /// Whether every one is of simulated engines.
    pub(in crate::study) fn is_simulated(&self) -> bool {
        !self.entries.is_empty() && self.entries.iter().all(|entry| entry.study.simulated)
    }
}

impl Entry {
    fn of(name: String, study: Study) -> Entry {
        let (analysis, recommended) = concluded(&study);
        Entry { name, study, analysis, recommended }
    }

    /// What it has of a load; the first, where it has it twice.
    pub(in crate::study) fn cell(&self, load: Load) -> Option<&CellFigures> {
        self.analysis.cells.iter().find(|cell| cell.load == load)
    }

    /// What it says to use at a load.
    pub(in crate::study) fn choice(&self, load: Load) -> Option<Choice> {
        self.recommended.loads.iter().find(|advised| advised.load == load).map(|advised| advised.choice)
    }

    /// The models of its engines, each once.
    pub(in crate::study) fn models(&self) -> String {
        models(&self.study).unwrap_or_default()
    }
}

/// Gives each a name of its own: the one that it was given, else that of its models, and where that is not enough its
/// group, its time and its place too.
fn named(given: Vec<Given>) -> Vec<Entry> {
    let mut entries: Vec<(bool, Entry)> = Vec::new();
    for Given { name, study, .. } in given {
        let own = name.is_none();
        let name = named_as(&name.unwrap_or_else(|| models(&study).unwrap_or_else(|| study.group.clone())));
        let mut entry = Entry::of(name, study);
        if own && entry.recommended.tried.len() > 1 {
            entry.name = format!("{}, {}", entry.name, sharing(entry.analysis.sharing));
        }
        entries.push((own, entry));
    }
    let more: [fn(&Entry) -> String; 2] = [|entry| named_as(&entry.study.group), |entry| date(entry.study.began)];
    for more in more {
        tell_apart(&mut entries, more);
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let numbered = entries.into_iter().map(|(_, mut entry)| {
        let times = seen.entry(entry.name.clone()).and_modify(|times| *times += 1).or_insert(1);
        if *times > 1 {
            entry.name = format!("{} #{times}", entry.name);
        }
        if entry.study.simulated {
            entry.name = format!("{} (simulated)", entry.name);
        }
        entry
    });
    numbered.collect()
}

/// A name that others chose, in one line of bounded length.
fn named_as(name: &str) -> String {
    cut(&one_line(name), LONGEST)
}

/// Adds something to the names that several have, where it is not the same of all of them.
fn tell_apart(entries: &mut [(bool, Entry)], more: impl Fn(&Entry) -> String) {
    let mut by_name: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, entry) in entries.iter() {
        by_name.entry(entry.name.clone()).or_default().insert(more(entry));
    }
    for (_, entry) in entries.iter_mut().filter(|(own, _)| *own) {
        if by_name.get(&entry.name).is_some_and(|others| others.len() > 1) {
            entry.name = format!("{}, {}", entry.name, more(entry));
        }
    }
}

/// The last part of each model's name, each once: `Qwen2.5-0.5B` of `/models/Qwen2.5-0.5B`.
fn models(study: &Study) -> Option<String> {
    let models = study.engines.iter().filter_map(|engine| engine.model.as_deref());
    let mut short: Vec<&str> =
        models.map(|model| model.trim_end_matches('/').rsplit('/').next().unwrap_or(model)).collect();
    short.dedup();
    Some(short.join(" + ")).filter(|all| !all.is_empty())
}

/// A way of sharing in words: `2 engines, 50 %`.
fn sharing(variant: Variant) -> String {
    let each = variant.percentage.map_or_else(String::new, |each| format!(", {}", percent(each)));
    format!("{}{each}", plural(variant.engines, "engine"))
}
