//! uid_mismatch: a client waits because its user is not the server's: one server serves one user. The same line
//! with the server's own user is only a start.

use super::Finding;
use super::door::kept_out;
use crate::decide::facts::kept_out::Why;
use crate::decide::facts::scene::Scene;
use crate::model::{Fault, Moment};

pub(super) fn find(scene: &Scene, now: Moment) -> Vec<Finding> {
    let Some(serves) = scene.server.uid else { return Vec::new() };
    let word = |why: Why| match why {
        Why::User(uid) if uid != serves => Some(format!("as user {uid}")),
        Why::User(_) | Why::Limit(_) => None,
    };
    let finding = |(whose, (since, who)): (Option<&crate::model::EngineName>, (Moment, Vec<String>))| {
        let because = format!(
            "the server serves user {serves} alone and keeps waiting: {}; the daemon now tries to shut the server down for it",
            who.join(", ")
        );
        Finding { engine: whose.cloned(), ..Finding::of_group(Fault::UidMismatch, since, because) }
    };
    kept_out(scene, now, word).into_iter().map(finding).collect()
}
