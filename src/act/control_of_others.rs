//! Has the control daemon that others run ended and started through them. Signals nothing, and sweeps no directory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::external::{not_done, run};
use super::find_control;
use super::shared::{Shared, failed};
use crate::host::clock;
use crate::host::supervisor::{Supervisor, SupervisorError};
use crate::model::{DomainId, HeldReason, Moment, Outcome, RestartBy};

/// Pause between two looks for a daemon that was asked for.
const PAUSE: Duration = Duration::from_millis(100);
/// Part of the time to the deadline that is kept for the proof and the answer.
const FOR_THE_ANSWER: Duration = Duration::from_secs(1);

/// Has it started, unless it is there, and waits until it answers.
pub(super) async fn start(shared: &Arc<Shared>, domain: &DomainId, deadline: Moment) -> Outcome {
    let until = deadline.before(FOR_THE_ANSWER);
    let mut why = match find(shared, domain).await {
        Ok(outcome) => return outcome,
        Err(why) => why,
    };
    let asked = match of(shared, domain) {
        Ok(DaemonOwner::Supervisor(supervisor)) => supervisor.start().await,
        Ok(DaemonOwner::Commands { start, .. }) => run(&start, until).await,
        Err(error) => Err(error),
    };
    if let Err(error) = asked {
        return not_done(&format!("the control daemon of {domain}"), "started", error);
    }
    while clock::now() < until {
        sleep(PAUSE).await;
        match find(shared, domain).await {
            Ok(outcome) => return outcome,
            Err(now) => why = now,
        }
    }
    Outcome::Waits { reason: HeldReason::ControlAbsent, why }
}

/// Looks for it. The error: why it is not there.
async fn find(shared: &Arc<Shared>, domain: &DomainId) -> Result<Outcome, String> {
    let outcome = find_control::find(shared, domain).await;
    if let Outcome::Waits { reason: HeldReason::ControlAbsent, why } = outcome { Err(why) } else { Ok(outcome) }
}

/// Has it ended, and proves that.
pub(super) async fn stop(shared: &Arc<Shared>, domain: &DomainId, grace: Duration, deadline: Moment) -> Outcome {
    let until = deadline.before(FOR_THE_ANSWER);
    let held = shared.running().attached.get(domain).map(|attached| attached.held.clone());
    let asked = match of(shared, domain) {
        Ok(DaemonOwner::Supervisor(supervisor)) => supervisor.stop(grace).await,
        Ok(DaemonOwner::Commands { stop, .. }) => run(&stop, until).await,
        Err(error) => Err(error),
    };
    let Some(held) = held.filter(|held| !held.is_gone()) else {
        // Nothing is left to be ended, whatever was said of it.
        return Outcome::Done;
    };
    if let Err(error) = asked {
        return not_done(&format!("the control daemon of {domain}"), "stopped", error);
    }
    match timeout(deadline.since(clock::now()), held.gone()).await {
        Ok(()) => Outcome::Done,
        Err(_) => failed(format!("the control daemon {} of {domain} was asked to end, and has not", held.id)),
    }
}

/// Those through whom it is restarted.
enum DaemonOwner {
    Supervisor(Supervisor),
    Commands { stop: Vec<String>, start: Vec<String> },
}

fn of(shared: &Shared, domain: &DomainId) -> Result<DaemonOwner, SupervisorError> {
    let known = shared.running().supervisors.get(domain).cloned();
    let nobody = |why: &str| Err(SupervisorError::Failed(why.to_owned()));
    match shared.launch(domain).map(|launch| launch.control.restart_by.clone()) {
        Ok(RestartBy::Supervisor) => known.map(DaemonOwner::Supervisor).map_or_else(
            || {
                nobody(
                    "it was in no unit of the system's systemd and in no container of Docker or Podman: write commands in \
                     mps.restart_by",
                )
            },
            Ok,
        ),
        Ok(RestartBy::Commands { stop, start }) => Ok(DaemonOwner::Commands { stop, start }),
        Ok(RestartBy::Nobody | RestartBy::Signal) | Err(_) => nobody("mps.restart_by names nobody who can be asked"),
    }
}
