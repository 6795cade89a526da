//! The file of a study, read back.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::files::{self, Links};
use crate::study::results::Study;

/// Most bytes of a study's file: 10 000 runs have some 10 MB.
const MOST: u64 = 256 << 20;
/// Name of a study's file in its directory.
const NAME: &str = "study.json";

/// A study and where it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyFile {
    /// Where it was read.
    pub path: PathBuf,
    /// The study.
    pub study: Study,
}

/// Reads a study from its file, or from the directory that has it. An error says what is there instead.
pub fn read_study(path: &Path) -> Result<StudyFile, String> {
    let path = if path.is_dir() { path.join(NAME) } else { path.to_owned() };
    let shown = path.display();
    let bytes = files::read(&path, Links::Followed, MOST).map_err(|error| {
        format!("{shown} can't be read: {error}; name the {NAME} that `mpswarden study` wrote, or its directory")
    })?;
    let study = serde_json::from_slice(&bytes).map_err(|error| format!("{shown} {}", no_study(&bytes, &error)))?;
    Ok(StudyFile { path, study })
}

/// What is wrong with a file that is not understood.
fn no_study(bytes: &[u8], error: &serde_json::Error) -> String {
    /// What every version of a study has.
    #[derive(Deserialize)]
    struct Stamp {
        version: String,
        #[serde(rename = "cells")]
        _cells: Vec<serde::de::IgnoredAny>,
    }
    let stamp: Option<Stamp> = serde_json::from_slice(bytes).ok();
    match stamp {
        Some(Stamp { version, .. }) => format!(
            "is a study of mpswarden {version}, and this is {}: it is not understood ({error}). Compare it with that \
             version, or study again",
            env!("CARGO_PKG_VERSION")
        ),
        None => format!("is no study: {error}; name the {NAME} that `mpswarden study` wrote, or its directory"),
    }
}
