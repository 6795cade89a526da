//! Observes which processes each engine of a group has, what they use, what the OOM killer took of them and the
//! settings of MPS that they were started with; and what processes that no engine owns were started as. Sends no
//! signal.

use std::path::Path;
use std::sync::LazyLock;
use std::thread;

use tokio::sync::oneshot;

use super::reports::Reports;
use super::{Answer, LookIo};
use crate::host::environ::MpsEnvironments;
use crate::host::own_limits;
use crate::host::procfs::Procfs;
use crate::model::{Blindness, CommandLine, DomainId, Member, Observation};
use crate::text::secrets::Secrets;

/// What is hidden of command lines; its patterns are made once.
static SECRETS: LazyLock<Option<Secrets>> = LazyLock::new(|| Secrets::new().ok());

pub(super) fn look(io: &dyn LookIo, domain: &DomainId, reports: &Reports) -> Result<(), Blindness> {
    let trees = io.trees(domain).map_err(Blindness::not_asked)?;
    let claimed = io.claimed(domain);
    for (engine, mut processes) in trees {
        let tree = processes.iter().map(|usage| usage.process).collect();
        if let Some((_, claimed)) = claimed.iter().find(|(key, claimed)| key == &engine && !claimed.is_empty()) {
            // Before the tree that has them, too. What they use is not the engine's.
            processes.retain(|usage| !claimed.contains(&usage.process));
            reports.observed(Observation::Claimed { engine: engine.clone(), processes: claimed.clone() });
        }
        reports.observed(Observation::Tree { engine: engine.clone(), processes: tree });
        reports.observed(Observation::Usage { engine, processes });
    }
    for (engine, oom_kills) in io.oom_kills(domain) {
        reports.observed(Observation::MemoryEvents { engine, oom_kills });
    }
    if let Some(available) = io.host_memory() {
        reports.observed(Observation::HostMemory { domain: domain.clone(), available });
    }
    Ok(())
}

pub(super) async fn look_told(
    answer: Answer<Result<MpsEnvironments, String>>,
    engine: Member,
    reports: Reports,
) -> Result<(), Blindness> {
    let MpsEnvironments { processes, overwritten } = answer.await.map_err(Blindness::not_asked)?;
    reports.observed(Observation::Environment { engine, processes, overwritten });
    Ok(())
}

pub(super) async fn look_pipe(
    answer: Answer<Result<Vec<u32>, Blindness>>,
    domain: DomainId,
    reports: Reports,
) -> Result<(), Blindness> {
    let connected = answer.await?;
    reports.observed(Observation::Pipe { domain, connected });
    Ok(())
}

/// Reads command lines on a thread of its own: they are in their process's memory, and a process that a driver call
/// holds makes the reader wait. Such a thread is left behind; the core asks a few times only.
pub(super) async fn look_at_commands(domain: DomainId, asked: Vec<u32>, reports: Reports) -> Result<(), Blindness> {
    let (answer, answered) = oneshot::channel();
    let pids = asked.clone();
    let reader = thread::Builder::new().name("commands".to_owned());
    reader
        .spawn(move || {
            // A command line is read with its secrets hidden, or not at all.
            if let Some(secrets) = &*SECRETS {
                let _ = answer.send(read(&Procfs::new(Path::new("/proc")), &pids, secrets));
            }
        })
        .map_err(|error| Blindness::not_asked(format!("no thread to read command lines: {error}")))?;
    let found = answered.await.map_err(|_| "the thread that reads command lines ended".to_owned())?;
    let found = found.map_err(Blindness::not_asked)?;
    reports.observed(Observation::CommandLines { domain, asked, found });
    Ok(())
}

/// Reads command lines. Nothing is said of a process that can't be read for our own sake: it is not gone.
fn read(procfs: &Procfs, pids: &[u32], secrets: &Secrets) -> Result<Vec<CommandLine>, String> {
    let mut found = Vec::new();
    for pid in pids {
        match procfs.command(*pid, secrets) {
            Err(error) if own_limits::is_ours(&error) => return Err(format!("/proc can't be read: {error}")),
            command => found.extend(command.ok().flatten()),
        }
    }
    Ok(found)
}
