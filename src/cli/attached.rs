//! `run --attach DIRECTORY`: a configuration for the control daemon that is there, which others run. Looks at the daemon
//! and at the GPUs, and changes nothing.

use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::config::{
    Configuration, DEFAULT_NVML_LIBRARY, FoundDaemon, LOGS_OF_OTHERS, MPS_CONTROL, Problems, group_of, named,
};
use crate::host::daemon_told::DaemonTold;
use crate::host::nvml::{Driver, START_BOUND};
use crate::model::Mode;

/// What stands in messages where a file has its name.
const NAME: &str = "--attach";

/// The configuration for the daemon whose pipe directory this is. `gpus`: indexes or UUIDs, where some were given.
pub(super) fn attached(directory: &Path, gpus: &[String]) -> Result<Configuration, Problems> {
    let failed = |what: String, hint: &str| Problems::of_file(Path::new(NAME), what, hint);
    let directory = std::path::absolute(directory)
        .map_err(|error| failed(format!("{}: {error}", directory.display()), "name the daemon's pipe directory"))?;
    let told = DaemonTold::by(&directory, Path::new(MPS_CONTROL)).unwrap_or_default();
    let gpus = match gpus {
        [] => {
            let there =
                Driver::open_within(DEFAULT_NVML_LIBRARY, START_BOUND).map_or_else(|_| Vec::new(), |(_, gpus)| gpus);
            let hint = "--gpu INDEX or --gpu UUID, once for each, says which ones to look at";
            told.gpus_among(&there).map_err(|why| failed(why, hint))?
        }
        given => given.to_vec(),
    };
    let log_directory = told.logs(&directory, LOGS_OF_OTHERS);
    let daemon = FoundDaemon {
        name: group_of(&directory),
        gpus,
        pipe_directory: directory,
        log_directory,
        binary: MPS_CONTROL.into(),
    };
    let state_directory = state_directory(&named(&daemon.pipe_directory));
    daemon.configuration(Mode::Observe, &state_directory, Path::new(NAME))
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
