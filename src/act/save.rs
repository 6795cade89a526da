//! Keeps the core's memory in the state directory, whole or not at all. Its content is the core's business.

use std::io;
use std::path::{Path, PathBuf};

use super::shared::{OwnerMark, failed};
use crate::host::state_file::{self, Loaded};
use crate::model::Outcome;

/// Done when it returns: what follows in the same batch comes after it.
pub(super) fn save(owner: &OwnerMark, memory: &str) -> Outcome {
    let path = path_in(&owner.state_directory);
    match state_file::save(&path, &memory) {
        Ok(()) => Outcome::Done,
        Err(error) => failed(format!("can't save {}: {error}; free space or mend its permissions", path.display())),
    }
}

/// What was saved last in this boot.
pub fn saved_memory(state_directory: &Path) -> io::Result<Loaded<String>> {
    state_file::load(&path_in(state_directory))
}

fn path_in(state_directory: &Path) -> PathBuf {
    state_directory.join("memory.json")
}
