//! Makes the core's policy, and what is to be started, from a configuration and the GPUs that are really there. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::decide::policy::{EnginePolicy, GroupPolicy, Origin, Policy};
use crate::model::gpu::ComputeMode;
use crate::model::{
    ContainerName, ControlLaunch, Custody, DomainId, EngineLaunch, GpuIdentity, GpuNamedBy, GpuSet, GpuUuid,
    GroupLaunch, GroupName, MetricsPlace,
};

use super::configuration::{
    Configuration, EngineConfiguration, GpuChoice, GpuNaming, GroupConfiguration, MetricsUrl, MpsConfiguration, RunBy,
};
use super::launch_number::launch_number;
use super::problem::{Problem, Problems, Weight};
use super::units::write_size;

/// Clients that one server takes on one device: 48 by drivers before 590 (measured with 580), 60 by those that come with
/// CUDA 13.1 or later.
const CLIENTS_LIMITS: [u32; 2] = [48, 60];
/// The first driver with the higher one.
const CUDA_13_1: u32 = 590;

/// A configuration on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Policy for the core.
    pub policy: Policy,
    /// What is to be started.
    pub launches: Vec<GroupLaunch>,
    /// Groups whose GPU NVML does not show, and why: they are held until it does.
    pub absent: BTreeMap<GroupName, Problems>,
}

impl Configuration {
    /// The policy and the launches for these GPUs, all of which must be there. `seed` is where jitter comes from.
    pub fn resolve(&self, gpus: &[GpuIdentity], seed: u64) -> Result<(Policy, Vec<GroupLaunch>), Problems> {
        let Resolved { policy, launches, absent } = self.resolve_for_those_there(gpus, seed)?;
        let problems = absent.into_values().flat_map(|problems| problems.list).collect();
        Problems::or(&self.places.file, problems, (policy, launches))
    }

    /// The same, where a GPU that is not among these keeps only its own groups from being started.
    pub fn resolve_for_those_there(&self, gpus: &[GpuIdentity], seed: u64) -> Result<Resolved, Problems> {
        let mut problems = Vec::new();
        let mut used: BTreeMap<GpuUuid, GpuIdentity> = BTreeMap::new();
        let (mut groups, mut launches, mut absent) = (Vec::new(), Vec::new(), BTreeMap::new());
        let driver = gpus.iter().find_map(|gpu| gpu.driver_version.as_deref());
        for (index, group) in self.groups.iter().enumerate() {
            let path = format!("group[{index}]");
            let chosen = Chosen::by(&group.gpus, gpus);
            let missing = chosen.0.iter().filter(|(_, gpu)| gpu.absent);
            let list: Vec<Problem> = missing.map(|(choice, _)| self.absent(&path, choice, gpus)).collect();
            if !list.is_empty() {
                absent.insert(group.name.clone(), Problems { file: self.places.file.clone(), list });
            }
            for (_, gpu) in &chosen.0 {
                let shared = used.insert(gpu.uuid.clone(), gpu.clone()).is_some();
                // Where others run the daemon the mode is their matter, and it runs.
                if group.mps.run_by == RunBy::Us {
                    problems.extend(self.compute_mode(&path, gpu, shared));
                }
            }
            problems.extend(self.limits(&path, group, &chosen));
            problems.extend(self.foreign_gpus(&path, group, &chosen));
            groups.push(group_policy(group, &chosen, driver));
            let launch = GroupLaunch { outputs: self.outputs_directory(group), ..group_launch(group, &chosen) };
            launches.push(launch);
            let one = !chosen.set().are_several();
            launches.extend((group.mps.run_by == RunBy::Us && one).then(|| second_side(group, &chosen)));
        }
        let mut gpus: Vec<GpuIdentity> = used.into_values().collect();
        gpus.sort_by(|one, other| (one.index, &one.uuid).cmp(&(other.index, &other.uuid)));
        let resolved = Resolved { policy: Policy { gpus, groups, seed }, launches, absent };
        Problems::or(&self.places.file, problems, resolved)
    }

    fn absent(&self, path: &str, choice: &GpuChoice, gpus: &[GpuIdentity]) -> Problem {
        let what = format!("there is no {choice}");
        let there = gpus.iter().filter(|gpu| !gpu.absent);
        let here: Vec<_> = there.map(|gpu| format!("{} {}", gpu.label(), gpu.uuid)).collect();
        let hint = match here.is_empty() {
            true => "NVML shows none".to_owned(),
            false => format!("NVML shows {}", here.join(", ")),
        };
        Problem { weight: Weight::Unavailable, ..self.places.problem(&format!("{path}.gpu"), what, &hint) }
    }

    fn compute_mode(&self, path: &str, gpu: &GpuIdentity, shared: bool) -> Option<Problem> {
        let (what, hint) = match gpu.compute_mode {
            ComputeMode::Prohibited => {
                ("is in compute mode PROHIBITED: nothing can run there", "nvidia-smi -c DEFAULT")
            }
            ComputeMode::ExclusiveProcess if shared => {
                ("is in compute mode EXCLUSIVE_PROCESS: one group only", "one group, or nvidia-smi -c DEFAULT")
            }
            ComputeMode::Default | ComputeMode::ExclusiveProcess | ComputeMode::Unknown => return None,
        };
        Some(self.places.problem(&format!("{path}.gpu"), format!("GPU {} {what}", gpu.uuid), hint))
    }

    fn limits(&self, path: &str, group: &GroupConfiguration, chosen: &Chosen) -> Vec<Problem> {
        let over = |(index, engine): (usize, &EngineConfiguration)| {
            let gpu = chosen.of(engine).0.into_iter().map(|(_, gpu)| gpu).min_by_key(|gpu| gpu.memory_total)?;
            let total = gpu.memory_total?;
            let limit = engine.device_memory_limit.filter(|limit| *limit > total)?;
            let what = format!("device_memory_limit {} of {} is more than the GPU has", write_size(limit), engine.name);
            let hint = format!("{} has {} MiB", gpu.product(), total >> 20);
            Some(self.places.problem(&format!("{path}.engine[{index}].device_memory_limit"), what, &hint))
        };
        group.engines.iter().enumerate().filter_map(over).collect()
    }

    /// Engines that name a GPU which their group does not have.
    fn foreign_gpus(&self, path: &str, group: &GroupConfiguration, chosen: &Chosen) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, engine) in group.engines.iter().enumerate() {
            for choice in engine.gpus.iter().filter(|choice| chosen.find(choice).is_none()) {
                let what = format!("engine {} names {choice}, which its group does not have", engine.name);
                let hint = "name some of the GPUs of the group, or leave the key out: then it has all of them";
                problems.push(self.places.problem(&format!("{path}.engine[{index}].gpu"), what, hint));
            }
        }
        problems
    }
}

/// The GPUs of a group, or of an engine, each with the word that chose it.
struct Chosen(Vec<(GpuChoice, GpuIdentity)>);

impl Chosen {
    fn by(choices: &[GpuChoice], there: &[GpuIdentity]) -> Chosen {
        let one =
            |choice: &GpuChoice| (choice.clone(), find(there, choice).cloned().unwrap_or_else(|| stand_in(choice)));
        Chosen(choices.iter().map(one).collect())
    }

    /// The one that a word means: the same word, or another one for the same GPU.
    fn find(&self, choice: &GpuChoice) -> Option<&(GpuChoice, GpuIdentity)> {
        let is_it = |(word, gpu): &&(GpuChoice, GpuIdentity)| word == choice || choice.is(gpu);
        self.0.iter().find(is_it)
    }

    /// Those of an engine: all, unless it names some.
    fn of(&self, engine: &EngineConfiguration) -> Chosen {
        let named: Vec<_> = engine.gpus.iter().filter_map(|choice| self.find(choice)).cloned().collect();
        Chosen(if named.is_empty() { self.0.clone() } else { named })
    }

    fn first(&self) -> Option<&GpuIdentity> {
        self.0.first().map(|(_, gpu)| gpu)
    }

    fn set(&self) -> GpuSet {
        let all = GpuSet::of(self.0.iter().map(|(_, gpu)| gpu.uuid.clone()));
        all.unwrap_or_else(|| GpuUuid::of_index(0).into())
    }

    /// NVML's indexes; `None`: one of them is not identified.
    fn indexes(&self) -> Option<Vec<u32>> {
        self.0.iter().map(|(_, gpu)| gpu.index).collect()
    }
}

fn find<'g>(gpus: &'g [GpuIdentity], choice: &GpuChoice) -> Option<&'g GpuIdentity> {
    gpus.iter().find(|gpu| choice.is(gpu))
}

/// Identity in place of a GPU that the configuration names and NVML does not show.
fn stand_in(choice: &GpuChoice) -> GpuIdentity {
    match choice {
        GpuChoice::Uuid(uuid) => GpuIdentity::absent(uuid.clone(), None),
        GpuChoice::Index(index) => GpuIdentity::absent(GpuUuid::of_index(*index), Some(*index)),
    }
}

/// Most clients that a server of this driver takes; `None`: the driver's version is not known.
fn clients_limit(driver_version: Option<&str>) -> Option<u32> {
    let branch: u32 = driver_version?.split('.').next()?.parse().ok()?;
    Some(CLIENTS_LIMITS[usize::from(branch >= CUDA_13_1)])
}

fn group_policy(group: &GroupConfiguration, chosen: &Chosen, driver_version: Option<&str>) -> GroupPolicy {
    let engine = |engine: &EngineConfiguration| EnginePolicy {
        name: engine.name.clone(),
        custody: engine.external.as_ref().map_or(Custody::Own, |external| external.restart_by.custody()),
        origin: Origin::Configured,
        container: ContainerName::default(),
        address: engine.url.as_str().into(),
        device_memory_limit: engine.device_memory_limit,
        memory_max: engine.memory_max,
        start_timeout: engine.start_timeout,
        stop_timeout: engine.stop_timeout,
        drain_timeout: engine.drain_timeout,
        hang_after: engine.hang_after,
        leak_after: engine.leak_after,
        sm_limited: engine.sm_percentage.is_some(),
        sm_percentage: engine.sm_percentage,
        kind: engine.kind,
        health_timeout: engine.health_timeout,
        probe_request: engine.probe_request,
        probe: engine.probe,
        on_clean_end: engine.on_clean_end,
        launch: launch_number(engine),
    };
    GroupPolicy {
        name: group.name.clone(),
        gpus: chosen.set(),
        custody: custody(&group.mps),
        mode: group.mode,
        faults: group.faults.clone(),
        unknown_clients: group.unknown_clients,
        spread: group.spread,
        isolation: group.isolation,
        overlap: group.overlap.clone(),
        recovery: group.recovery.clone(),
        engines: group.engines.iter().map(engine).collect(),
        clients_limit: clients_limit(chosen.first().and_then(|gpu| gpu.driver_version.as_deref()).or(driver_version)),
    }
}

/// How the group's second side is started, should its faults repeat: as the first, with directories of its own.
fn second_side(group: &GroupConfiguration, chosen: &Chosen) -> GroupLaunch {
    let mut side = group_launch(group, chosen);
    side.domain = DomainId::isolation(&group.name);
    side.control.pipe_directory = apart_pipe_directory(&group.mps.pipe_directory);
    side.control.log_directory = apart_log_directory(&group.mps.log_directory);
    side.outputs = side.control.log_directory.clone();
    for engine in &mut side.engines {
        engine.member.domain = side.domain.clone();
    }
    side
}

impl Configuration {
    /// Where the logs of a group are: those of its first side and of its second, or of the control daemon that others
    /// run and of its engines.
    pub fn log_directories(&self, group: &GroupConfiguration) -> [PathBuf; 2] {
        let other = match group.mps.run_by {
            RunBy::Us => apart_log_directory(&group.mps.log_directory),
            RunBy::Others => self.outputs_directory(group),
        };
        [group.mps.log_directory.clone(), other]
    }
}

/// What may be done to a control daemon, by who runs it.
fn custody(mps: &MpsConfiguration) -> Custody {
    match mps.run_by {
        RunBy::Us => Custody::Own,
        RunBy::Others => mps.restart_by.custody(),
    }
}

/// The pipe directory of a group's second side.
pub(super) fn apart_pipe_directory(first: &Path) -> PathBuf {
    let mut apart = first.as_os_str().to_owned();
    apart.push("-apart");
    apart.into()
}

/// The log directory of a group's second side.
pub(super) fn apart_log_directory(first: &Path) -> PathBuf {
    first.join("apart")
}

fn group_launch(group: &GroupConfiguration, chosen: &Chosen) -> GroupLaunch {
    let control = ControlLaunch {
        binary: group.mps.binary.clone(),
        pipe_directory: group.mps.pipe_directory.clone(),
        log_directory: group.mps.log_directory.clone(),
        custody: custody(&group.mps),
        restart_by: group.mps.restart_by.clone(),
        gate: group.mps.gate,
    };
    let outputs = group.mps.log_directory.clone();
    let engines = group.engines.iter().map(|engine| engine_launch(group, &chosen.of(engine), engine)).collect();
    GroupLaunch { domain: DomainId::main(&group.name), gpus: chosen.set(), control, outputs, engines }
}

fn engine_launch(group: &GroupConfiguration, chosen: &Chosen, engine: &EngineConfiguration) -> EngineLaunch {
    EngineLaunch {
        member: DomainId::main(&group.name).member(&engine.name),
        command: engine.command.clone(),
        user: engine.user.clone(),
        working_directory: engine.working_directory.clone(),
        environment: engine.environment.clone(),
        environment_file: engine.environment_file.clone(),
        url: engine.url.clone(),
        health_path: engine.health_path.clone(),
        kind: engine.kind,
        health_timeout: engine.health_timeout,
        metrics: match &engine.metrics_url {
            None => MetricsPlace::Under(engine.metrics_path.clone()),
            Some(MetricsUrl::At(url, path)) => MetricsPlace::Elsewhere(url.clone(), path.clone()),
            Some(MetricsUrl::Nowhere) => MetricsPlace::Nowhere,
        },
        gpus: chosen.set(),
        gpu_named_by: match engine.gpu_named_by {
            GpuNaming::Uuid => GpuNamedBy::Uuid,
            // One that is not identified is started by nothing: it is made anew once it is.
            GpuNaming::Index => chosen.indexes().map_or(GpuNamedBy::Uuid, GpuNamedBy::Index),
        },
        sm_percentage: engine.sm_percentage,
        device_memory_limit: engine.device_memory_limit,
        probe: engine.probe,
        memory_max: engine.memory_max,
        found: None,
        external: engine.external.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_version_says_how_many_clients_a_server_takes() {
        for (version, limit) in [
            ("450.51", Some(48)),
            ("580.159.04", Some(48)),
            ("590.44.01", Some(60)),
            ("615.10", Some(60)),
            ("", None),
            ("unknown", None),
        ] {
            assert_eq!(clients_limit(Some(version)), limit, "{version}");
        }
        assert_eq!(clients_limit(None), None);
    }
}
