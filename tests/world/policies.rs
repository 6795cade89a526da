//! Policies that tests start from: the defaults, without jitter, and engines that start in 1.5 s.

use std::collections::BTreeMap;
use std::time::Duration;

use mpswarden_core::decide::Policy;
use mpswarden_core::decide::policy::{
    Backoff, CleanEnd, EnginePolicy, GroupPolicy, IsolationMode, IsolationPolicy, OverlapPolicy, RecoveryPolicy,
    UnknownClients,
};
use mpswarden_core::model::gpu::ComputeMode;
use mpswarden_core::model::{
    Baseline, BaselineSource, Custody, EngineName, GpuIdentity, GpuUuid, GroupName, Mode, Taken,
};

use super::GIB;

/// One group on one GPU.
pub fn one_group(engines: &[&str]) -> Policy {
    Policy { gpus: vec![gpu()], groups: vec![group("small-llms", engines)], seed: 7 }
}

pub fn gpu() -> GpuIdentity {
    GpuIdentity {
        uuid: GpuUuid::from("GPU-1"),
        index: Some(0),
        pci_bus_id: Some("00000000:00:06.0".to_owned()),
        name: Some("NVIDIA H200".to_owned()),
        memory_total: Some(140 * GIB),
        compute_mode: ComputeMode::Default,
        driver_version: Some("580.159.04".to_owned()),
        absent: false,
    }
}

pub fn group(name: &str, engines: &[&str]) -> GroupPolicy {
    GroupPolicy {
        name: GroupName::from(name),
        gpus: gpu().uuid.into(),
        custody: Custody::Own,
        mode: Mode::Enforce,
        faults: BTreeMap::new(),
        unknown_clients: UnknownClients::Report,
        spread: Default::default(),
        // Most incidents are of other things: those of repeated faults switch it on.
        isolation: IsolationPolicy { mode: IsolationMode::Off, ..IsolationPolicy::default() },
        overlap: OverlapPolicy::default(),
        recovery: RecoveryPolicy {
            backoff: Backoff { jitter: 0.0, ..Backoff::default() },
            ..RecoveryPolicy::default()
        },
        engines: engines.iter().map(|name| engine(name)).collect(),
        clients_limit: Some(48),
    }
}

/// A study's word: engine, requests at once, tokens of a prompt, generated tokens of a request, tokens a second.
pub fn baseline(words: &[&str]) -> Baseline {
    let number = |index: usize| words[index].parse().unwrap();
    Baseline {
        engine: EngineName::from(words[0]),
        running: number(1),
        prompt_tokens: number(2),
        generation_tokens: number(3),
        tokens_per_second: number(4),
        samples: 3,
        source: BaselineSource::Study,
        taken: Taken::Unix(1_790_000_000),
    }
}

pub fn engine(name: &str) -> EnginePolicy {
    EnginePolicy {
        name: EngineName::from(name),
        custody: Custody::Own,
        origin: Default::default(),
        container: Default::default(),
        address: format!("http://{name}.example:8000").into(),
        device_memory_limit: None,
        memory_max: None,
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(3),
        hang_after: Duration::from_secs(20),
        leak_after: Duration::from_secs(180),
        sm_limited: false,
        sm_percentage: None,
        kind: mpswarden_core::model::EngineKind::Other,
        health_timeout: Duration::from_secs(1),
        probe_request: false,
        probe: false,
        on_clean_end: CleanEnd::Restart,
        launch: 0,
    }
}
