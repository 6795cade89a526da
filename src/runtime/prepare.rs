//! All that can refuse before anything is started: NVML, the GPUs, MPS, the directories, leftovers.

use std::time::Duration;

use crate::act::{self, OwnerMark};
use crate::config::Configuration;
use crate::decide::{Memory, Policy};
use crate::host::control::ControlClient;
use crate::host::leftovers::{self, Cleared, Lock, LockError};
use crate::host::nvml::Driver;
use crate::host::state_file::Loaded;
use crate::host::{child, clock, reaper};
use crate::model::{GpuIdentity, GroupLaunch};

use super::refusal::Refusal;

/// For the driver to answer at the start: it loads for seconds where no persistence daemon keeps it.
const NVML_BOUND: Duration = Duration::from_secs(30);
/// For what an earlier run left to be ended.
const LEFTOVERS_BOUND: Duration = Duration::from_secs(30);

/// Everything that the loop is built from.
pub(super) struct Prepared {
    pub policy: Policy,
    pub launches: Vec<GroupLaunch>,
    pub gpus: Vec<GpuIdentity>,
    pub driver: Driver,
    pub memory: Memory,
    pub owner: OwnerMark,
    /// Held until the end: one watchdog for one state directory.
    pub lock: Lock,
}

/// Looks at everything that must be there, and ends what an earlier run left. Runs within the runtime.
pub(super) async fn prepare(configuration: &Configuration, seed: u64) -> Result<Prepared, Refusal> {
    let (driver, gpus) = Driver::open_within(&configuration.nvml_library, NVML_BOUND).map_err(Refusal::unavailable)?;
    let (policy, launches) = configuration
        .resolve(&gpus, seed)
        .map_err(|problems| Refusal { status: problems.status(), why: problems.to_string() })?;
    find_binaries(&launches)?;
    let lock = leftovers::lock(&configuration.state_directory).map_err(|error| match &error {
        LockError::Io(path, source) => Refusal::io(&format!("use state_directory `{}`", path.display()), source),
        LockError::Held(..) => Refusal::unavailable(error),
    })?;
    let owner = OwnerMark { state_directory: configuration.state_directory.clone() };
    child::raise_open_files().map_err(|error| Refusal::io("raise RLIMIT_NOFILE", &error))?;
    reaper::adopt_orphans().map_err(|error| Refusal::io("become the reaper of engines' children", &error))?;
    clear_leftovers(&lock, configuration).await?;
    refuse_occupied(&launches).await?;
    let memory = remembered(&owner);
    Ok(Prepared { policy, launches, gpus, driver, memory, owner, lock })
}

pub(super) fn find_binaries(launches: &[GroupLaunch]) -> Result<(), Refusal> {
    for launch in launches {
        child::find_program(&launch.control.binary).map_err(|error| {
            Refusal::unavailable(format!(
                "group `{}`: {error}; it comes with NVIDIA's driver, see mps.binary",
                launch.name
            ))
        })?;
    }
    Ok(())
}

/// A process of an earlier run that does not die holds its GPU memory: better say so than start beside it.
async fn clear_leftovers(lock: &Lock, configuration: &Configuration) -> Result<(), Refusal> {
    let deadline = clock::now().after(LEFTOVERS_BOUND);
    let Cleared { ended, remaining, trouble } = leftovers::clear(lock, &configuration.state_directory, deadline)
        .await
        .map_err(|error| Refusal::io("end what an earlier run left", &error))?;
    if let Some(trouble) = trouble {
        tracing::warn!("{trouble}");
    }
    if !ended.is_empty() {
        let pids: Vec<String> = ended.iter().map(ToString::to_string).collect();
        tracing::warn!("ended what an earlier run left: processes {}", pids.join(", "));
    }
    if remaining.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = remaining.iter().map(|left| format!("{} (state {})", left.process, left.state)).collect();
    let list = list.join(", ");
    Err(Refusal::unavailable(format!("an earlier run left processes that do not die: {list}; state D needs a reboot")))
}

pub(super) async fn refuse_occupied(launches: &[GroupLaunch]) -> Result<(), Refusal> {
    for launch in launches {
        let control = ControlClient::new(&launch.control.binary, &launch.control.pipe_directory);
        if let Some(why) = leftovers::occupied(&control).await {
            let cure = "stop that daemon, or give the group another mps.pipe_directory";
            return Err(Refusal::unavailable(format!("group `{}`: {why}; {cure}", launch.name)));
        }
    }
    Ok(())
}

/// What the last run saved, if it was of this boot. A memory that can't be read costs budgets, no more.
fn remembered(owner: &OwnerMark) -> Memory {
    let parsed = match act::saved_memory(&owner.state_directory) {
        Ok(Loaded::Saved(text)) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Ok(Loaded::Nothing | Loaded::OtherBoot) => Ok(Memory::default()),
        Ok(Loaded::Bad { kept_as, why }) => Err(format!("{why}; kept as {}", kept_as.display())),
        Err(error) => Err(error.to_string()),
    };
    parsed.unwrap_or_else(|why| {
        tracing::warn!("starting without the last run's memory: {why}");
        Memory::default()
    })
}
