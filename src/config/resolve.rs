//! From a configuration and the GPUs that are really there to the core's policy and what is to be started.
//! Pure.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::decide::policy::{EnginePolicy, GroupPolicy, Policy};
use crate::model::gpu::ComputeMode;
use crate::model::{ControlLaunch, EngineKey, EngineLaunch, GpuIdentity, GpuNamedBy, GroupLaunch, MetricsPlace};

use super::configuration::{Configuration, EngineConfiguration, GpuChoice, GpuNaming, GroupConfiguration, MetricsUrl};
use super::problem::{Problem, Problems};
use super::units::write_size;

/// Clients that one server takes on one device: 48; 60 from CUDA 13.1 on. The lower one is safe on both.
const CLIENTS_LIMIT: u32 = 48;

impl Configuration {
    /// The policy and the launches for these GPUs. `seed` is where jitter comes from.
    pub fn resolve(&self, gpus: &[GpuIdentity], seed: u64) -> Result<(Policy, Vec<GroupLaunch>), Problems> {
        let mut problems = Vec::new();
        let mut used: BTreeMap<u32, &GpuIdentity> = BTreeMap::new();
        let mut policies = Vec::new();
        let mut launches = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let path = format!("group[{index}]");
            let Some(gpu) = find(gpus, &group.gpu) else {
                problems.push(self.absent(&path, &group.gpu, gpus));
                continue;
            };
            let shared = used.insert(gpu.index, gpu).is_some();
            problems.extend(self.compute_mode(&path, gpu, shared));
            problems.extend(self.limits(&path, group, gpu));
            policies.push(group_policy(group, gpu));
            launches.push(group_launch(group, gpu));
            launches.push(second_side(group, gpu));
        }
        let gpus = used.into_values().cloned().collect();
        Problems::or(&self.places.file, problems, (Policy { gpus, groups: policies, seed }, launches))
    }

    fn absent(&self, path: &str, choice: &GpuChoice, gpus: &[GpuIdentity]) -> Problem {
        let what = match choice {
            GpuChoice::Uuid(uuid) => format!("there is no GPU {uuid}"),
            GpuChoice::Index(index) => format!("there is no GPU {index}"),
        };
        let here: Vec<_> = gpus.iter().map(|gpu| format!("{} {}", gpu.index, gpu.uuid)).collect();
        let hint = match here.is_empty() {
            true => "NVML shows none".to_owned(),
            false => format!("NVML shows {}", here.join(", ")),
        };
        Problem { unavailable: true, ..self.places.problem(&format!("{path}.gpu"), what, &hint) }
    }

    fn compute_mode(&self, path: &str, gpu: &GpuIdentity, shared: bool) -> Option<Problem> {
        let (what, hint) = match gpu.compute_mode {
            ComputeMode::Prohibited => {
                ("is in compute mode PROHIBITED: nothing can run there", "nvidia-smi -c DEFAULT")
            }
            ComputeMode::ExclusiveProcess if shared => {
                ("is in compute mode EXCLUSIVE_PROCESS: one group only", "one group, or nvidia-smi -c DEFAULT")
            }
            _ => return None,
        };
        Some(self.places.problem(&format!("{path}.gpu"), format!("GPU {} {what}", gpu.uuid), hint))
    }

    fn limits(&self, path: &str, group: &GroupConfiguration, gpu: &GpuIdentity) -> Vec<Problem> {
        let over = |(index, engine): (usize, &EngineConfiguration)| {
            let limit = engine.device_memory_limit.filter(|limit| *limit > gpu.memory_total)?;
            let what = format!("device_memory_limit {} of {} is more than the GPU has", write_size(limit), engine.name);
            let hint = format!("{} has {} MiB", gpu.name, gpu.memory_total >> 20);
            Some(self.places.problem(&format!("{path}.engine[{index}].device_memory_limit"), what, &hint))
        };
        group.engines.iter().enumerate().filter_map(over).collect()
    }
}

fn find<'g>(gpus: &'g [GpuIdentity], choice: &GpuChoice) -> Option<&'g GpuIdentity> {
    gpus.iter().find(|gpu| match choice {
        GpuChoice::Uuid(uuid) => gpu.uuid == *uuid,
        GpuChoice::Index(index) => gpu.index == *index,
    })
}

fn group_policy(group: &GroupConfiguration, gpu: &GpuIdentity) -> GroupPolicy {
    let engine = |engine: &EngineConfiguration| EnginePolicy {
        name: engine.name.clone(),
        device_memory_limit: engine.device_memory_limit,
        memory_max: engine.memory_max,
        start_timeout: engine.start_timeout,
        stop_timeout: engine.stop_timeout,
        drain_timeout: engine.drain_timeout,
        hang_after: engine.hang_after,
        sm_limited: engine.sm_percentage.is_some(),
        kind: engine.kind,
        health_timeout: engine.health_timeout,
        probe_request: engine.probe_request,
        probe: engine.probe,
        launch: number(engine),
    };
    GroupPolicy {
        name: group.name.clone(),
        gpu: gpu.uuid.clone(),
        mode: group.mode,
        faults: group.faults.clone(),
        unknown_clients: group.unknown_clients,
        isolation: group.isolation,
        overlap: group.overlap.clone(),
        recovery: group.recovery.clone(),
        engines: group.engines.iter().map(engine).collect(),
        clients_limit: CLIENTS_LIMIT,
    }
}

/// Another one for each other process that is launched: what was learnt of one does not hold for another. How it is
/// watched is not part of it, so that a new key changes nothing.
fn number(engine: &EngineConfiguration) -> u64 {
    let EngineConfiguration { command, user, working_directory, environment, environment_file, .. } = engine;
    let limits = (engine.sm_percentage.map(f64::to_bits), engine.device_memory_limit, engine.memory_max);
    let mut hasher = DefaultHasher::new();
    (command, user, working_directory, environment, environment_file, limits, engine.probe).hash(&mut hasher);
    hasher.finish()
}

/// How the group's second side is started, should its faults repeat: as the first, with directories of its own.
fn second_side(group: &GroupConfiguration, gpu: &GpuIdentity) -> GroupLaunch {
    let mut side = group_launch(group, gpu);
    side.name = group.name.apart();
    side.control.pipe_directory = apart_pipe_directory(&group.mps.pipe_directory);
    side.control.log_directory = apart_log_directory(&group.mps.log_directory);
    for engine in &mut side.engines {
        engine.key.group = side.name.clone();
    }
    side
}

impl GroupConfiguration {
    /// Where the logs of its first side are, and those of its second.
    pub fn log_directories(&self) -> [PathBuf; 2] {
        [self.mps.log_directory.clone(), apart_log_directory(&self.mps.log_directory)]
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

fn group_launch(group: &GroupConfiguration, gpu: &GpuIdentity) -> GroupLaunch {
    let control = ControlLaunch {
        binary: group.mps.binary.clone(),
        pipe_directory: group.mps.pipe_directory.clone(),
        log_directory: group.mps.log_directory.clone(),
    };
    let engines = group.engines.iter().map(|engine| engine_launch(group, gpu, engine)).collect();
    GroupLaunch { name: group.name.clone(), gpu: gpu.uuid.clone(), control, engines }
}

fn engine_launch(group: &GroupConfiguration, gpu: &GpuIdentity, engine: &EngineConfiguration) -> EngineLaunch {
    EngineLaunch {
        key: EngineKey::new(&group.name, &engine.name),
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
        gpu_named_by: match engine.gpu_named_by {
            GpuNaming::Uuid => GpuNamedBy::Uuid,
            GpuNaming::Index => GpuNamedBy::Index(gpu.index),
        },
        sm_percentage: engine.sm_percentage,
        device_memory_limit: engine.device_memory_limit,
        probe: engine.probe,
        memory_max: engine.memory_max,
    }
}
