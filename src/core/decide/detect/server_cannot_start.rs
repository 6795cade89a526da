//! server_cannot_start: the MPS server ended before it was ever ready. What it said of itself, and how it ended, by the
//! daemon's log. One that lives and does not get ready is `server_stuck`.

use super::Finding;
use crate::decide::facts::scene::Scene;
use crate::model::Fault;

pub(super) fn find(scene: &Scene) -> Option<Finding> {
    let failed = scene.server.starts.last_failed()?;
    Some(Finding { acts: false, ..Finding::of_group(Fault::ServerCannotStart, failed.since, failed.words()) })
}
