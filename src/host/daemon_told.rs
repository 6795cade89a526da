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

    /// The GPU that it was given, an index or a UUID, where that is one.
    fn only_gpu(&self) -> Option<String> {
        let visible = self.visible.as_deref()?.trim();
        let whole = visible.starts_with("GPU-") && visible.len() == 40 || visible.parse::<u32>().is_ok();
        whole.then(|| visible.to_owned())
    }

    /// The GPU that it is looked at on, an index or a UUID: the one that it was given, else the only one of these. Where
    /// there are none, the first: the start then says what is missing. The error: there are several.
    pub fn gpu_among(&self, gpus: &[GpuIdentity]) -> Result<String, String> {
        if let Some(given) = self.only_gpu() {
            return Ok(given);
        }
        let there: Vec<_> = gpus.iter().filter(|gpu| !gpu.absent).collect();
        match there.as_slice() {
            [one] => Ok(one.uuid.to_string()),
            [] => Ok("0".to_owned()),
            all => {
                let visible = self.visible.as_deref();
                let visible = visible.map_or_else(String::new, |visible| format!(", and it may use {visible}"));
                Err(format!("there are {} GPUs{visible}: a control daemon is looked at on one of them", all.len()))
            }
        }
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
    fn a_daemon_that_was_given_one_gpu_says_which() {
        let told = |visible: &str| DaemonTold { visible: Some(visible.to_owned()), logs: None }.only_gpu();
        assert_eq!(told("0"), Some("0".to_owned()));
        assert_eq!(told("0,1"), None);
        assert_eq!(told(""), None);
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
