//! Engines that lost their contexts together: each named a fatal CUDA error, and then ended or left the server. Evidence of
//! gpu_fault or of server_died that needs neither the server's log nor its word. The errors alone are words, and the ends
//! alone are ends.
//!
//! A client that is idle notices nothing of a fault and prints nothing. While one is there that neither ended nor named
//! an error, the server's own state tells: it stays in FAULT as long as a client that the fault hit is there.

use std::time::Duration;

use crate::decide::facts::engine::Engine;
use crate::decide::facts::said::{Run, RunState};
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stage::Stage;
use crate::decide::facts::words::is_context_fatal;
use crate::decide::policy::MpsUse;
use crate::model::Moment;

/// Time within which two engines whose contexts die died of one fault.
const TOGETHER: Duration = Duration::from_secs(2);

/// When the second of two engines lost its context close to the first, both after an error of that kind; the time of
/// its error.
pub(super) fn lost_together(scene: &Scene, of_kind: impl Fn(u32) -> bool) -> Option<(Moment, String)> {
    let runs = |engine: &&Engine| engine.alive() || engine.stage == Stage::Fallen;
    let here = || scene.engines.iter().filter(|engine| engine.instance.mps == MpsUse::Client).filter(runs);
    if here().any(|engine| is_untouched(engine, scene)) {
        return None;
    }
    let error = |engine: &Engine| {
        let of_kind = |run: &&Run| run.standing == RunState::Confirmed && of_kind(run.code);
        engine.instance.output.said.all().find(of_kind).map(|run| (run.first, run.code))
    };
    let lost = |engine: &'_ Engine| {
        let ((said, code), at) = (error(engine)?, engine.lost_its_context()?);
        Some((at, said, code, engine.name().as_str().to_owned()))
    };
    let mut lost: Vec<(Moment, Moment, u32, String)> = here().filter_map(lost).collect();
    lost.sort();
    let pair = lost.windows(2).find(|pair| pair[1].0.since(pair[0].0) <= TOGETHER)?;
    let because = format!(
        "engines {} and {} lost their contexts together (CUDA errors {} and {}, and each ended or left the server)",
        pair[0].3, pair[1].3, pair[0].2, pair[1].2
    );
    Some((pair[0].1.max(pair[1].1), because))
}

/// It is a client of the server, and nothing says that it lost its context.
fn is_untouched(engine: &Engine, scene: &Scene) -> bool {
    let listed = scene.server.clients.last();
    let is_client =
        engine.instance.processes().iter().any(|process| listed.is_some_and(|all| all.contains(&process.pid)));
    let speaks = engine.instance.output.said.open().any(|run| is_context_fatal(run.code));
    engine.alive() && is_client && engine.lost_its_context().is_none() && !speaks
}
