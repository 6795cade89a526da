//! Control daemons of others that come and go: those that are there now, by the patterns of the configuration. Reads
//! directories and /proc, so it is called on a thread that may wait.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use glob::glob_with;

use crate::config::{
    Configuration, DirectoryPattern, Discover, EACH_PART, FoundDaemon, LOGS_OF_OTHERS, group_of, named,
};
use crate::host::daemon_told::DaemonTold;
use crate::model::{GpuIdentity, Moment};

/// Time after which one is forgotten whose directory is gone: its owner may only have started it anew.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Daemons that are looked after; further ones are not.
const MOST: usize = 128;
/// Directories that the patterns may name, so that no look goes on without end.
const MOST_DIRECTORIES: usize = 4096;

/// The daemons that were found.
#[derive(Clone, Debug, Default)]
pub(super) struct Daemons {
    known: BTreeMap<PathBuf, Known>,
    /// Directories whose daemon can't be looked after, with the reason: it is logged once.
    refused: BTreeMap<PathBuf, String>,
}

#[derive(Clone, Debug)]
struct Known {
    daemon: FoundDaemon,
    /// Time since which its directory has been gone.
    gone: Option<Moment>,
}

impl Daemons {
    /// Those that are there now, by the configuration's patterns. `gpus`: those of this machine; asked only where a daemon
    /// is new. One whose socket is dead is still its group's: whoever runs it may start it again.
    pub(super) fn look(
        &mut self,
        configuration: &Configuration,
        gpus: &impl Deref<Target = Vec<GpuIdentity>>,
        now: Moment,
    ) {
        let configured = configuration.pipe_directories();
        let Discover { pipe_directories: patterns, binary, .. } = &configuration.discover;
        self.known.retain(|directory, known| {
            known.gone = (!directory.is_dir()).then(|| known.gone.unwrap_or(now));
            let is_wanted = patterns.iter().any(|pattern| pattern.matches(directory));
            is_wanted && known.gone.is_none_or(|since| now.since(since) < KEPT_FOR)
        });
        self.refused.retain(|directory, _| directory.is_dir());
        for pattern in patterns {
            for directory in directories(pattern) {
                let is_new = !self.known.contains_key(&directory) && !configured.contains(directory.as_path());
                if is_new && self.known.len() < MOST {
                    let found = found(pattern, &directory, binary, gpus);
                    found.into_iter().for_each(|made| self.take(made, directory.clone()));
                }
            }
        }
    }

    /// The daemons, in the order of their directories.
    pub(super) fn list(&self) -> Vec<FoundDaemon> {
        self.known.values().map(|known| known.daemon.clone()).collect()
    }

    /// The configuration with what was found. What can't be looked after is logged once.
    pub(super) fn added_to(&mut self, configuration: &Configuration) -> Configuration {
        let (whole, refused) = configuration.with_daemons(&self.list());
        for (daemon, why) in refused {
            self.known.remove(&daemon.pipe_directory);
            self.refuse(daemon.pipe_directory, why);
        }
        whole
    }

    fn take(&mut self, made: Result<FoundDaemon, String>, directory: PathBuf) {
        match made {
            Err(why) => self.refuse(directory, why),
            Ok(daemon) => {
                self.refused.remove(&directory);
                self.known.insert(directory, Known { daemon, gone: None });
            }
        }
    }

    fn refuse(&mut self, directory: PathBuf, why: String) {
        if self.refused.get(&directory) != Some(&why) {
            tracing::warn!("the control daemon of {} is not looked after: {why}", directory.display());
            self.refused.insert(directory, why);
        }
    }
}

/// The daemon of a directory, or why it can't be looked after; `None`: there is none.
fn found(
    pattern: &DirectoryPattern,
    directory: &Path,
    binary: &Path,
    gpus: &impl Deref<Target = Vec<GpuIdentity>>,
) -> Option<Result<FoundDaemon, String>> {
    let told = DaemonTold::by(directory, binary)?;
    let open = pattern.open_parts(directory);
    let name = if open == Path::new("") { group_of(directory) } else { named(&open) };
    Some(told.gpus_among(gpus).map(|gpus| FoundDaemon {
        name,
        gpus,
        pipe_directory: directory.to_owned(),
        log_directory: told.logs(directory, LOGS_OF_OTHERS),
        binary: binary.to_owned(),
    }))
}

/// The directories of a pattern. What can't be read is none.
fn directories(pattern: &DirectoryPattern) -> Vec<PathBuf> {
    let found = glob_with(pattern.as_str(), EACH_PART).into_iter().flatten().flatten();
    found.filter(|path| path.is_dir()).take(MOST_DIRECTORIES).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::cell::LazyCell;
    use std::fs;

    use super::*;
    use crate::config::parse;

    #[test]
    fn a_daemon_is_kept_while_its_directory_is_there_and_for_a_minute_after_it() {
        let place = tempfile::tempdir().unwrap();
        let pipe_directory = place.path().join("a/pipe");
        fs::create_dir_all(&pipe_directory).unwrap();
        let file = format!("[discover]\npipe_directories = [\"{}/*/pipe\"]\n", place.path().display());
        let configuration = parse(&file, Path::new("f")).unwrap();
        let mut daemons = Daemons::default();
        let daemon = FoundDaemon {
            name: "a".to_owned(),
            gpus: vec!["0".to_owned()],
            pipe_directory: pipe_directory.clone(),
            log_directory: place.path().join("a/log"),
            binary: "b".into(),
        };
        daemons.known.insert(pipe_directory.clone(), Known { daemon, gone: None });
        let mut kept_at = |seconds| {
            daemons.look(&configuration, &LazyCell::new(Vec::new), Moment::ZERO.after(Duration::from_secs(seconds)));
            daemons.list().len()
        };
        assert_eq!(kept_at(1000), 1, "nobody is bound at its socket, and it may be started again");
        fs::remove_dir_all(&pipe_directory).unwrap();
        assert_eq!(kept_at(1001), 1);
        fs::create_dir_all(&pipe_directory).unwrap();
        assert_eq!(kept_at(1062), 1, "it is there again");
        fs::remove_dir_all(&pipe_directory).unwrap();
        assert_eq!((kept_at(1063), kept_at(1122), kept_at(1123)), (1, 1, 0));
    }
}
