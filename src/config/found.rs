//! The policy for an engine that nobody configured: it was found running, and others run it. Pure.

use std::time::Duration;

use super::discover::FoundEngineSettings;
use crate::decide::policy::{CleanEnd, EnginePolicy, Origin};
use crate::model::{
    Custody, DomainId, EngineAddress, EngineLaunch, FoundEngine, GpuNamedBy, GpuSet, MetricsPlace, Powers,
};

/// Times of what is never done with it.
const NEVER: Duration = Duration::from_secs(60);

/// What may be done with an engine that was found: it is looked at.
pub fn policy_of_found(engine: &FoundEngine, settings: &FoundEngineSettings) -> EnginePolicy {
    EnginePolicy {
        name: engine.name.clone(),
        custody: Custody::Others(Powers::Look),
        origin: Origin::Found,
        container: engine.container.clone(),
        address: EngineAddress::from(engine.url.as_str()),
        device_memory_limit: None,
        memory_max: None,
        start_timeout: settings.start_timeout,
        stop_timeout: NEVER,
        drain_timeout: NEVER,
        hang_after: settings.hang_after,
        leak_after: settings.leak_after,
        sm_limited: false,
        sm_percentage: None,
        kind: settings.kind.unwrap_or_default(),
        health_timeout: settings.health_timeout,
        probe_request: false,
        probe: false,
        on_clean_end: CleanEnd::Restart,
        launch: 0,
    }
}

/// Where it was found. Nothing starts it.
pub fn launch_of_found(
    domain: &DomainId,
    gpus: &GpuSet,
    engine: &FoundEngine,
    settings: &FoundEngineSettings,
) -> EngineLaunch {
    EngineLaunch {
        member: domain.member(&engine.name),
        command: Vec::new(),
        user: None,
        working_directory: None,
        environment: Default::default(),
        environment_file: None,
        kind: settings.kind.unwrap_or_default(),
        url: engine.url.clone(),
        health_path: settings.health_path.clone(),
        health_timeout: settings.health_timeout,
        metrics: match engine.url.is_empty() {
            true => MetricsPlace::Nowhere,
            false => MetricsPlace::Under(settings.metrics_path.clone()),
        },
        gpus: gpus.clone(),
        gpu_named_by: GpuNamedBy::Uuid,
        sm_percentage: None,
        device_memory_limit: None,
        probe: false,
        memory_max: None,
        found: Some(engine.found.clone()),
        external: None,
    }
}
