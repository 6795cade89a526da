//! unknown_client: a client of the server that no engine owns and that holds it in FAULT.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Finding;
use crate::decide::facts::scene::Scene;
use crate::model::{Fault, Moment, ServerState};

/// How long a server over several GPUs may be in FAULT for clients of others while engines serve on.
const LONG: Duration = Duration::from_secs(10);

pub(super) fn find(scene: &Scene, awaits_active: Option<Moment>, now: Moment) -> Option<Finding> {
    let since = awaits_active.or_else(|| in_part(scene, now))?;
    let asked = scene.server.clients_asked.filter(|asked| *asked >= since)?;
    if scene.server.state.since(since) != Some(&ServerState::Fault) {
        return None;
    }
    let unknown = holders(scene)?;
    if unknown.is_empty() {
        return None;
    }
    let pids: Vec<String> = unknown.iter().map(u32::to_string).collect();
    let because = format!("client {} of the server belongs to no engine and holds it in FAULT", pids.join(", "));
    Some(Finding::of_group(Fault::UnknownClient, asked, because))
}

/// When a fault came that hit a part of the clients and lasts, so that newcomers wait for whoever holds it.
fn in_part(scene: &Scene, now: Moment) -> Option<Moment> {
    let at = scene.server.fatal.map(|fatal| fatal.at).filter(|_| scene.policy.gpus.are_several())?;
    (now.since(at) >= LONG).then_some(at)
}

/// Clients that no engine owns and that may hold the server in FAULT: of one over several GPUs only those that it tears
/// down.
pub(in crate::decide) fn holders(scene: &Scene) -> Option<BTreeSet<u32>> {
    let torn = scene.server.torn.clients();
    let holds = |pid: &u32| !scene.policy.gpus.are_several() || torn.is_empty() || torn.contains(pid);
    Some(unknown_clients(scene)?.into_iter().filter(holds).collect())
}

/// Clients of the server that no engine owns; `None`: the clients are not known.
pub(in crate::decide) fn unknown_clients(scene: &Scene) -> Option<BTreeSet<u32>> {
    let owned: BTreeSet<u32> =
        scene.engines.iter().flat_map(|engine| engine.instance.processes()).map(|process| process.pid).collect();
    scene.server.clients.last().map(|clients| clients.difference(&owned).copied().collect())
}
