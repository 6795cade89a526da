//! unknown_client: a client of the server that no engine owns and that holds it in FAULT.

use std::collections::BTreeSet;

use crate::decide::domain::Domain;
use crate::model::{Fault, ServerState};

use super::Finding;

pub(super) fn find(group: &Domain) -> Option<Finding> {
    let since = group.waiting_for_active()?;
    let asked = group.server.clients_asked.filter(|asked| *asked >= since)?;
    if group.server.state.since(since) != Some(&ServerState::Fault) {
        return None;
    }
    let unknown = unknown_clients(group)?;
    if unknown.is_empty() {
        return None;
    }
    let pids: Vec<String> = unknown.iter().map(u32::to_string).collect();
    let because = format!("client {} of the server belongs to no engine and holds it in FAULT", pids.join(", "));
    Some(Finding::of_group(Fault::UnknownClient, asked, because))
}

/// Clients of the server that no engine owns; `None`: the clients are not known.
pub(in crate::decide) fn unknown_clients(group: &Domain) -> Option<BTreeSet<u32>> {
    let owned: BTreeSet<u32> =
        group.engines.iter().flat_map(|engine| engine.instance.processes()).map(|process| process.pid).collect();
    group.server.clients.last().map(|clients| clients.difference(&owned).copied().collect())
}
