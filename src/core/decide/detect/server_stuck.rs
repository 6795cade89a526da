//! server_stuck: FAULT for longer than the driver needs (it needs 20 ms) after the last client left.

use std::time::Duration;

use super::Finding;
use crate::decide::facts::scene::Scene;
use crate::model::{Fault, Moment, ServerState};

/// How long FAULT may outlive the last client.
const STUCK_AFTER: Duration = Duration::from_secs(2);

pub(super) fn find(scene: &Scene, awaits_active: Option<Moment>, now: Moment) -> Option<Finding> {
    let since = awaits_active?;
    let fault = scene.server.state.since(since) == Some(&ServerState::Fault);
    let empty = scene.server.clients_asked.is_some_and(|asked| asked >= since)
        && scene.server.clients.last().is_some_and(|clients| clients.is_empty());
    if !fault || !empty || now.since(since) < STUCK_AFTER {
        return None;
    }
    let because = format!("the server is in FAULT {} s after its last client left", now.since(since).as_secs());
    Some(Finding::of_group(Fault::ServerStuck, since, because))
}
