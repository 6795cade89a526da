//! All that can refuse, or hold a group, before anything is started: NVML, the GPUs, MPS, the directories, leftovers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::act::{self, OwnerMark};
use crate::cli::ExitStatus;
use crate::config::{Configuration, Problems, Resolved};
use crate::decide::{Memory, Policy};
use crate::host::leftovers::{self, Cleared, Lock, LockError};
use crate::host::nvml::{Driver, NvmlError, START_BOUND};
use crate::host::pipe_directory::{self, InTheWay};
use crate::host::state_file::Loaded;
use crate::host::{child, clock, reaper};
use crate::model::{DomainId, GpuIdentity, GpuSet, GroupLaunch, GroupName};

use super::descriptors::{self, Share};
use super::refusal::Refusal;
use super::trust;

/// Upper bound for ending what an earlier run left.
const LEFTOVERS_BOUND: Duration = Duration::from_secs(30);

/// Upper bound for asking once more for a GPU that was not identified.
const ASK_BOUND: Duration = Duration::from_secs(5);

/// Why groups can't be started as things stand, by their names.
pub(super) type Blocked = BTreeMap<GroupName, String>;

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
    /// What may be opened.
    pub open_files: Share,
}

/// What was found before anything was done that can't be undone.
pub(super) struct Found {
    policy: Policy,
    launches: Vec<GroupLaunch>,
    gpus: Vec<GpuIdentity>,
    driver: Driver,
    lock: Lock,
    open_files: Share,
    blocked: Blocked,
}

/// Looks at everything that must be there. What only one group lacks holds that group; it is refused where no group could
/// be started. Ends and starts nothing: engines that an earlier run left serve on where this one can't.
pub(super) fn look(configuration: &Configuration, seed: u64) -> Result<Found, Refusal> {
    let (driver, gpus) = Driver::open_within(&configuration.nvml_library, START_BOUND).map_err(Refusal::unavailable)?;
    let refused = |problems: Problems| Refusal { status: ExitStatus::of(&problems), why: problems.to_string() };
    let resolved = configuration.resolve_for_those_there(&gpus, seed).map_err(refused)?;
    let Resolved { policy, launches, absent } = resolved;
    let mut blocked = not_listed(&driver, &launches, absent);
    blocked.extend(without_binaries(&launches));
    refuse_if_all(&blocked, &launches)?;
    trust::refuse(configuration, &launches)?;
    let open_files = child::raise_open_files().map_err(|error| Refusal::io("raise RLIMIT_NOFILE", &error))?;
    let engines = launches.iter().map(|launch| launch.engines.len()).sum();
    let (open_files, low) = descriptors::share(open_files, engines).map_err(Refusal::unavailable)?;
    low.iter().for_each(|low| tracing::warn!("{low}"));
    let lock = leftovers::lock(&configuration.state_directory).map_err(|error| match &error {
        LockError::Io(path, source) => Refusal::io(&format!("use state_directory `{}`", path.display()), source),
        LockError::Held(..) => Refusal::unavailable(error),
    })?;
    act::prepare(&configuration.state_directory, &launches).map_err(|error| Refusal::io_of(&error, &error.error))?;
    reaper::adopt_orphans().map_err(|error| Refusal::io("become the reaper of engines' children", &error))?;
    Ok(Found { policy, launches, gpus, driver, lock, open_files, blocked })
}

/// Ends what an earlier run left, and loads what it remembered. Runs within the runtime.
pub(super) async fn take_over(configuration: &Configuration, found: Found) -> Result<Prepared, Refusal> {
    let Found { policy, launches, gpus, driver, lock, open_files, mut blocked } = found;
    let owner = OwnerMark { state_directory: configuration.state_directory.clone() };
    clear_leftovers(&lock, configuration).await?;
    for (group, why) in occupied(&launches) {
        blocked.entry(group).or_insert(why);
    }
    refuse_if_all(&blocked, &launches)?;
    for (group, why) in &blocked {
        tracing::error!("group `{group}` can't be started now, and the others are: {why}");
    }
    let memory = remembered(&owner);
    Ok(Prepared { policy, launches, gpus, driver, memory, owner, lock, open_files })
}

/// Does both, for callers without doors to open.
pub(super) async fn prepare(configuration: &Configuration, seed: u64) -> Result<Prepared, Refusal> {
    take_over(configuration, look(configuration, seed)?).await
}

/// The groups that have no GPU, of those whose GPU was not identified: NVML does not list it. One that is lost, needs a
/// reset or hangs the driver is there, and its group is held for that.
fn not_listed(driver: &Driver, launches: &[GroupLaunch], absent: BTreeMap<GroupName, Problems>) -> Blocked {
    let gpus_of = |name: &GroupName| {
        launches.iter().find(|launch| launch.domain == DomainId::main(name)).map(|launch| &launch.gpus)
    };
    let is_not_there = |name: &GroupName| {
        let mut answers =
            gpus_of(name).into_iter().flat_map(GpuSet::iter).map(|gpu| driver.read_within(gpu, ASK_BOUND));
        answers.any(|answer| matches!(answer, Some(Err(NvmlError::NotListed { .. }))))
    };
    let gone = absent.into_iter().filter(|(name, _)| is_not_there(name));
    gone.map(|(name, problems)| (name, problems.to_string())).collect()
}

/// Refuses only where no group could be served.
fn refuse_if_all(blocked: &Blocked, launches: &[GroupLaunch]) -> Result<(), Refusal> {
    let served = launches.iter().any(|launch| !blocked.contains_key(&launch.domain.group));
    if served || blocked.is_empty() {
        return Ok(());
    }
    let reasons: BTreeSet<&String> = blocked.values().collect();
    let reasons: Vec<&str> = reasons.into_iter().map(String::as_str).collect();
    Err(Refusal::unavailable(reasons.join("\n")))
}

/// Groups whose MPS binary is not there.
pub(super) fn without_binaries(launches: &[GroupLaunch]) -> Blocked {
    let missing = |launch: &GroupLaunch| {
        let error = child::find_program(&launch.control.binary).err()?;
        let name = launch.domain.group.clone();
        let why = format!("group `{name}`: {error}; it comes with NVIDIA's driver, see mps.binary");
        Some((name, why))
    };
    launches.iter().filter_map(missing).collect()
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

/// Groups whose pipe directory, or that of their second side, another daemon uses. Where that is not known, nothing is
/// said: the daemon's own start will show it.
pub(super) fn occupied(launches: &[GroupLaunch]) -> Blocked {
    let mut found = Blocked::new();
    for GroupLaunch { domain, control, .. } in launches.iter().filter(|launch| !launch.control.custody.is_others()) {
        if let Err(InTheWay::Used(why)) = pipe_directory::in_use(&control.pipe_directory, &control.binary) {
            let (name, cure) = (&domain.group, "stop that daemon, or give the group another mps.pipe_directory");
            found.entry(name.clone()).or_insert(format!("group `{name}`: {why}; {cure}"));
        }
    }
    found
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
