//! The layers inside the core: a file of `src/core/decide` names only files of its own layer and of those before it,
//! and no circle of files is longer than three. Reads every import and every path, as `architecture` does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::architecture::{code, paths, rust_files};

/// The layers, each with the folders and files of `src/core/decide` that are in it.
pub(crate) const LAYERS: [(&str, &[&str]); 7] = [
    ("facts", &["facts", "policy", "input", "effects", "open_actions", "turn"]),
    ("evidence", &["evidence"]),
    ("detect", &["detect"]),
    ("goal, may", &["goal", "may"]),
    ("domain, instance", &["domain", "instance", "remembered"]),
    ("group", &["group"]),
    ("watchdog", &["watchdog"]),
];

/// Files that name one another in a circle, at most.
const LONGEST_CIRCLE: usize = 3;

/// A file as the compiler names it below `decide`: `["detect", "hang"]`.
type Module = Vec<String>;

/// Files, each with those that it names.
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

/// The number of a file's layer; `None`: the table has no row for it.
fn layer(module: &[String]) -> Option<usize> {
    LAYERS.iter().position(|(_, parts)| module.first().is_some_and(|first| parts.contains(&first.as_str())))
}

/// The module of each file of the core's decisions, but for tests and the index at the top.
fn modules() -> BTreeMap<Module, PathBuf> {
    let root = Path::new("src/core/decide");
    let named = rust_files(root).into_iter().map(|file| {
        let inside = file.strip_prefix(root).unwrap().with_extension("");
        let mut words: Module = inside.iter().map(|word| word.to_str().unwrap().to_owned()).collect();
        words.pop_if(|word| word == "mod");
        (words, file)
    });
    named.filter(|(words, _)| words.last().is_some_and(|last| !last.ends_with("tests"))).collect()
}

/// Where a path of `module` begins, below `decide`, and its words from there on; `None`: it leads out of there.
fn begin(path: &str, module: &[String]) -> Option<(Module, Vec<String>)> {
    let mut words = path.split("::").map(str::to_owned).peekable();
    let first = words.next()?;
    match first.as_str() {
        "crate" => (words.next()? == "decide").then(|| (Vec::new(), words.collect())),
        "super" => {
            let ups = 1 + std::iter::from_fn(|| words.next_if(|word| word == "super")).count();
            (ups <= module.len()).then(|| (module[..module.len() - ups].to_vec(), words.collect()))
        }
        _ => Some((module.to_vec(), std::iter::once(first).chain(words).collect())),
    }
}

/// The file that a path leads to.
fn file_of(path: &str, module: &[String], all: &BTreeMap<Module, PathBuf>) -> Option<Module> {
    let (mut at, words) = begin(path, module)?;
    let mut found = None;
    for word in words {
        at.push(word);
        if !all.contains_key(&at) {
            break;
        }
        found = Some(at.clone());
    }
    found.filter(|found| found != module)
}

/// What an index passes on, by the index and the name: a path through it leads to the file behind it.
fn passed_on(all: &BTreeMap<Module, PathBuf>) -> BTreeMap<(Module, String), Module> {
    let mut known = BTreeMap::new();
    for (module, file) in all.iter().filter(|(_, file)| file.ends_with("mod.rs")) {
        for line in statements(&code(&fs::read_to_string(file).unwrap())).filter(|line| line.starts_with("pub")) {
            for path in paths(&line) {
                let target = file_of(&path, module, all);
                let name = path.rsplit("::").next().unwrap().to_owned();
                target.map(|target| known.insert((module.clone(), name), target));
            }
        }
    }
    known
}

/// The `use` statements of a file, each on one line from its visibility on.
fn statements(code: &str) -> impl Iterator<Item = String> {
    let uses = code.split_inclusive(';').filter_map(|statement| {
        let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let start = line.rfind("use ")?;
        let public = line[..start].rfind("pub").filter(|at| !line[*at..start].contains([';', '{', '}']));
        Some(line[public.unwrap_or(start)..].to_owned())
    });
    uses.collect::<Vec<_>>().into_iter()
}

/// The code of a `mod.rs` without what makes it an index: the files below it, and what it passes on of them.
fn without_an_index(source: &str) -> String {
    let is_index = |statement: &str| {
        let words: Vec<&str> = statement.split_whitespace().collect();
        matches!(words.as_slice(), [.., "mod", _])
            || words.first().is_some_and(|word| word.starts_with("pub")) && words.contains(&"use")
    };
    source.split_inclusive(';').filter(|statement| !is_index(statement.trim_end_matches(';'))).collect()
}

/// Which file names which. What an index passes on is no arrow of its own.
fn arrows() -> Arrows {
    let all = modules();
    let passed_on = passed_on(&all);
    let mut arrows = Arrows::new();
    for (module, file) in &all {
        let mut source = code(&fs::read_to_string(file).unwrap());
        if file.ends_with("mod.rs") {
            source = without_an_index(&source);
        }
        let named = paths(&source).into_iter().filter_map(|path| {
            let mut target = file_of(&path, module, &all)?;
            let name = path.rsplit("::").next()?.to_owned();
            while let Some(behind) = passed_on.get(&(target.clone(), name.clone())).filter(|behind| **behind != target)
            {
                target = behind.clone();
            }
            (target != *module).then_some(target)
        });
        arrows.insert(module.clone(), named.collect());
    }
    arrows
}

/// The files that can be reached from `from` over one arrow or more.
fn reached(from: &Module, arrows: &Arrows) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&Module> = arrows[from].iter().collect();
    while let Some(next) = open.pop() {
        if seen.insert(next.clone()) {
            open.extend(&arrows[next]);
        }
    }
    seen
}

fn circle_of(module: &Module, reached: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    reached[module].iter().filter(|other| reached[*other].contains(module)).cloned().collect()
}

fn spelled(module: &[String]) -> String {
    module.join("/")
}

#[test]
fn every_file_of_the_core_has_a_layer_and_names_none_of_a_later_one() {
    let mut wrong = Vec::new();
    for (module, named) in arrows() {
        let Some(own) = layer(&module) else {
            wrong.push(format!("{}: the table has no layer for it", spelled(&module)));
            continue;
        };
        let later = named.iter().filter(|other| layer(other).is_some_and(|layer| layer > own));
        wrong.extend(later.map(|other| format!("{} ({}) names {}", spelled(&module), LAYERS[own].0, spelled(other))));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_circle_of_files_in_the_core_is_longer_than_three() {
    let arrows = arrows();
    let reached: BTreeMap<Module, _> = arrows.keys().map(|from| (from.clone(), reached(from, &arrows))).collect();
    for module in arrows.keys() {
        let circle = circle_of(module, &reached);
        let names: Vec<String> = circle.iter().map(|module| spelled(module)).collect();
        assert!(circle.len() <= LONGEST_CIRCLE, "a circle of {} files: {}", circle.len(), names.join(", "));
    }
}

#[test]
fn the_layers_checker_sees_arrows_over_imports_groups_paths_and_indexes() {
    let arrows = arrows();
    let names = |from: &[&str], to: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Module>();
        arrows[&owned(from)].contains(&owned(to))
    };
    assert!(names(&["domain", "state"], &["facts", "scene"]), "an import of a type");
    assert!(names(&["facts", "scene"], &["facts", "server"]), "through an index");
    assert!(names(&["domain", "faults"], &["detect"]), "a module's function");
    assert!(!names(&["facts", "scene"], &["domain", "state"]));
}
