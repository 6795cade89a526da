//! outside_mps: an engine computes on the GPU and is no client of its group's server.

use super::{Finding, pids};
use crate::decide::facts::GpuFacts;
use crate::decide::facts::attached::Outside;
use crate::decide::facts::engine::Engine;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stage::Stage;
use crate::model::{Fault, Moment};

pub(super) fn find(engine: &Engine, scene: &Scene, gpu: &GpuFacts, now: Moment) -> Option<Finding> {
    let (outside, since) = engine.proven_outside(&scene.server, gpu, now)?;
    let server = scene.server.pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
    let because = format!("{}; this group's server is {server}", evidence(outside));
    // Ending a busy client of another server takes that server's clients along; one that starts has no requests.
    let harmless = outside.elsewhere.is_empty() || engine.stage == Stage::Starting;
    Some(Finding { acts: harmless, ..Finding::of_engine(Fault::OutsideMps, engine, since, because) })
}

fn evidence(outside: &Outside) -> String {
    let Outside { past, elsewhere } = outside;
    let past = (!past.is_empty()).then(|| format!("{} on the GPU outside MPS", pids("its process", past)));
    let elsewhere = (!elsewhere.is_empty()).then(|| {
        let who = pids("its process", elsewhere);
        format!("{who} on the GPU as a client of another MPS server")
    });
    past.into_iter().chain(elsewhere).collect::<Vec<_>>().join("; ")
}
