//! Where a program is that is named by a path, or by a name to be found on a PATH. Starts nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Why a program can't be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoProgram {
    /// Nothing is there, or nothing of that name on PATH may be executed.
    NotFound,
    /// The path leads to something that may not be executed.
    NotExecutable,
}

/// The program's path: as given, or the first on `path` that `may_run`.
pub fn find_program(program: &Path, path: &OsStr, may_run: impl Fn(&Path) -> bool) -> Result<PathBuf, NoProgram> {
    if program.components().count() > 1 || program.is_absolute() {
        return match program {
            _ if may_run(program) => Ok(program.to_owned()),
            _ if program.exists() => Err(NoProgram::NotExecutable),
            _ => Err(NoProgram::NotFound),
        };
    }
    let mut candidates = std::env::split_paths(path).map(|directory| directory.join(program));
    candidates.find(|candidate| may_run(candidate)).ok_or(NoProgram::NotFound)
}
