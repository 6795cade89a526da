//! `run --attach DIRECTORY`: a configuration for the control daemon that is there, which others run. Looks at the daemon
//! and at the GPUs, and changes nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use toml::Value;

use crate::config::{self, Configuration, DEFAULT_NVML_LIBRARY, Problems};
use crate::host::daemon_holder::{Holder, holder};
use crate::host::nvml::{Driver, START_BOUND};
use crate::host::procfs::Procfs;

/// What stands in messages where a file has its name.
const NAME: &str = "--attach";
/// The program of the daemon, as it is found on PATH.
const BINARY: &str = "nvidia-cuda-mps-control";

/// The configuration for the daemon whose pipe directory this is. `gpu`: an index or a UUID, where it was given.
pub(super) fn attached(directory: &Path, gpu: Option<&str>) -> Result<Configuration, Problems> {
    let failed = |what: String, hint: &str| Problems::of_file(Path::new(NAME), what, hint);
    let directory = std::path::absolute(directory)
        .map_err(|error| failed(format!("{}: {error}", directory.display()), "name the daemon's pipe directory"))?;
    let told = Told::by(&directory);
    let gpu = match gpu.map(str::to_owned).or_else(|| told.only_gpu()) {
        Some(gpu) => gpu,
        None => {
            the_only_gpu(&told).map_err(|why| failed(why, "--gpu INDEX or --gpu UUID says which one to look at"))?
        }
    };
    let log = told.logs(&directory);
    config::parse(&text(&directory, &log, &gpu), Path::new(NAME))
}

/// What the daemon was told, where it is there and may be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    visible: Option<String>,
    logs: Option<String>,
}

impl Told {
    fn by(directory: &Path) -> Told {
        let Ok(Holder::Process(held, _)) = holder(&directory.join("control"), Path::new(BINARY)) else {
            return Told::default();
        };
        let procfs = Procfs::new(Path::new("/proc"));
        let variable = |name| procfs.environment(held.id.pid, name);
        Told { visible: variable("CUDA_VISIBLE_DEVICES"), logs: variable("CUDA_MPS_LOG_DIRECTORY") }
    }

    /// The GPU that it was given, where that is one.
    fn only_gpu(&self) -> Option<String> {
        let visible = self.visible.as_deref()?.trim();
        let whole = visible.starts_with("GPU-") && visible.len() == 40 || visible.parse::<u32>().is_ok();
        whole.then(|| visible.to_owned())
    }

    /// Where it writes its logs: what it was told may be the path in its own container, so the directory beside the pipe
    /// directory goes before it.
    fn logs(&self, directory: &Path) -> PathBuf {
        let beside = directory.parent().map(|parent| parent.join("log"));
        let told = self.logs.as_ref().map(PathBuf::from).filter(|told| told.is_absolute());
        let known = [beside.filter(|_| directory.ends_with("pipe")), told];
        let there = known.iter().flatten().find(|logs| logs.is_dir()).cloned();
        there.or_else(|| known.into_iter().flatten().next()).unwrap_or_else(|| config::LOGS_OF_OTHERS.into())
    }
}

/// The GPU where there is one only. Without any, or without a driver, the first: the start then says what is missing.
fn the_only_gpu(told: &Told) -> Result<String, String> {
    let gpus = Driver::open_within(DEFAULT_NVML_LIBRARY, START_BOUND).map_or_else(|_| Vec::new(), |(_, gpus)| gpus);
    let there: Vec<_> = gpus.iter().filter(|gpu| !gpu.absent).collect();
    match there.as_slice() {
        [one] => Ok(one.uuid.to_string()),
        [] => Ok("0".to_owned()),
        all => {
            let visible =
                told.visible.as_deref().map_or_else(String::new, |visible| format!(", and it may use {visible}"));
            Err(format!("there are {} GPUs{visible}: a control daemon is looked at on one of them", all.len()))
        }
    }
}

fn text(directory: &Path, log: &Path, gpu: &str) -> String {
    let path = |path: &Path| Value::from(path.display().to_string()).to_string();
    let gpu = if gpu.parse::<u32>().is_ok() { gpu.to_owned() } else { Value::from(gpu).to_string() };
    let state = state_directory(&slug(directory));
    let mut text = format!("state_directory = {}\n", path(&state));
    let _ = write!(
        text,
        "[[group]]\nname = {}\ngpu = {gpu}\nmode = \"observe\"\n[group.mps]\ncontrol = \"attach\"\n\
         pipe_directory = {}\nlog_directory = {}\n",
        Value::from(group_of(directory)),
        path(directory),
        path(log),
    );
    text
}

/// The name of the group: that of the directory, or of the one above it where it is only called `pipe`.
fn group_of(directory: &Path) -> String {
    let own = if directory.ends_with("pipe") { directory.parent() } else { Some(directory) };
    let name = own.and_then(Path::file_name).map(|name| slug(Path::new(name))).unwrap_or_default();
    if name.is_empty() { "mps".to_owned() } else { name }
}

/// Where state is kept: each daemon has its own, so that two can be looked after.
fn state_directory(name: &str) -> PathBuf {
    let set = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(given) = set("STATE_DIRECTORY") {
        return given;
    }
    let base = match geteuid().is_root() {
        true => PathBuf::from("/var/lib"),
        false => set("XDG_STATE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".local/state")))
            .unwrap_or_else(std::env::temp_dir),
    };
    base.join("mpswarden/attached").join(name)
}

/// A path as a name of letters, digits, `.`, `_` and `-`, of 64 at most.
fn slug(path: &Path) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = path.display().to_string().trim_matches('/').chars().map(fine).collect();
    name.chars().skip(name.chars().count().saturating_sub(64)).collect::<String>().trim_matches(['.', '-']).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_called_after_their_directories() {
        assert_eq!(group_of(Path::new("/tmp/nvidia-mps")), "nvidia-mps");
        assert_eq!(group_of(Path::new("/run/nvidia/mps/nvidia.com/gpu/pipe")), "gpu");
        assert_eq!(group_of(Path::new("/")), "mps");
    }

    #[test]
    fn a_daemon_that_was_given_one_gpu_says_which() {
        let told = |visible: &str| Told { visible: Some(visible.to_owned()), logs: None }.only_gpu();
        assert_eq!(told("0"), Some("0".to_owned()));
        assert_eq!(told("0,1"), None);
        assert_eq!(told(""), None);
        assert!(told("GPU-daa6eae7-01a7-671e-20e2-f7a899778d3c").is_some());
    }

    #[test]
    fn logs_are_looked_for_beside_the_pipe_directory_first() {
        let place = tempfile::tempdir().unwrap();
        let (pipe, log) = (place.path().join("pipe"), place.path().join("log"));
        let told = |logs: &str| Told { visible: None, logs: Some(logs.to_owned()) };
        assert_eq!(told("/in/its/container").logs(&place.path().join("other")), Path::new("/in/its/container"));
        assert_eq!(Told::default().logs(Path::new("/tmp/nvidia-mps")), Path::new("/var/log/nvidia-mps"));
        std::fs::create_dir(&log).unwrap();
        assert_eq!(told("/in/its/container").logs(&pipe), log);
    }

    #[test]
    fn what_is_made_of_a_directory_is_a_configuration_that_changes_nothing() {
        let made = config::parse(&text(Path::new("/tmp/a \"b\"/pipe"), Path::new("/l"), "0"), Path::new(NAME)).unwrap();
        let group = &made.groups[0];
        assert_eq!((group.mode, group.mps.run_by), (crate::model::Mode::Observe, config::RunBy::Others));
        assert_eq!((group.mps.pipe_directory.as_path(), group.engines.len()), (Path::new("/tmp/a \"b\"/pipe"), 0));
    }
}
