//! What a study leaves behind: its report, its numbers and the baselines. Each file is whole or not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config;
use crate::files;

use super::recommend::recommend;
use super::report::html;
use super::results::Study;

/// A study's directory.
#[derive(Debug)]
pub struct StudyFiles {
    directory: PathBuf,
}

impl StudyFiles {
    /// Makes it, so that no study is made in vain.
    pub fn in_directory(directory: &Path) -> io::Result<StudyFiles> {
        fs::create_dir_all(directory)?;
        nix::unistd::access(directory, nix::unistd::AccessFlags::W_OK)?;
        Ok(StudyFiles { directory: directory.to_owned() })
    }

    /// Writes the report for people, the numbers for programs with what they come to, and the baselines.
    pub fn write(&self, study: &Study) -> io::Result<()> {
        #[derive(Serialize)]
        struct Written<'a, R> {
            #[serde(flatten)]
            study: &'a Study,
            recommendation: R,
        }
        let written = Written { study, recommendation: recommend(study) };
        replace(&self.path("study.json"), &serde_json::to_vec_pretty(&written)?)?;
        replace(&self.path("study.html"), html(study).as_bytes())?;
        config::write_baselines(&self.path("baselines.json"), &study.baselines)
    }

    /// Where the report for people is.
    pub fn report(&self) -> PathBuf {
        self.path("study.html")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    files::replace(path, Path::new(&beside), content, 0o644, false)
}
