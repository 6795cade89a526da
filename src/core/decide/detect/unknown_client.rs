//! unknown_client: a client of the server that no engine owns and that holds it in FAULT.

use std::collections::BTreeSet;

use super::Finding;
use crate::decide::facts::scene::Scene;
use crate::model::{Fault, Moment, ServerState};

pub(super) fn find(scene: &Scene, awaits_active: Option<Moment>) -> Option<Finding> {
    let since = awaits_active?;
    let asked = scene.server.clients_asked.filter(|asked| *asked >= since)?;
    if scene.server.state.since(since) != Some(&ServerState::Fault) {
        return None;
    }
    let unknown = unknown_clients(scene)?;
    if unknown.is_empty() {
        return None;
    }
    let pids: Vec<String> = unknown.iter().map(u32::to_string).collect();
    let because = format!("client {} of the server belongs to no engine and holds it in FAULT", pids.join(", "));
    Some(Finding::of_group(Fault::UnknownClient, asked, because))
}

/// Clients of the server that no engine owns; `None`: the clients are not known.
pub(in crate::decide) fn unknown_clients(scene: &Scene) -> Option<BTreeSet<u32>> {
    let owned: BTreeSet<u32> =
        scene.engines.iter().flat_map(|engine| engine.instance.processes()).map(|process| process.pid).collect();
    scene.server.clients.last().map(|clients| clients.difference(&owned).copied().collect())
}
