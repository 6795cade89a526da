//! What a control daemon of others was told when it was started: its GPUs, and where it writes its logs. Reads /proc, as
//! far as that may be read.

use std::path::{Path, PathBuf};

use super::daemon_holder::{Holder, holder};
use super::procfs::Procfs;
use crate::model::GpuIdentity;

/// What a control daemon was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonTold {
    /// Value of its CUDA_VISIBLE_DEVICES.
    pub visible: Option<String>,
    /// Value of its CUDA_MPS_LOG_DIRECTORY.
    pub logs: Option<String>,
}

impl DaemonTold {
    /// What the daemon of this pipe directory was told; `binary`: how a control daemon is called; `None`: there is none, or it can't be seen from here.
    pub fn by(pipe_directory: &Path, binary: &Path) -> Option<DaemonTold> {
        let Ok(Holder::Process(held, _)) = holder(&pipe_directory.join("control"), binary) else {
            return None;
        };
        let procfs = Procfs::new(Path::new("/proc"));
        let variable = |name| procfs.environment(held.id.pid, name);
        Some(DaemonTold { visible: variable("CUDA_VISIBLE_DEVICES"), logs: variable("CUDA_MPS_LOG_DIRECTORY") })
    }

    /// The GPUs that it was given, indexes or UUIDs, where each is named whole.
    fn gpus(&self) -> Option<Vec<String>> {
        let is_whole = |name: &&str| name.starts_with("GPU-") && name.len() == 40 || name.parse::<u32>().is_ok();
        let one = |name: &str| Some(name.trim()).filter(is_whole).map(str::to_owned);
        self.visible.as_deref()?.split(',').map(one).collect()
    }

    /// The GPUs that it is looked at on, indexes or UUIDs: those that it was given, else all of these, since it serves each.
    /// Where there are none, the first: the start then says what is missing. The error: it was given some, and not said
    /// which.
    pub fn gpus_among(&self, gpus: &[GpuIdentity]) -> Result<Vec<String>, String> {
        if let Some(given) = self.gpus() {
            return Ok(given);
        }
        if let Some(visible) = self.visible.as_deref().filter(|visible| !visible.trim().is_empty()) {
            return Err(format!("the control daemon may use `{visible}`, which does not say which GPUs these are"));
        }
        let there: Vec<String> = gpus.iter().filter(|gpu| !gpu.absent).map(|gpu| gpu.uuid.to_string()).collect();
        Ok(if there.is_empty() { vec!["0".to_owned()] } else { there })
    }

    /// Where it writes its logs, `usual` where nothing says so. What it was told may be the path in its own container, so
    /// the directory beside the pipe directory goes before it.
    pub fn logs(&self, pipe_directory: &Path, usual: &str) -> PathBuf {
        let beside = pipe_directory.parent().map(|parent| parent.join("log"));
        let told = self.logs.as_ref().map(PathBuf::from).filter(|told| told.is_absolute());
        let known = [beside.filter(|_| pipe_directory.ends_with("pipe")), told];
        let there = known.iter().flatten().find(|logs| logs.is_dir()).cloned();
        there.or_else(|| known.into_iter().flatten().next()).unwrap_or_else(|| usual.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const USUAL: &str = "/var/log/nvidia-mps";

    #[test]
    fn a_daemon_that_was_given_gpus_says_which() {
        let told = |visible: &str| DaemonTold { visible: Some(visible.to_owned()), logs: None }.gpus();
        let some = |gpus: &[&str]| Some(gpus.iter().map(ToString::to_string).collect());
        assert_eq!((told("0"), told("0, 1")), (some(&["0"]), some(&["0", "1"])));
        assert_eq!((told(""), told("GPU-daa6eae7")), (None, None));
        assert!(told("GPU-daa6eae7-01a7-671e-20e2-f7a899778d3c").is_some());
    }

    #[test]
    fn logs_are_looked_for_beside_the_pipe_directory_first() {
        let place = tempfile::tempdir().unwrap();
        let (pipe, log) = (place.path().join("pipe"), place.path().join("log"));
        let told = |logs: &str| DaemonTold { visible: None, logs: Some(logs.to_owned()) };
        assert_eq!(told("/in/its/container").logs(&place.path().join("other"), USUAL), Path::new("/in/its/container"));
        assert_eq!(DaemonTold::default().logs(Path::new("/tmp/nvidia-mps"), USUAL), Path::new(USUAL));
        std::fs::create_dir(&log).unwrap();
        assert_eq!(told("/in/its/container").logs(&pipe, USUAL), log);
    }
}
