//! Finds the control daemon that others run, and watches it: until it ends, or another has come in its place. It is asked
//! and never told anything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::{Shared, failed};
use crate::host::child;
use crate::host::control::{CommandOutcome, ControlClient, READ_TIMEOUT};
use crate::host::daemon_holder::{Holder, SocketId, holder};
use crate::host::owners::Owners;
use crate::host::pidfd::Pidfd;
use crate::host::watch_lock::{self, WatchLock, WatchLockError};
use crate::model::{DomainId, Exit, HeldReason, Observation, Outcome, Owner};

/// Pause between two looks whether another daemon has come in the place of one that lives.
const PAUSE: Duration = Duration::from_secs(1);

/// A control daemon of others that is looked after.
#[derive(Debug)]
pub(super) struct Attached {
    socket: SocketId,
    pub held: Arc<Pidfd>,
    _lock: WatchLock,
}

pub(super) async fn find(shared: &Arc<Shared>, domain: &DomainId) -> Outcome {
    try_find(shared, domain).await.unwrap_or_else(|outcome| outcome)
}

async fn try_find(shared: &Arc<Shared>, domain: &DomainId) -> Result<Outcome, Outcome> {
    let control = shared.control(domain).ok_or_else(|| failed(format!("no group `{domain}`")))?;
    if let Err(error) = child::find_program(control.binary()) {
        let why = format!("the control daemon of group `{domain}` can't be asked: {error}");
        return Err(Outcome::Waits { reason: HeldReason::MpsBinaryMissing, why });
    }
    let (held, socket) = look(&control).await?;
    let known = shared.running().attached.get(domain).map(|known| (known.socket, known.held.id));
    if known != Some((socket, held.id)) {
        // What was looked after before is let go of first: it may be the same socket.
        shared.running().attached.remove(domain);
        let lock = WatchLock::take(&watch_lock::directory(), socket).map_err(locked)?;
        answers(shared, domain).await?;
        // Who runs it is known while it lives: a dead one has no cgroup.
        let supervisor = Owners::default().supervisor_of(held.id.pid);
        shared.running().supervisors.extend(supervisor.map(|supervisor| (domain.clone(), supervisor)));
        let (held, path) = (Arc::new(held), control.pipe_directory().join("control"));
        let attached = Attached { socket, held: held.clone(), _lock: lock };
        shared.running().attached.insert(domain.clone(), attached);
        tokio::spawn(report_end(shared.clone(), domain.clone(), held.clone(), (path, socket)));
        return Ok(Outcome::Started { process: held.id });
    }
    answers(shared, domain).await?;
    Ok(Outcome::Started { process: held.id })
}

async fn look(control: &ControlClient) -> Result<(Pidfd, SocketId), Outcome> {
    let (path, binary) = (control.pipe_directory().join("control"), control.binary().to_owned());
    let looked = tokio::task::spawn_blocking(move || holder(&path, &binary)).await;
    match looked {
        Ok(Ok(Holder::Process(held, socket))) => Ok((held, socket)),
        Ok(Ok(Holder::Nobody(why) | Holder::Unseen(why))) => {
            Err(Outcome::Waits { reason: HeldReason::ControlAbsent, why })
        }
        Ok(Err(error)) => Err(Outcome::NotAsked { why: format!("can't look who holds the socket: {error}") }),
        Err(error) => Err(Outcome::NotAsked { why: format!("the look for the control daemon broke off: {error}") }),
    }
}

fn locked(error: WatchLockError) -> Outcome {
    let why = error.to_string();
    match error {
        WatchLockError::Held(_) => Outcome::Waits { reason: HeldReason::WatchedByAnother, why },
        WatchLockError::Io(..) => Outcome::NotAsked { why },
    }
}

/// Whether it answers a question.
async fn answers(shared: &Shared, domain: &DomainId) -> Result<(), Outcome> {
    let absent = |why: String| Err(Outcome::Waits { reason: HeldReason::ControlAbsent, why });
    match shared.command(domain, "get_server_list", READ_TIMEOUT).await {
        // One that serves another caller is there.
        CommandOutcome::Answered(_) | CommandOutcome::Refused => Ok(()),
        CommandOutcome::Timeout => absent("its socket is there, and it does not answer".to_owned()),
        CommandOutcome::Unreachable(why) => absent(format!("its socket is there, and no command reaches it: {why}")),
        CommandOutcome::NotAsked(why) => Err(Outcome::NotAsked { why }),
    }
}

/// Reports its end: that of its process, or of its place at the socket.
async fn report_end(shared: Arc<Shared>, domain: DomainId, held: Arc<Pidfd>, (path, socket): (PathBuf, SocketId)) {
    let replaced = async {
        while SocketId::at(&path) == Some(socket) {
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = held.gone() => {}
        () = replaced => {}
    }
    {
        let mut running = shared.running();
        let is_it = running.attached.get(&domain).is_some_and(|known| known.held.id == held.id);
        if !is_it {
            return;
        }
        running.attached.remove(&domain);
    }
    shared.observed(Observation::Ended { owner: Owner::Control(domain), process: held.id, exit: Exit::Unknown });
}
