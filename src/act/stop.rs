//! Stops one engine: TERM to its main process, KILL to all that is left of it, proof that it is gone.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::external::{self, Scope};
use super::shared::{Shared, failed, refused};
use super::{gone, kill};
use crate::host::clock;
use crate::host::pidfd::{Pidfd, Signalled};
use crate::model::{Member, Moment, Outcome, ProcessId};

/// Part of the time to the deadline that is kept for KILL and its proof.
const FOR_KILL: Duration = Duration::from_secs(1);

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever is no end of processes is the outcome")]
pub(super) async fn stop(shared: &Arc<Shared>, key: &Member, grace: Duration, deadline: Moment) -> Outcome {
    let engines = std::slice::from_ref(&key.engine);
    let until_kill = deadline.before(FOR_KILL).since(clock::now());
    let grace = grace.min(until_kill);
    let killed = match external::of(shared, key) {
        Some(theirs) => external::end(shared, key, &theirs, (grace, Scope::One), deadline).await,
        None => {
            ask(shared, key, grace).await;
            match kill::kill_engines(shared, &key.domain, engines, &[], deadline).await {
                Outcome::Killed { processes } => Ok(processes.into_iter().collect()),
                other => Err(other),
            }
        }
    };
    let killed: Vec<ProcessId> = match killed {
        Ok(killed) => killed.into_iter().collect(),
        Err(outcome) => return outcome,
    };
    match gone::remaining(shared, &key.domain, engines, &killed, deadline).await {
        Ok(remaining) if remaining.is_empty() => Outcome::Done,
        Ok(remaining) => {
            let named: Vec<String> =
                remaining.iter().map(|left| format!("{} ({})", left.process, left.state)).collect();
            failed(format!("engine `{key}`: KILL did not end process {}; D is stuck in the kernel", named.join(", ")))
        }
        Err(error) => refused(&error, format!("engine `{key}`: can't see whether it is gone: {error}")),
    }
}

/// Gives its main process the time to end by itself, and its children with it.
async fn ask(shared: &Shared, key: &Member, grace: Duration) {
    let Some(main) = shared.trees.main(key) else { return };
    if grace.is_zero() {
        return;
    }
    if let Ok(Some(held)) = Pidfd::open_exact(main)
        && matches!(held.signal(Signal::SIGTERM), Ok(Signalled::Sent))
    {
        // Whoever is left after that is killed.
        let _ = timeout(grace, held.gone()).await;
    }
}
