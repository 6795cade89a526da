//! Ends all processes of engines at once by KILL, until a look finds none that was not signalled.
//! Whether they are gone is asked afterwards.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use nix::sys::signal::Signal;

use super::external;
use super::shared::{Shared, refused};
use crate::host::control::{CommandOutcome, READ_TIMEOUT};
use crate::host::hold::Hold;
use crate::host::pidfd::{Pidfd, Signalled};
use crate::host::{clock, mps_log};
use crate::model::{DomainId, EngineName, Moment, Outcome, ProcessId};

pub(super) async fn kill_engines(
    shared: &Arc<Shared>,
    domain: &DomainId,
    engines: &[EngineName],
    strays: &[u32],
    deadline: Moment,
) -> Outcome {
    let (theirs, ours): (Vec<EngineName>, Vec<EngineName>) =
        engines.iter().cloned().partition(|engine| external::of(shared, &domain.member(engine)).is_some());
    let (killed, ended) = tokio::join!(
        try_kill(shared, domain, &ours, strays, deadline),
        external::end_all(shared, domain, &theirs, deadline),
    );
    match (killed, ended) {
        (Ok(killed), Ok(ended)) => Outcome::Killed { processes: killed.union(&ended).copied().collect() },
        (Err(error), _) => refused(&error, format!("can't end all processes of group `{domain}`: {error}")),
        (Ok(_), Err(outcome)) => outcome,
    }
}

/// First those already held, without a search between them; then whatever a look still finds. What forks
/// between two looks dies with its parents in the next.
async fn try_kill(
    shared: &Shared,
    domain: &DomainId,
    engines: &[EngineName],
    strays: &[u32],
    deadline: Moment,
) -> io::Result<BTreeSet<ProcessId>> {
    let mut killed = BTreeSet::new();
    let known = shared.trees.known(domain, engines);
    for cgroup in shared.trees.cgroups(domain, engines) {
        // One that can't be killed as a whole is killed one by one below.
        let _ = cgroup.kill();
    }
    signal_all(&known, &mut killed)?;
    signal_all(&still_clients(shared, domain, strays).await?, &mut killed)?;
    loop {
        let living = shared.trees.living(domain, engines)?;
        let missed: Vec<_> = living.into_iter().filter(|held| !killed.contains(&held.id)).collect();
        if missed.is_empty() || clock::now() >= deadline {
            return Ok(killed);
        }
        signal_all(&missed, &mut killed)?;
        tokio::task::yield_now().await;
    }
}

/// Holds the strays first and asks the server afterwards: a process that still is its client then is the process that
/// is held, and no other under the same pid.
async fn still_clients(shared: &Shared, domain: &DomainId, strays: &[u32]) -> io::Result<Vec<Hold>> {
    let held = strays.iter().filter_map(|pid| Pidfd::open(*pid).transpose()).collect::<io::Result<Vec<_>>>()?;
    let clients = if held.is_empty() { Vec::new() } else { clients(shared, domain).await };
    Ok(held.into_iter().filter(|stray| clients.contains(&stray.id.pid)).map(|stray| Arc::new(stray).into()).collect())
}

/// Every client of the group's server; none where the daemon does not answer.
async fn clients(shared: &Shared, domain: &DomainId) -> Vec<u32> {
    let mut clients = Vec::new();
    for server in pids(shared, domain, "get_server_list").await {
        clients.extend(pids(shared, domain, &format!("get_client_list {server}")).await);
    }
    clients
}

async fn pids(shared: &Shared, domain: &DomainId, command: &str) -> Vec<u32> {
    let outcome = shared.command(domain, command, READ_TIMEOUT).await;
    let CommandOutcome::Answered(answer) = outcome else { return Vec::new() };
    mps_log::pids(&answer).unwrap_or_default()
}

/// Signals all of them, also when one refuses; then reports the refusal.
fn signal_all(held: &[Hold], killed: &mut BTreeSet<ProcessId>) -> io::Result<()> {
    let mut refused = None;
    for process in held {
        match process.signal(Signal::SIGKILL) {
            Ok(Signalled::Sent) => drop(killed.insert(process.id)),
            Ok(Signalled::AlreadyGone) => {}
            Err(error) => refused = Some(io::Error::new(error.kind(), format!("process {}: {error}", process.id))),
        }
    }
    refused.map_or(Ok(()), Err)
}
