//! What is wrong with a configuration and where. Reads and decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

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
    /// The file is right and this machine lacks what it names.
    pub unavailable: bool,
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
    pub(super) fn of_file(file: &Path, what: String, hint: &str) -> Problems {
        let problem = Problem { place: None, what, hint: Some(hint.to_owned()), unavailable: false };
        Problems { file: file.to_owned(), list: vec![problem] }
    }

    /// Whether the file is right, and only this machine lacks what it names.
    pub fn are_of_this_machine(&self) -> bool {
        self.list.iter().all(|problem| problem.unavailable)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.list.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(Place { line, column }) = problem.place {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}", problem.what)?;
            if let Some(hint) = &problem.hint {
                write!(f, " ({hint})")?;
            }
        }
        Ok(())
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
        Problem { place: self.nearest(path), what, hint, unavailable: false }
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
