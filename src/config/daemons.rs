//! Groups made of control daemons that others run and that were found. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::check;
use super::configuration::{Configuration, GroupConfiguration};
use super::keys::parse;
use super::problem::Problems;
use crate::model::Mode;

/// The longest name of a group, in bytes.
const LONGEST_NAME: usize = 64;
/// Name of a group where its directory has none.
const NAMELESS: &str = "mps";

/// Control daemon that others run, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDaemon {
    /// Name of its group.
    pub name: String,
    /// GPUs of its group: indexes or UUIDs; one at least.
    pub gpus: Vec<String>,
    /// Directory of its sockets, CUDA_MPS_PIPE_DIRECTORY.
    pub pipe_directory: PathBuf,
    /// Directory of its logs.
    pub log_directory: PathBuf,
    /// Program that asks it, a name or a path.
    pub binary: PathBuf,
}

impl FoundDaemon {
    /// The configuration of its group, in `mode`. `named`: what stands in messages where a file has its name.
    pub fn configuration(&self, mode: Mode, state_directory: &Path, named: &Path) -> Result<Configuration, Problems> {
        let path = |path: &Path| Value::from(path.display().to_string());
        let one = |gpu: &String| gpu.parse::<u32>().map_or_else(|_| Value::from(gpu.as_str()), Value::from);
        let gpu = match self.gpus.as_slice() {
            [only] => one(only),
            all => Value::Array(all.iter().map(one).collect()),
        };
        let mps = Table::from_iter([
            ("control".to_owned(), Value::from("attach")),
            ("binary".to_owned(), path(&self.binary)),
            ("pipe_directory".to_owned(), path(&self.pipe_directory)),
            ("log_directory".to_owned(), path(&self.log_directory)),
        ]);
        let group = Table::from_iter([
            ("name".to_owned(), Value::from(self.name.as_str())),
            ("gpu".to_owned(), gpu),
            ("mode".to_owned(), Value::from(mode.as_str())),
            ("mps".to_owned(), Value::Table(mps)),
        ]);
        let whole = Table::from_iter([
            ("state_directory".to_owned(), path(state_directory)),
            ("group".to_owned(), Value::Array(vec![Value::Table(group)])),
        ]);
        parse(&whole.to_string(), named)
    }
}

/// Name of the group of a pipe directory: that of the directory, or of the one above it where it is only called `pipe`.
pub fn group_of(directory: &Path) -> String {
    let own = if directory.ends_with("pipe") { directory.parent() } else { Some(directory) };
    named(own.and_then(Path::file_name).map(Path::new).unwrap_or(Path::new("")))
}

/// A path as a name of a group: letters, digits, `.`, `_` and `-`, of 64 bytes at most.
pub fn named(path: &Path) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = path.display().to_string().trim_matches('/').chars().map(fine).collect();
    let name = name[name.len().saturating_sub(LONGEST_NAME)..].trim_matches(['.', '-']).to_owned();
    if name.is_empty() { NAMELESS.to_owned() } else { name }
}

impl Configuration {
    /// The configuration with a group for each of these daemons, but for those that it can't have, with the reasons.
    pub fn with_daemons(&self, daemons: &[FoundDaemon]) -> (Configuration, Vec<(FoundDaemon, String)>) {
        let (mut whole, mut refused) = (self.clone(), Vec::new());
        for daemon in daemons {
            match whole.group_for(daemon) {
                Ok(group) => whole.groups.push(group),
                Err(why) => refused.push((daemon.clone(), why)),
            }
        }
        (whole, refused)
    }

    /// The pipe directories of the groups that the file names.
    pub fn pipe_directories(&self) -> BTreeSet<&Path> {
        self.groups.iter().map(|group| group.mps.pipe_directory.as_path()).collect()
    }

    fn group_for(&self, daemon: &FoundDaemon) -> Result<GroupConfiguration, String> {
        let own = daemon
            .configuration(self.discover.mode, &self.state_directory, &self.places.file)
            .map_err(|problems| problems.to_string())?;
        let group = own.groups.into_iter().next().ok_or("it makes no group")?;
        let mut beside = self.clone();
        beside.groups.push(group.clone());
        match check::contradictions(&beside).into_iter().next() {
            None => Ok(group),
            Some(problem) => Err(problem.what),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::config::RunBy;

    fn daemon(name: &str, pipe: &str) -> FoundDaemon {
        let pipe_directory = PathBuf::from(pipe);
        let log_directory = pipe_directory.with_file_name("log");
        let binary = "nvidia-cuda-mps-control".into();
        FoundDaemon { name: name.to_owned(), gpus: vec!["0".to_owned()], pipe_directory, log_directory, binary }
    }

    #[test]
    fn groups_are_called_after_their_directories() {
        assert_eq!(group_of(Path::new("/tmp/nvidia-mps")), "nvidia-mps");
        assert_eq!(group_of(Path::new("/run/nvidia/mps/nvidia.com/gpu/pipe")), "gpu");
        assert_eq!(group_of(Path::new("/")), "mps");
        assert_eq!(named(Path::new("nvidia.com/gpu")), "nvidia.com-gpu");
        assert_eq!(named(Path::new(&"ä/".repeat(200))), "mps", "no letter of a name");
        assert!(named(Path::new(&"long/".repeat(200))).len() <= LONGEST_NAME);
    }

    #[test]
    fn what_is_made_of_a_daemon_is_a_configuration_that_changes_nothing() {
        let odd = daemon("gpu", "/tmp/a \"b\"/pipe");
        let made = odd.configuration(Mode::Observe, Path::new("/s"), Path::new("--attach")).unwrap();
        let group = &made.groups[0];
        assert_eq!((group.mode, group.mps.run_by), (Mode::Observe, RunBy::Others));
        assert_eq!((group.mps.pipe_directory.as_path(), group.engines.len()), (odd.pipe_directory.as_path(), 0));
    }

    #[test]
    fn a_daemon_that_takes_what_another_group_has_gets_none_with_the_reason() {
        let file = "[discover]\npipe_directories = [\"/run/*/pipe\"]\nmode = \"enforce\"\n";
        let configuration = parse(file, Path::new("f")).unwrap();
        let found = [daemon("a", "/run/a/pipe"), daemon("a", "/run/b/pipe"), daemon("c", "/run/a/pipe")];
        let (whole, refused) = configuration.with_daemons(&found);
        let names: Vec<_> = whole.groups.iter().map(|group| (group.name.as_str(), group.mode)).collect();
        assert_eq!(names, [("a", Mode::Enforce)]);
        assert_eq!(refused.len(), 2, "{refused:?}");
    }
}
