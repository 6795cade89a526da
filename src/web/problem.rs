//! Why a web configuration is refused. It decides nothing.

use std::path::Path;

/// What is wrong with a web configuration, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Problem {
    /// `FILE`, or `FILE:LINE` where the line is known.
    pub place: String,
    /// A sentence with the cure.
    pub what: String,
}

impl Problem {
    /// A problem of a file, at a line that counts from 1; 0: about the whole file.
    pub(super) fn at(file: &Path, line: u64, what: impl Into<String>) -> Problem {
        let file = file.display();
        let place = if line == 0 { file.to_string() } else { format!("{file}:{line}") };
        Problem { place, what: what.into() }
    }
}
