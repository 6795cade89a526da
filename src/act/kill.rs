//! Ends all processes of engines at once by KILL, until a look finds none that was not signalled.
//! Whether they are gone is asked afterwards.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use nix::sys::signal::Signal;

use super::shared::{Shared, failed};
use crate::host::clock;
use crate::host::pidfd::{Pidfd, Signalled};
use crate::model::{EngineName, GroupName, Moment, Outcome, ProcessId};

pub(super) async fn kill_engines(
    shared: &Shared,
    group: &GroupName,
    engines: &[EngineName],
    strays: &[ProcessId],
    deadline: Moment,
) -> Outcome {
    match try_kill(shared, group, engines, strays, deadline).await {
        Ok(killed) => Outcome::Killed { processes: killed.into_iter().collect() },
        Err(error) => failed(format!("can't end all processes of group `{group}`: {error}")),
    }
}

/// First those already held, without a search between them; then whatever a look still finds. What forks
/// between two looks dies with its parents in the next.
async fn try_kill(
    shared: &Shared,
    group: &GroupName,
    engines: &[EngineName],
    strays: &[ProcessId],
    deadline: Moment,
) -> io::Result<BTreeSet<ProcessId>> {
    let mut killed = BTreeSet::new();
    let known = shared.trees.known(group, engines);
    for cgroup in shared.trees.cgroups(group, engines) {
        // One that can't be killed as a whole is killed one by one below.
        let _ = cgroup.kill();
    }
    signal_all(&known, &mut killed)?;
    let strays = strays.iter().filter_map(|stray| Pidfd::open_exact(*stray).transpose()).map(|held| held.map(Arc::new));
    signal_all(&strays.collect::<io::Result<Vec<_>>>()?, &mut killed)?;
    loop {
        let living = shared.trees.living(group, engines)?;
        let missed: Vec<_> = living.into_iter().filter(|held| !killed.contains(&held.id)).collect();
        if missed.is_empty() || clock::now() >= deadline {
            return Ok(killed);
        }
        signal_all(&missed, &mut killed)?;
        tokio::task::yield_now().await;
    }
}

/// Signals all of them, also when one refuses; then tells of the refusal.
fn signal_all(held: &[Arc<Pidfd>], killed: &mut BTreeSet<ProcessId>) -> io::Result<()> {
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
