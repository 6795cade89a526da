//! What a group lacks before another engine may start in it. Pure.

use std::time::Duration;

use super::client::wire::Lack;
use crate::model::{GroupName, GroupState, GroupStatus, Moment, RecoveryStep, ServerState, Status};
use crate::text::figures::bytes;

/// A status that is older says nothing: the loop makes one each second.
const STALE: Duration = Duration::from_secs(10);

/// What is lacking first, and why, in words. `memory`: bytes that must be free.
pub(super) fn lacking(status: &Status, name: &GroupName, memory: Option<u64>, now: Moment) -> Option<(Lack, String)> {
    let age = now.since(status.at);
    if age > STALE {
        return Some((Lack::Watchdog, format!("it has seen nothing for {} s", age.as_secs())));
    }
    let Some(group) = status.group(name.as_str()) else {
        return Some((Lack::Watchdog, format!("it has no group {name} any more")));
    };
    daemon(group)
        .or_else(|| recovery(group))
        .or_else(|| server(group))
        .or_else(|| memory.and_then(|memory| no_room(status, group, memory)))
}

fn daemon(group: &GroupStatus) -> Option<(Lack, String)> {
    let why = match group.control_up {
        Some(true) => return None,
        Some(false) => "the control daemon does not answer",
        None if group.state == GroupState::Stopped => "the group is stopped",
        None => "the control daemon is not up",
    };
    Some((Lack::Daemon, why.to_owned()))
}

/// A daemon that others run starts its server for the first client, and lets it go with the last: none is there until an
/// engine has passed.
fn server(group: &GroupStatus) -> Option<(Lack, String)> {
    let fine = match group.server {
        ServerState::Active => true,
        ServerState::None => group.custody.is_others(),
        ServerState::Initializing | ServerState::Fault | ServerState::Unknown => false,
    };
    (!fine).then(|| (Lack::Server, format!("the server is {}, not active", group.server)))
}

/// Nobody starts while old processes end and their memory comes back; once the group's own engines start, others may.
fn recovery(group: &GroupStatus) -> Option<(Lack, String)> {
    if let Some((reason, _)) = &group.held {
        return Some((Lack::Recovery, format!("the group is held ({reason})")));
    }
    let recovery = group.recovery.as_ref()?;
    let starts = matches!(recovery.step, RecoveryStep::Start | RecoveryStep::Ready);
    (!starts).then(|| (Lack::Recovery, format!("all engines are restarted, step {}", recovery.step)))
}

fn no_room(status: &Status, group: &GroupStatus, memory: u64) -> Option<(Lack, String)> {
    // Which of several it will use is not known: there is room where one of them has it.
    let gpus = status.gpus.iter().filter(|gpu| group.gpus.contains(&gpu.identity.uuid));
    let free = gpus.filter_map(|gpu| Some(gpu.identity.memory_total?.saturating_sub(gpu.memory_used?))).max();
    match free {
        Some(free) if free >= memory => None,
        Some(free) => Some((Lack::Memory, format!("{} are free, {} are needed", bytes(free), bytes(memory)))),
        None => Some((Lack::Memory, "how much is free is not known".to_owned())),
    }
}
