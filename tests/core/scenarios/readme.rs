//! `tests/scenarios/README.md` explains every word of the language, and no other.

use std::collections::BTreeSet;

use core_world::LOADS;
use core_world::language::{KNOBS, LISTS, forms};

use super::{LINES, root, settings};

/// What a table under a heading explains: the first column of its rows.
fn explained(readme: &str, heading: &str) -> BTreeSet<String> {
    let section = readme.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("no section `{heading}`"));
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(form, _)| form.to_owned()).collect()
}

#[test]
fn every_word_of_the_language_is_explained_and_no_other() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let line = |form: &String| form.split(' ').next().unwrap().to_owned();
    assert_eq!(explained(&readme, "Lines").iter().map(line).collect::<BTreeSet<_>>(), set(LINES));
    assert_eq!(explained(&readme, "Inputs"), set(forms()));
    assert_eq!(explained(&readme, "How an engine can be"), set(KNOBS.iter().map(|(word, _)| *word)));
    assert_eq!(explained(&readme, "What an engine says of its load"), set(LOADS));
    assert_eq!(explained(&readme, "NVML's lists of processes"), set(LISTS.iter().map(|(word, _)| *word)));
    assert_eq!(explained(&readme, "Settings"), set(settings::forms()));
}

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}
