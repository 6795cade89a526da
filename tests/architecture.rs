//! The folders of `src/` are stages, and each may name only some others. Reads every file and fails on
//! any other arrow, on what the pure folders must not touch, and on files that have grown too long.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each folder and the folders that it may name.
const MAY_NAME: [(&str, &[&str]); 16] = [
    ("model", &[]),
    ("decide", &["model"]),
    ("files", &[]),
    ("text", &[]),
    ("host", &["model", "probe", "files", "text"]),
    ("observe", &["model", "host", "probe", "text"]),
    ("act", &["model", "host", "files"]),
    ("probe", &[]),
    ("study", &["model", "host", "act", "config", "files", "text"]),
    ("web", &["files", "text"]),
    ("export", &["model", "files", "text", "web"]),
    ("config", &["model", "decide", "files", "text"]),
    ("control", &["model", "export", "text"]),
    ("gate", &["model", "host", "control", "text"]),
    ("cli", &["model", "export", "control", "config", "host", "text", "gate"]),
    (
        "runtime",
        &[
            "model", "decide", "host", "observe", "act", "export", "config", "control", "cli", "sim", "study", "files",
            "text", "web", "gate",
        ],
    ),
];

/// No I/O, clock, randomness, async, logging, lock or unordered map here.
const PURE: [&str; 2] = ["model", "decide"];

/// Whole paths that the pure folders must not name.
const IMPURE_PATHS: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "std::os",
    "std::sync::atomic",
    "std::sync::mpsc",
];

/// Words that the pure folders must not hold, in any path.
const IMPURE_WORDS: [&str; 27] = [
    "Instant",
    "SystemTime",
    "tokio",
    "tracing",
    "rand",
    "getrandom",
    "nix",
    "rustix",
    "libc",
    "procfs",
    "hyper",
    "prometheus",
    "tempfile",
    "Mutex",
    "RwLock",
    "OnceLock",
    "LazyLock",
    "Condvar",
    "HashMap",
    "HashSet",
    "async",
    "await",
    "println",
    "eprintln",
    "print",
    "eprint",
    "dbg",
];

const LONGEST_FILE: usize = 450;
const LONGEST_MAIN: usize = 60;
/// Lines with code of a `mod.rs` outside the core: it is an index.
const LONGEST_INDEX: usize = 60;

/// The code of a Rust file, without comments, strings and test modules. Lines stay where they were.
pub(crate) fn code(source: &str) -> String {
    without_tests(&without_text(source))
}

/// Blanks comments, strings and characters.
fn without_text(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = text_end(bytes, at);
        match end {
            Some(end) => out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' })),
            None => out.push(bytes[at]),
        }
        at = end.unwrap_or(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment, string or character that begins at `at` ends.
fn text_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let after = |needle: &[u8], from: usize| {
        let found = rest[from..].windows(needle.len()).position(|window| window == needle);
        at + found.map_or(rest.len(), |found| from + found + needle.len())
    };
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => Some(after(b"\n", 0) - usize::from(rest.contains(&b'\n'))),
        [b'/', b'*', ..] => Some(after(b"*/", 2)),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string_end(rest).map(|length| at + length),
        [b'"', ..] => Some(at + quoted_end(rest, b'"')),
        [b'\'', b'\\', ..] => Some(at + quoted_end(rest, b'\'')),
        [b'\'', _, b'\'', ..] => Some(at + 3),
        _ => None,
    }
}

fn raw_string_end(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    (rest.get(1 + hashes) == Some(&b'"')).then(|| {
        let close: Vec<u8> = [vec![b'"'], vec![b'#'; hashes]].concat();
        let from = hashes + 2;
        let found = rest[from..].windows(close.len()).position(|window| window == close);
        found.map_or(rest.len(), |found| from + found + close.len())
    })
}

fn quoted_end(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    (at + 1).min(rest.len())
}

/// Blanks every item under `#[cfg(test)]`, with its other attributes.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let end = start + item_end(&out[start..]);
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// The length of the item at the start: up to its `;`, or to the brace that closes its first one.
fn item_end(code: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Every path in the code, `use` trees expanded: `use a::{b, c::d}` is `a::b` and `a::c::d`.
pub(crate) fn paths(code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = tree(&tokens, at, "", &mut paths).max(at + 1);
    }
    paths
}

fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while !rest.is_empty() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let first = rest.chars().next().map_or(1, char::len_utf8);
        let length = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            first
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads the path or tree at `at`, below `prefix`; returns where it ends.
fn tree(tokens: &[&str], mut at: usize, prefix: &str, paths: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    while let Some(token) = tokens.get(at).filter(|token| is_word(token)) {
        path = if path.is_empty() { (*token).to_owned() } else { format!("{path}::{token}") };
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    if tokens.get(at) == Some(&"{") && at > 0 && tokens[at - 1] == "::" {
        at += 1;
        while at < tokens.len() && tokens[at] != "}" {
            at = tree(tokens, at, &path, paths).max(at + 1);
        }
        return at + 1;
    }
    if path != prefix {
        paths.push(path);
    }
    at
}

/// The folder that a path of the module `module` (`["decide", "policy"]`) leads to, if it leads through
/// the root of the crate.
fn folder_of(path: &str, module: &[&str]) -> Option<String> {
    let mut words = path.split("::").peekable();
    let first = words.next()?;
    let ups = match first {
        "crate" | "mpswarden" => module.len(),
        "super" => 1 + std::iter::from_fn(|| words.next_if_eq(&"super")).count(),
        _ => return None,
    };
    (ups >= module.len()).then(|| words.next().map(str::to_owned)).flatten()
}

/// Arrows out of the module that its folder may not have.
fn wrong_arrows(module: &[&str], source: &str) -> Vec<String> {
    let Some((_, allowed)) = MAY_NAME.iter().find(|(folder, _)| *folder == module[0]) else {
        return vec![format!("the folder {} has no row in the table", module[0])];
    };
    let named = paths(&code(source)).into_iter().filter_map(|path| folder_of(&path, module));
    let mut wrong: Vec<_> = named
        .filter(|folder| folder != module[0] && !allowed.contains(&folder.as_str()))
        .map(|folder| format!("{} may not name {folder}", module[0]))
        .collect();
    wrong.dedup();
    wrong
}

/// What a pure module names and must not.
fn impurities(source: &str) -> Vec<String> {
    let impure = |path: &String| {
        IMPURE_PATHS.iter().any(|known| path == known || path.starts_with(&format!("{known}::")))
            || path.split("::").any(|word| IMPURE_WORDS.contains(&word) || word.starts_with("Atomic"))
    };
    paths(&code(source)).into_iter().filter(impure).collect()
}

/// Too long, or without a head that says what the file is.
fn misshapen(source: &str, longest: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = code(source).trim_end().lines().count();
    if lines > longest {
        wrong.push(format!("{lines} lines, {longest} at most: split it"));
    }
    if !source.starts_with("//! ") {
        wrong.push("begins without a `//!` head".to_owned());
    }
    wrong
}

pub(crate) fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(rust_files(&path)),
            false => files.extend(path.extension().is_some_and(|found| found == "rs").then_some(path)),
        }
    }
    files.sort();
    files
}

/// `src/core/decide/policy.rs` is `["decide", "policy"]`, `src/host/mod.rs` is `["host"]`.
fn module(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix("src/core").or_else(|_| file.strip_prefix("src")).unwrap().with_extension("");
    let mut words: Vec<_> = inside.iter().map(|word| word.to_str().unwrap().to_owned()).collect();
    words.pop_if(|word| word == "mod");
    words
}

/// The simulation, what build scripts run, and the libraries that they compile are crates of their own.
fn is_own_crate(file: &Path) -> bool {
    ["src/sim", "src/probe/lib", "src/probe/embed.rs"].iter().any(|folder| file.starts_with(folder))
}

fn is_test(module: &[String]) -> bool {
    module.iter().any(|word| word == "tests")
}

/// Every file below a folder of `src/` with its module and text; tests apart.
fn stages() -> Vec<(PathBuf, Vec<String>, String)> {
    let files = rust_files(Path::new("src")).into_iter().map(|file| {
        let source = fs::read_to_string(&file).unwrap();
        (file.clone(), module(&file), source)
    });
    let roots = [Path::new("src"), Path::new("src/core")];
    files.filter(|(file, module, _)| !file.parent().is_some_and(|at| roots.contains(&at)) && !is_test(module)).collect()
}

fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn told(file: &Path, wrong: Vec<String>) -> Vec<String> {
    wrong.into_iter().map(|wrong| format!("{}: {wrong}", file.display())).collect()
}

#[test]
fn every_folder_names_only_what_its_row_allows() {
    let wrong = stages().into_iter().filter(|(file, ..)| !is_own_crate(file)).flat_map(|(file, module, source)| {
        let module: Vec<&str> = module.iter().map(String::as_str).collect();
        told(&file, wrong_arrows(&module, &source))
    });
    assert_none(wrong.collect());
}

#[test]
fn the_pure_folders_touch_nothing() {
    let pure = stages().into_iter().filter(|(_, module, _)| PURE.contains(&module[0].as_str()));
    assert_none(pure.flat_map(|(file, _, source)| told(&file, impurities(&source))).collect());
}

#[test]
fn every_file_is_short_and_has_a_head() {
    let wrong = rust_files(Path::new("src")).into_iter().flat_map(|file| {
        let longest = if file == Path::new("src/main.rs") { LONGEST_MAIN } else { LONGEST_FILE };
        told(&file, misshapen(&fs::read_to_string(&file).unwrap(), longest))
    });
    assert_none(wrong.collect());
}

#[test]
fn every_mod_file_outside_the_core_is_an_index() {
    let indexes = rust_files(Path::new("src")).into_iter().filter(|file| file.ends_with("mod.rs"));
    let wrong = indexes.filter(|file| !file.starts_with("src/core")).filter_map(|file| {
        let code = code(&fs::read_to_string(&file).unwrap());
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        (lines > LONGEST_INDEX)
            .then(|| format!("{}: {lines} lines, {LONGEST_INDEX} at most: it is an index", file.display()))
    });
    assert_none(wrong.collect());
}

#[test]
fn the_arrows_checker_finds_every_way_to_leave_a_folder() {
    for source in [
        "use crate::host::nvml;",
        "use crate::{model::Moment, host};",
        "use crate::{\n    model,\n    host::{a, b},\n};",
        "use super::super::host;",
        "use super::super::{model, host::x};",
        "fn f() -> mpswarden::host::X { }",
        "fn f() { let x = crate::host::read(); }",
        "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::host;",
        "const C: char = '\"'; use crate::host; const D: char = '\"';",
    ] {
        assert_eq!(wrong_arrows(&["decide", "policy"], source), ["decide may not name host"], "{source}");
    }
    assert_eq!(wrong_arrows(&["decide"], "use super::host;"), ["decide may not name host"]);
    assert_eq!(wrong_arrows(&["model", "ids"], "use crate::decide;"), ["model may not name decide"]);
    assert_eq!(wrong_arrows(&["helpers"], ""), ["the folder helpers has no row in the table"]);
}

#[test]
fn the_arrows_checker_leaves_allowed_names_comments_strings_and_tests_alone() {
    for source in [
        "use crate::model::Moment; use super::ladder; use crate::decide::Policy;",
        "//! As [`crate::host`] has it.\n/// See crate::host.\n/* crate::host */",
        "const A: &str = \"crate::host\"; const B: &str = r#\"use \"crate::host\"#;",
        "#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests { use crate::host; fn f() { if a { } } }",
        "fn f<'a>(x: &'a str) { let _ = '\\''; }",
        "use super::host;",
    ] {
        assert!(wrong_arrows(&["decide", "policy"], source).is_empty(), "{source}");
    }
}

#[test]
fn the_purity_checker_finds_io_clocks_randomness_async_logs_and_locks() {
    for source in [
        "use std::fs;",
        "use std::{fmt, io::{self, Read}};",
        "let now = std::time::Instant::now();",
        "use std::time::{Duration, SystemTime};",
        "use std::collections::{BTreeMap, HashMap};",
        "use std::sync::{Arc, Mutex};",
        "use std::sync::atomic::AtomicU64;",
        "static N: AtomicU64 = 0;",
        "async fn f() {}",
        "tracing::info!(x);",
        "use tokio::sync::mpsc;",
        "println!(x);",
        "let r = rand::random();",
    ] {
        assert!(!impurities(source).is_empty(), "{source}");
    }
    assert!(impurities("use std::{fmt, time::Duration, collections::BTreeMap, sync::Arc};").is_empty());
    assert!(impurities("#[cfg(test)]\nmod tests { use std::fs; }").is_empty());
}

#[test]
fn the_shape_checker_finds_long_files_and_missing_heads() {
    assert!(misshapen("//! A head.\nfn f() {}\n", 2).is_empty());
    assert_eq!(misshapen("//! A head.\nfn f() {}\nfn g() {}\n", 2).len(), 1);
    assert_eq!(misshapen("use x;\n", 2), ["begins without a `//!` head"]);
    assert!(misshapen("//! A head.\n#[cfg(test)]\nmod tests {\n\n\n\n}\n", 2).is_empty());
}
