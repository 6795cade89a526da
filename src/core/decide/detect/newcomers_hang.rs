//! newcomers_hang: the server says ACTIVE and lets no client in, after a client of it was killed. Only a new server
//! helps, and that costs the engines that serve: so it is acted on only while none does, and only where the
//! configuration says so.

use super::Finding;
use crate::decide::facts::newcomers::HANGS_AFTER;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::stage::Stage;
use crate::model::{Fault, Moment, ServerState};

pub(super) fn find(scene: &Scene, now: Moment) -> Option<Finding> {
    let (_, killed) = scene.killed_in_its_life()?;
    let waits = |engine: &&crate::decide::facts::engine::Engine| {
        engine.stage == Stage::Starting && engine.knocks.is_some_and(|since| now.since(since) >= HANGS_AFTER)
    };
    let waiting: Vec<_> = scene.engines.iter().filter(waits).collect();
    let since = waiting.iter().filter_map(|engine| engine.knocks).min()?;
    if scene.server.state.last() != Some(&ServerState::Active) {
        return None;
    }
    let names: Vec<&str> = waiting.iter().map(|engine| engine.name().as_str()).collect();
    let because = format!(
        "{} is ACTIVE and lets no client in: {} has had a connection to its pipe and no client for {} s, after {killed} in this \
         server's life",
        scene.server.words(),
        names.join(", "),
        HANGS_AFTER.as_secs()
    );
    let serves = scene.engines.iter().any(|engine| engine.stage == Stage::Serving);
    Some(Finding { acts: !serves, ..Finding::of_group(Fault::NewcomersHang, since.after(HANGS_AFTER), because) })
}
