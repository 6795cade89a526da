//! The stage that a demo's options ask for.

use std::io;

use crate::cli::{DemoMode, DemoOptions, DriverLike, EnginesLike, GpuKind};
use crate::sim::{Dialect, GpuLike, Judgement, Program, StageMode, StageOptions};

use super::play::STARTUP;

/// Share of its memory by which an engine that leaks grows in a minute: it would be at its limit, twice as much, after
/// 75 s, and is restarted 20 s before that.
const LEAK: f64 = 0.8;

/// Options of the stage.
pub(super) fn options(options: &DemoOptions) -> io::Result<StageOptions> {
    let program = std::env::current_exe()?;
    let mut wanted = StageOptions {
        seed: options.seed,
        startup: STARTUP,
        probe: true,
        faithful: options.engines_like.is_some(),
        gpu_like: gpu_like(options.gpu_like),
        driver: options.driver_like.map_or(Dialect::default(), dialect_of),
        judgement: Judgement::Quick,
        mode: match options.mode {
            DemoMode::Enforce => StageMode::Enforce,
            DemoMode::Observe => StageMode::Observe,
        },
        ..StageOptions::lifelike(program).with_engines(options.engines)
    };
    wanted.leak = (wanted.memory as f64 * LEAK) as u64;
    match options.engines_like {
        Some(EnginesLike::Vllm) => wanted.kinds = vec![Program::Vllm],
        Some(EnginesLike::Sglang) => wanted.kinds = vec![Program::Sglang],
        Some(EnginesLike::Mixed) | None => {}
    }
    Ok(wanted)
}

fn gpu_like(kind: GpuKind) -> GpuLike {
    match kind {
        GpuKind::H200 => GpuLike::H200,
        GpuKind::Gb10 => GpuLike::Gb10,
        GpuKind::Pre510 => GpuLike::Pre510,
        GpuKind::Vgpu => GpuLike::Vgpu,
        GpuKind::R615 => GpuLike::R615,
        GpuKind::Container => GpuLike::Container,
        GpuKind::HostPids => GpuLike::HostPids,
    }
}

fn dialect_of(driver: DriverLike) -> Dialect {
    match driver {
        DriverLike::R450 => Dialect::R450,
        DriverLike::R470 => Dialect::R470,
        DriverLike::R535 => Dialect::R535,
        DriverLike::R580 => Dialect::R580,
        DriverLike::R615 => Dialect::R615,
    }
}
