//! server_died: the server's process ended (pidfd, or the control daemon's word). Its clients get 806, some
//! 80 ms before the process is gone: the driver's teardown comes first.

use crate::decide::group::Group;
use crate::model::Fault;

use super::Finding;
use super::together::{is_of_a_lost_server, lost_together};

pub(super) fn find(group: &Group) -> Option<Finding> {
    let gone = group.server.died.map(|at| (at, "the MPS server's process ended".to_owned()));
    let (at, because) = gone.or_else(|| lost_together(group, is_of_a_lost_server))?;
    Some(Finding::of_group(Fault::ServerDied, at, because))
}
