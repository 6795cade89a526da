//! server_died: the server's process ended (pidfd, or the control daemon's word). Its clients get 806, some 80 ms before the
//! process is gone: the driver's teardown comes first, and the daemon calls a server in teardown FAULT (docs/h200.md).

use crate::decide::group::Group;
use crate::decide::said::{Run, Standing};
use crate::decide::words::is_context_fatal;
use crate::model::{Fault, Moment, ServerState};

use super::Finding;
use super::together::{is_of_a_lost_server, lost_together};

pub(super) fn find(group: &Group) -> Option<Finding> {
    let gone = group.server.died.map(|at| (at, "the MPS server's process ended".to_owned()));
    let found = gone.or_else(|| dying(group)).or_else(|| lost_together(group, is_of_a_lost_server));
    let (at, because) = found?;
    Some(Finding::of_group(Fault::ServerDied, at, because))
}

/// The server's state is FAULT, without a line of a fatal error, and every error that engines named since says that the
/// server is gone: no kernel went wrong.
pub(super) fn is_dying(group: &Group) -> bool {
    let server = &group.server;
    let faulted = server.state.last() == Some(&ServerState::Fault) && server.fatal.is_none();
    let errors: Vec<u32> = confirmed(group).map(|run| run.code).collect();
    faulted && !errors.is_empty() && errors.into_iter().all(is_of_a_lost_server)
}

fn dying(group: &Group) -> Option<(Moment, String)> {
    let first = confirmed(group).min_by_key(|run| run.first).filter(|_| is_dying(group))?;
    let pid = group.server.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    Some((first.first, format!("server {pid} says FAULT and its clients lost it (CUDA error {})", first.code)))
}

/// Fatal errors of engines that live, which a fact has confirmed.
fn confirmed(group: &Group) -> impl Iterator<Item = &Run> {
    let runs = group.engines.iter().filter(|engine| engine.alive()).flat_map(|engine| engine.said.all());
    runs.filter(|run| run.standing == Standing::Confirmed && is_context_fatal(run.code))
}
