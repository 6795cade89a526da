//! server_died: the server's process ended (pidfd, or the control daemon's word). Its clients get 806, some 80 ms before the
//! process is gone: the driver's teardown comes first, and the daemon calls a server in teardown FAULT (docs/h200.md).

use super::Finding;
use super::together::lost_together;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::words::is_of_a_lost_server;
use crate::model::{Fault, Moment};

pub(super) fn find(scene: &Scene) -> Option<Finding> {
    let gone = scene.server.died.map(|at| (at, "the MPS server's process ended".to_owned()));
    let found = gone.or_else(|| dying(scene)).or_else(|| lost_together(scene, is_of_a_lost_server));
    let (at, because) = found?;
    Some(Finding::of_group(Fault::ServerDied, at, because))
}

fn dying(scene: &Scene) -> Option<(Moment, String)> {
    let (at, code) = scene.server.dying?;
    let server = scene.server.words();
    Some((at, format!("{server} says FAULT and its clients lost it (CUDA error {code})")))
}
