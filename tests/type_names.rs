//! Within one room no type name stands twice, so that a search for it finds one definition. A room is a folder of
//! `src/` with all below it, a layer of the core, or one program of the simulation.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::architecture::{code, rust_files};
use super::layers::LAYERS;

/// Types of which one build has only one definition: each is behind the feature `demo` or its absence.
const ALTERNATIVES: [&str; 1] = ["DemoOptions"];
/// Words before the name of a type.
const KINDS: [&str; 5] = ["struct", "enum", "trait", "union", "type"];

/// The room of a file, by its path below `src/`.
fn room(file: &Path) -> String {
    let words: Vec<&str> = file.iter().skip(1).map(|word| word.to_str().unwrap()).collect();
    match words.as_slice() {
        ["core", "decide", first, ..] => layer(first.trim_end_matches(".rs")),
        ["core", first, ..] => format!("core/{first}"),
        ["sim", program, _, ..] => format!("sim/{program}"),
        [first, ..] => (*first).to_owned(),
        [] => String::new(),
    }
}

fn layer(first: &str) -> String {
    let found = LAYERS.iter().find(|(_, parts)| parts.contains(&first));
    format!("the layer of {}", found.map_or(first, |(name, _)| *name))
}

/// The types that a file defines for others than a function of its own.
fn defined(source: &str) -> Vec<String> {
    let code = code(source);
    let lines = code.lines().filter(|line| !line.starts_with("    "));
    let names = lines.filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| !KINDS.contains(word));
        let name = words.nth(1)?;
        let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(name.len());
        name.starts_with(char::is_uppercase).then(|| name[..end].to_owned())
    });
    names.collect()
}

#[test]
fn no_type_name_stands_twice_in_one_room() {
    let mut found: BTreeMap<(String, String), Vec<PathBuf>> = BTreeMap::new();
    let is_of_tests =
        |file: &PathBuf| ["tests.rs", "testing.rs"].iter().any(|end| file.to_str().unwrap().ends_with(end));
    for file in rust_files(Path::new("src")).into_iter().filter(|file| !is_of_tests(file)) {
        for name in defined(&fs::read_to_string(&file).unwrap()) {
            found.entry((room(&file), name)).or_default().push(file.clone());
        }
    }
    let twice = found.iter().filter(|((_, name), files)| files.len() > 1 && !ALTERNATIVES.contains(&name.as_str()));
    let wrong: Vec<String> = twice
        .map(|((room, name), files)| format!("{name} stands {} times in {room}: {files:?}", files.len()))
        .collect();
    assert!(wrong.is_empty(), "give each a name that says which it is:\n{}", wrong.join("\n"));
}

#[test]
fn types_are_found_and_their_uses_are_not() {
    let source =
        "pub(crate) struct One<'a>(&'a str);\n\npub enum Two {\n    A,\n}\ntype Three = u8;\nfn f(one: One) {}\n";
    assert_eq!(defined(source), ["One", "Two", "Three"]);
}
