//! Groups for the tests of the verbs.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::shared::OwnerMark;
use crate::model::{ControlLaunch, Custody, DomainId, EngineLaunch, GroupLaunch, Member};

/// A group below `directory` whose engines `e0`, `e1` and so on are shell scripts. Its name is its own:
/// all tests are one process, which adopts the orphans of all.
pub(super) fn group(directory: &Path, scripts: &[&str]) -> GroupLaunch {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let domain = DomainId::from(format!("g{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let engine = |(number, script): (usize, &&str)| EngineLaunch {
        member: Member::new(&domain, &format!("e{number}").into()),
        command: vec!["sh".into(), "-c".into(), (*script).into()],
        user: None,
        working_directory: None,
        environment: Default::default(),
        environment_file: None,
        url: "http://127.0.0.1:1".into(),
        health_path: "/health".into(),
        kind: crate::model::EngineKind::Other,
        health_timeout: std::time::Duration::from_secs(1),
        metrics: crate::model::MetricsPlace::Under("/metrics".into()),
        gpus: "GPU-1".into(),
        gpu_named_by: crate::model::GpuNamedBy::Uuid,
        sm_percentage: None,
        device_memory_limit: None,
        probe: false,
        memory_max: None,
        found: None,
        external: None,
    };
    let engines = scripts.iter().enumerate().map(engine).collect();
    GroupLaunch {
        domain,
        gpus: "GPU-1".into(),
        control: ControlLaunch {
            binary: directory.join("control"),
            pipe_directory: directory.join("pipe"),
            log_directory: directory.join("log"),
            custody: Custody::Own,
            restart_by: Default::default(),
            gate: true,
        },
        outputs: directory.join("log"),
        engines,
    }
}

/// The mark of a watchdog with this state directory.
pub(super) fn owner(state_directory: &Path) -> OwnerMark {
    OwnerMark { state_directory: state_directory.to_owned() }
}
