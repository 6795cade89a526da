//! Every command that a page tells people to type is one: runbooks are read at night.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use mpswarden::cli::{Arguments, ExitStatus};

/// All pages.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["docs", "docs/runbooks", "alerts"].map(|folder| root.join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let pages = entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.chain([root.join("README.md")]).collect()
}

/// Commands in backticks, and lines of code that begin with one.
fn commands(page: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            let typed = line.trim_start_matches("$ ");
            found.extend(typed.starts_with("mpswarden ").then(|| typed.split(" #").next().unwrap().trim().to_owned()));
        } else {
            let quoted = line.split('`').skip(1).step_by(2).filter(|text| text.starts_with("mpswarden "));
            found.extend(quoted.map(str::to_owned));
        }
    }
    found
}

/// A command's words with names in place of what stands for them.
fn typed(command: &str) -> Vec<OsString> {
    let words = command.split_whitespace().map(|word| match word {
        "GROUP" => "small-llms",
        "GROUP/ENGINE" => "small-llms/qwen-a",
        "..." | "TEXT" | "ID" | "FILE" => "it",
        word => word,
    });
    words.map(OsString::from).collect()
}

#[test]
fn every_command_that_a_page_shows_is_one() {
    let mut seen = 0;
    for page in pages() {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            seen += 1;
            let bare = matches!(command.as_str(), "mpswarden run" | "mpswarden check" | "mpswarden study");
            let read = Arguments::read(&typed(&command));
            let is_command = read.is_ok() || matches!(read, Err(ExitStatus::Success));
            assert!(bare || is_command, "{}: `{command}` is no command", page.display());
        }
    }
    assert!(seen > 80, "only {seen} commands were found");
}

/// Files and folders that a page names in backticks: from the root, or the end of a path.
fn named_files(page: &str) -> Vec<&str> {
    let roots = ["src/", "tests/", "benches/", "docs/", "alerts/", "dashboards/"];
    let names = |word: &&str| {
        let path = word.ends_with(".rs") || roots.iter().any(|root| word.starts_with(root));
        path && !word.contains(['<', '*', ' ', '{'])
    };
    page.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(names).collect()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn every_file_that_the_page_of_the_architecture_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let files: Vec<PathBuf> =
        ["src", "tests", "benches"].iter().flat_map(|name| files_below(&root.join(name))).collect();
    let there = |name: &&str| root.join(name).exists() || files.iter().any(|file| file.ends_with(name));
    let (there, missing): (Vec<&str>, Vec<&str>) = named_files(&page).into_iter().partition(there);
    assert_eq!(missing, Vec::<&str>::new());
    assert!(there.len() > 40, "{there:?}");
}
