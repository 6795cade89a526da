//! server_died: the server's process ended (pidfd, or the control daemon's word). Its clients get 806.

use crate::decide::group::Group;
use crate::model::Fault;

use super::Finding;

pub(super) fn find(group: &Group) -> Option<Finding> {
    let at = group.server.died?;
    Some(Finding::of_group(Fault::ServerDied, at, "the MPS server's process ended".to_owned()))
}
