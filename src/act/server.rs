//! The MPS server: asks the control daemon for one, and watches its end. The server is the daemon's
//! child, not ours: how it ended can't be learnt.

use std::future::Future;
use std::sync::Arc;

use nix::unistd::{geteuid, getuid};

use super::shared::{Shared, failed};
use crate::host::child::account_of;
use crate::host::control::{CommandOutcome, READ_TIMEOUT};
use crate::host::pidfd::Pidfd;
use crate::model::{DomainId, Exit, GroupLaunch, Observation, Outcome, Owner};

/// Done when the daemon took the order; that the server is ACTIVE is seen by looking.
pub(super) async fn start(shared: &Shared, domain: &DomainId) -> Outcome {
    let uid = match shared.launch(domain) {
        Ok(launch) => uid_of(&launch),
        Err(outcome) => return outcome,
    };
    match shared.command(domain, &format!("start_server -uid {uid}"), READ_TIMEOUT).await {
        CommandOutcome::Answered(_) => Outcome::Done,
        CommandOutcome::Refused => failed("start_server: the control daemon serves others all the time"),
        CommandOutcome::Unreachable(why) => failed(format!("start_server: {why}")),
        CommandOutcome::NotAsked(why) => Outcome::NotAsked { why: format!("start_server: {why}") },
        CommandOutcome::Timeout => failed("start_server: the control daemon does not answer"),
    }
}

/// One server serves one user: that of the engines, where they have one, else ours.
fn uid_of(group: &GroupLaunch) -> u32 {
    let name = group.engines.iter().find_map(|engine| engine.user.as_deref()).filter(|_| geteuid().is_root());
    let account = name.and_then(|name| account_of(name).ok().flatten());
    account.map_or(getuid().as_raw(), |user| user.uid.as_raw())
}

/// Holds the server. What comes beside the outcome reports its end, and is to be run after the outcome was reported.
pub(super) fn watch(
    shared: &Arc<Shared>,
    domain: &DomainId,
    server: u32,
) -> (Outcome, Option<impl Future<Output = ()> + Send + use<>>) {
    match Pidfd::open(server) {
        Ok(Some(held)) if !held.is_gone() => {
            let held = Arc::new(held);
            shared.running().servers.insert(domain.clone(), held.clone());
            // What others run is nothing that the next run may end.
            if shared.launch(domain).is_ok_and(|launch| !launch.control.custody.is_others()) {
                shared.note(Owner::Server(domain.clone()), &held, None);
            }
            let process = held.id;
            (Outcome::Started { process }, Some(report_end(shared.clone(), domain.clone(), held)))
        }
        Ok(_) => (failed(format!("server {server} of group `{domain}` is gone")), None),
        Err(error) => (failed(format!("can't watch server {server} of group `{domain}`: {error}")), None),
    }
}

async fn report_end(shared: Arc<Shared>, domain: DomainId, held: Arc<Pidfd>) {
    held.gone().await;
    let owner = Owner::Server(domain);
    shared.observed(Observation::Ended { owner, process: held.id, exit: Exit::Unknown });
}
