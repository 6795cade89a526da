//! Reaping: children by their handle, adopted orphans as they come. Never takes an exit status away
//! from a handle or from another part of the process.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc;
use nix::unistd::getsid;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use tokio::signal::unix::{SignalKind, signal};

use super::birth::Birth;
use super::pidfd::Pidfd;
use super::procfs::Procfs;
use crate::model::Exit;

/// Pids of children that a handle will reap. Held through fork, so that none is reaped before it is here.
static OWNED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn owned() -> MutexGuard<'static, BTreeSet<u32>> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes orphans among our descendants our children from now on, instead of init's.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Reaps adopted orphans as long as it runs.
pub async fn reap_orphans() -> io::Result<()> {
    let mut ends = signal(SignalKind::child())?;
    loop {
        reap_now();
        if ends.recv().await.is_none() {
            return Ok(());
        }
    }
}

/// Reaps every ended child that no handle owns. A child of our own session was started by other means, its starter
/// waits for it: an orphan's session is never ours, since whatever we start has its own.
pub fn reap_now() {
    let owned = owned();
    let ours = getsid(None).map_or(0, |session| session.as_raw() as u32);
    let children = Procfs::new(Path::new("/proc")).children_of(std::process::id()).unwrap_or_default();
    let orphans = children.iter().filter(|child| child.session != ours && !owned.contains(&child.id.pid));
    for orphan in orphans {
        if let Some(pid) = rustix::process::Pid::from_raw(orphan.id.pid as i32) {
            // Whoever still lives stays: NOHANG.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}

/// Starts a command whose child a handle will own. With a birth, that is the process that was born, and
/// std's own child has ended for it.
pub(super) fn spawn_owned(command: &mut Command, birth: Option<Birth>) -> io::Result<(Pidfd, Child)> {
    let mut owned = owned();
    let spawned = command.spawn();
    let born = birth.and_then(Birth::pid);
    let mut child = spawned.inspect_err(|_| born.into_iter().for_each(reap))?;
    let pid = born.unwrap_or(child.id());
    if pid != child.id() {
        child.wait()?;
    }
    match Pidfd::open(pid) {
        Ok(Some(held)) => {
            owned.insert(pid);
            Ok((held, child))
        }
        failed => {
            // Without a pidfd it could neither be watched nor be signalled safely. It is not reaped yet, so
            // the pid is still its own.
            if let Ok(pid) = i32::try_from(pid) {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
            }
            reap(pid);
            Err(failed.err().unwrap_or_else(|| io::Error::from_raw_os_error(libc::ESRCH)))
        }
    }
}

/// Waits for the end of a child that is about to end.
fn reap(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    }
}

/// Reaps a child that has ended, and tells how.
pub(super) fn reap_owned(held: &Pidfd) -> Exit {
    let mut owned = owned();
    let status = waitid(WaitId::PidFd(held.fd().as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    let Ok(Some(status)) = status else { return Exit::Unknown };
    owned.remove(&held.id.pid);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Status(code),
        (_, Some(number)) => Exit::Signal(number),
        _ => Exit::Unknown,
    }
}

/// Leaves a child to `reap_orphans`; one that has ended already is reaped at once.
pub(super) fn disown(held: &Pidfd) {
    let mut owned = owned();
    if owned.remove(&held.id.pid) {
        let _ = waitid(WaitId::PidFd(held.fd().as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use super::super::child::{Launch, Output, start};
    use super::super::clock;
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: std::env::vars_os().collect(),
            output: Output::Discarded,
            ..Launch::default()
        }
    }

    #[tokio::test]
    async fn an_orphan_is_adopted_and_reaped_and_a_handle_keeps_its_status() {
        adopt_orphans().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}' & exit 5", file.display());
        let mut child = start(&shell(&script)).unwrap();
        child.pidfd().gone().await;
        let deadline = clock::now().after(Duration::from_secs(20));
        let orphan = loop {
            assert!(clock::now() < deadline, "the orphan wrote its pid");
            if let Ok(text) = std::fs::read_to_string(&file) {
                break text.trim().parse::<u32>().unwrap();
            }
            tokio::task::yield_now().await;
        };
        while Procfs::new(Path::new("/proc")).stat(orphan).unwrap().is_some() {
            assert!(clock::now() < deadline, "the orphan was reaped");
            reap_now();
            tokio::task::yield_now().await;
        }
        assert_eq!(child.wait().await, Exit::Status(5));
    }

    #[test]
    fn a_child_started_by_other_means_is_left_to_its_starter() {
        let mut child = Command::new("true").stdout(Stdio::null()).spawn().unwrap();
        let held = Pidfd::open(child.id()).unwrap().unwrap();
        while !held.is_gone() {
            std::thread::yield_now();
        }
        reap_now();
        assert!(child.wait().unwrap().success());
    }
}
