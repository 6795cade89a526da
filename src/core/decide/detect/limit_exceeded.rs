//! limit_exceeded: NVML shows more device memory than the engine's limit, in two readings. MPS limits each process:
//! where no single one is over it, a restart mends nothing, and it is only reported.

use super::Finding;
use crate::decide::facts::bytes::gib;
use crate::decide::facts::engine::Engine;
use crate::model::Fault;

pub(super) fn find(engine: &Engine) -> Option<Finding> {
    let limit = engine.device_memory_limit()?;
    let over = engine.instance.limits.exceeded().filter(|_| engine.alive() && engine.died.is_none())?;
    let one = over.largest > limit;
    let because = match one {
        true => format!("it holds {} of device memory, more than its limit of {}", gib(over.held), gib(limit)),
        false => format!(
            "its processes hold {} of device memory together, more than its limit of {}; none does alone, and MPS limits \
             each by itself",
            gib(over.held),
            gib(limit)
        ),
    };
    let acts = one;
    Some(Finding { acts, ..Finding::of_engine(Fault::LimitExceeded, engine, over.since, because) })
}
