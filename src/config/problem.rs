//! What is wrong with a configuration and where. Reads and decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::text::secrets::Secrets;

/// A place in a file, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the file, if it has a place there.
    pub place: Option<Place>,
    /// The thing and what is wrong with it.
    pub what: String,
    /// The cure, if one is known.
    pub hint: Option<String>,
    /// How much it weighs.
    pub weight: Weight,
}

/// How much a problem weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The file is wrong.
    Mistake,
    /// The file is right and this machine lacks what it names.
    Unavailable,
    /// It may not be meant, or would fail later; nothing is refused for it.
    Warning,
}

impl Problem {
    /// The problem as a warning that says that `run` and `reload` take it for more.
    pub(super) fn for_check(self) -> Problem {
        let refused = "`run` and `reload` refuse the file as it is";
        let hint = self.hint.map_or_else(|| refused.to_owned(), |hint| format!("{hint}; {refused}"));
        Problem { weight: Weight::Warning, hint: Some(hint), ..self }
    }

    /// The problem in one line: its place in `file`, what is wrong, and the cure in brackets.
    fn line(&self, file: &Path) -> String {
        let place = self.place.map(|Place { line, column }| format!("{line}:{column}:")).unwrap_or_default();
        let warning = if self.weight == Weight::Warning { " warning:" } else { "" };
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}:{place}{warning} {}{hint}", file.display(), self.what)
    }
}

/// Everything that is wrong with one file, in its order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// The problems, each with its place and cure.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Ok, if nothing is wrong.
    pub(super) fn or<T>(file: &Path, mut list: Vec<Problem>, value: T) -> Result<T, Problems> {
        if list.is_empty() {
            return Ok(value);
        }
        list.sort_by_key(|problem| problem.place);
        list.dedup();
        Err(Problems { file: file.to_owned(), list })
    }

    /// One problem of the whole file.
    pub fn of_file(file: &Path, what: String, hint: &str) -> Problems {
        let problem = Problem { place: None, what, hint: Some(hint.to_owned()), weight: Weight::Mistake };
        Problems { file: file.to_owned(), list: vec![problem] }
    }

    /// Whether the file is right, and only this machine lacks what it names.
    pub fn are_of_this_machine(&self) -> bool {
        self.list.iter().all(|problem| problem.weight == Weight::Unavailable)
    }
}

/// What is refused may hold a secret (a URL with its password): none is shown.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.list.iter().map(|problem| problem.line(&self.file)).collect();
        let secrets = Secrets::new().map_err(|_| fmt::Error)?;
        f.write_str(&secrets.text(&lines.join("\n")))
    }
}

impl std::error::Error for Problems {}

/// Where each key of a configuration stands, by its path (`group[0].engine[1].user`), so that what is
/// checked after the reading can still name file and line.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The file.
    pub file: PathBuf,
    /// Places by the path of their key.
    pub at: BTreeMap<String, Place>,
}

impl Places {
    /// A problem at the key of that path, else at the nearest table that holds it.
    pub(super) fn problem(&self, path: &str, what: String, hint: &str) -> Problem {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Problem { place: self.nearest(path), what, hint, weight: Weight::Mistake }
    }

    /// A warning of the same kind.
    pub(super) fn warning(&self, path: &str, what: String, hint: &str) -> Problem {
        Problem { weight: Weight::Warning, ..self.problem(path, what, hint) }
    }

    /// The place of that path, else of the nearest table that holds it.
    pub(super) fn nearest(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.at.get(path) {
                return Some(*place);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}
