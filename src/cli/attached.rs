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

/// The configuration for the daemon whose pipe directory this is. `gpus`: indexes or UUIDs, where some were given.
pub(super) fn attached(directory: &Path, gpus: &[String]) -> Result<Configuration, Problems> {
    let failed = |what: String, hint: &str| Problems::of_file(Path::new(NAME), what, hint);
    let directory = std::path::absolute(directory)
        .map_err(|error| failed(format!("{}: {error}", directory.display()), "name the daemon's pipe directory"))?;
    let told = Told::by(&directory);
    let gpus = match gpus {
        [] => told.gpus().map_or_else(|| all_gpus(&told), Ok),
        given => Ok(given.to_vec()),
    };
    let gpus = gpus.map_err(|why| failed(why, "--gpu INDEX or --gpu UUID says which one to look at"))?;
    let log = told.logs(&directory);
    config::parse(&text(&directory, &log, &gpus), Path::new(NAME))
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

    /// The GPUs that it was given, where each is named whole.
    fn gpus(&self) -> Option<Vec<String>> {
        let is_whole = |name: &&str| name.starts_with("GPU-") && name.len() == 40 || name.parse::<u32>().is_ok();
        let one = |name: &str| Some(name.trim()).filter(is_whole).map(str::to_owned);
        self.visible.as_deref()?.split(',').map(one).collect()
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

/// All that there are: a daemon that was given none serves each. Without any, or without a driver, the first: the start
/// then says what is missing.
fn all_gpus(told: &Told) -> Result<Vec<String>, String> {
    if let Some(visible) = told.visible.as_deref().filter(|visible| !visible.trim().is_empty()) {
        return Err(format!("the control daemon may use `{visible}`, which does not say which GPUs these are"));
    }
    let gpus = Driver::open_within(DEFAULT_NVML_LIBRARY, START_BOUND).map_or_else(|_| Vec::new(), |(_, gpus)| gpus);
    let there: Vec<String> = gpus.iter().filter(|gpu| !gpu.absent).map(|gpu| gpu.uuid.to_string()).collect();
    Ok(if there.is_empty() { vec!["0".to_owned()] } else { there })
}

fn text(directory: &Path, log: &Path, gpus: &[String]) -> String {
    let path = |path: &Path| Value::from(path.display().to_string()).to_string();
    let one =
        |gpu: &String| gpu.parse::<u32>().map_or_else(|_| Value::from(gpu.as_str()), |index| i64::from(index).into());
    let gpu = match gpus {
        [only] => one(only),
        all => Value::Array(all.iter().map(one).collect()),
    };
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
    fn a_daemon_that_was_given_gpus_says_which() {
        let told = |visible: &str| Told { visible: Some(visible.to_owned()), logs: None }.gpus();
        let some = |gpus: &[&str]| Some(gpus.iter().map(ToString::to_string).collect());
        assert_eq!((told("0"), told("0, 1")), (some(&["0"]), some(&["0", "1"])));
        assert_eq!((told(""), told("GPU-daa6eae7")), (None, None));
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
        let made = config::parse(
            &text(Path::new("/tmp/a \"b\"/pipe"), Path::new("/l"), &["0".to_owned(), "1".to_owned()]),
            Path::new(NAME),
        )
        .unwrap();
        let group = &made.groups[0];
        assert_eq!(group.gpus.len(), 2);
        assert_eq!((group.mode, group.mps.run_by), (crate::model::Mode::Observe, config::RunBy::Others));
        assert_eq!((group.mps.pipe_directory.as_path(), group.engines.len()), (Path::new("/tmp/a \"b\"/pipe"), 0));
    }
}
