//! Waits until processes are proven gone: every pidfd has fired and a last look finds none. Sends no signal.

use std::io;
use std::path::Path;

use tokio::time::timeout;

use super::shared::{Shared, refused};
use crate::host::hold::Hold;
use crate::host::procfs::Procfs;
use crate::host::trees::MOST_HELD;
use crate::host::{clock, reaper};
use crate::model::{DomainId, EngineName, Moment, Outcome, ProcessId, Remaining};

pub(super) async fn await_gone(
    shared: &Shared,
    domain: &DomainId,
    engines: &[EngineName],
    processes: &[ProcessId],
    deadline: Moment,
) -> Outcome {
    match remaining(shared, domain, engines, processes, deadline).await {
        Ok(remaining) => Outcome::Gone { remaining },
        Err(error) => refused(&error, format!("can't see whether the processes of group `{domain}` are gone: {error}")),
    }
}

/// The processes that are still there at the deadline; none as soon as all are gone.
pub(super) async fn remaining(
    shared: &Shared,
    domain: &DomainId,
    engines: &[EngineName],
    processes: &[ProcessId],
    deadline: Moment,
) -> io::Result<Vec<Remaining>> {
    let mut waited = Hold::all(processes.iter().copied(), MOST_HELD)?;
    loop {
        let all_gone = async {
            for held in &waited {
                held.gone().await;
            }
        };
        let _ = timeout(deadline.since(clock::now()), all_gone).await;
        waited.retain(|held| !held.is_gone());
        let living = shared.trees.living(domain, engines)?;
        let is_new = |held: &Hold| waited.iter().all(|old| old.id != held.id);
        let new: Vec<_> = living.into_iter().filter(is_new).collect();
        waited.extend(new);
        if waited.is_empty() || clock::now() >= deadline {
            reaper::reap_now();
            return Ok(waited.iter().map(describe).collect());
        }
    }
}

fn describe(held: &Hold) -> Remaining {
    let stat = Procfs::new(Path::new("/proc")).stat(held.id.pid).ok().flatten();
    Remaining { process: held.id, state: stat.map_or('?', |stat| stat.state) }
}
