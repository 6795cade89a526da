//! The policy for an engine that nobody configured: it was found running, and others run it. Pure.

use std::time::Duration;

use crate::decide::policy::{CleanEnd, EnginePolicy, Origin};
use crate::model::{
    ContainerName, Custody, DomainId, EngineAddress, EngineKind, EngineLaunch, EngineName, Found, GpuNamedBy,
    MetricsPlace, Powers,
};

/// How long what is asked of it may take, as by default.
const HEALTH: Duration = Duration::from_secs(10);
/// Upper bound for it to be seen as a client: it is one when it is found.
const START: Duration = Duration::from_secs(600);
/// Times of what is never done with it.
const NEVER: Duration = Duration::from_secs(60);
/// Time without a token after which it would hang, as by default.
const HANGS: Duration = Duration::from_secs(120);
/// Time of growth after which it leaks, as by default.
const LEAKS: Duration = Duration::from_secs(180);

/// What may be done with an engine that was found: it is looked at.
pub fn policy_of_found(name: &EngineName, container: &ContainerName) -> EnginePolicy {
    EnginePolicy {
        name: name.clone(),
        custody: Custody::Others(Powers::Look),
        origin: Origin::Found,
        container: container.clone(),
        address: EngineAddress::from(""),
        device_memory_limit: None,
        memory_max: None,
        start_timeout: START,
        stop_timeout: NEVER,
        drain_timeout: NEVER,
        hang_after: HANGS,
        leak_after: LEAKS,
        sm_limited: false,
        sm_percentage: None,
        kind: EngineKind::Other,
        health_timeout: HEALTH,
        probe_request: false,
        probe: false,
        on_clean_end: CleanEnd::Restart,
        launch: 0,
    }
}

/// Where it was found. Nothing starts it.
pub fn launch_of_found(domain: &DomainId, name: &EngineName, found: &Found) -> EngineLaunch {
    EngineLaunch {
        member: domain.member(name),
        command: Vec::new(),
        user: None,
        working_directory: None,
        environment: Default::default(),
        environment_file: None,
        kind: EngineKind::Other,
        url: String::new(),
        health_path: String::new(),
        health_timeout: HEALTH,
        metrics: MetricsPlace::Nowhere,
        gpu_named_by: GpuNamedBy::Uuid,
        sm_percentage: None,
        device_memory_limit: None,
        probe: false,
        memory_max: None,
        found: Some(found.clone()),
        external: None,
    }
}
