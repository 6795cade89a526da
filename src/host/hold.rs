//! Processes that are to be signalled and waited for: most by their pidfd. Where there are thousands a descriptor each
//! would use up what the watchdog may open, so the rest are known by pid and start time and held only while a signal
//! is sent.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::libc::{EMFILE, ENFILE};
use nix::sys::signal::Signal;

use super::pidfd::{Pidfd, Signalled};
use super::procfs::Procfs;
use crate::model::ProcessId;

/// Pause between two looks at a process without a descriptor.
const POLL: Duration = Duration::from_millis(10);

/// A process that is held, by a descriptor if there is one.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Identity of the process.
    pub id: ProcessId,
    fd: Option<Arc<Pidfd>>,
}

impl Hold {
    /// Holds this very process; `None`: it is gone. Without a descriptor where `tight` is false, or no more can be had.
    pub fn of(id: ProcessId, tight: bool) -> io::Result<Option<Hold>> {
        if !tight {
            return Ok(Some(Hold { id, fd: None }));
        }
        match Pidfd::open_exact(id) {
            Ok(held) => Ok(held.map(|held| Hold::from(Arc::new(held)))),
            Err(error) if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Ok(Some(Hold { id, fd: None })),
            Err(error) => Err(error),
        }
    }

    /// Those of `ids` that are there, the first `tight` of them by their descriptors.
    pub fn all(ids: impl IntoIterator<Item = ProcessId>, tight: usize) -> io::Result<Vec<Hold>> {
        let held = ids.into_iter().enumerate().map(|(at, id)| Hold::of(id, at < tight));
        held.filter_map(Result::transpose).collect()
    }

    /// Whether a descriptor holds it.
    pub fn is_tight(&self) -> bool {
        self.fd.is_some()
    }

    /// Sends a signal to this process and to no other.
    pub fn signal(&self, signal: Signal) -> io::Result<Signalled> {
        match &self.fd {
            Some(held) => held.signal(signal),
            None => Pidfd::open_exact(self.id)?.map_or(Ok(Signalled::AlreadyGone), |held| held.signal(signal)),
        }
    }

    /// Sends a signal to this process and to no other, if it is of this user alone.
    pub fn signal_of_user(&self, uid: u32, signal: Signal) -> io::Result<Signalled> {
        let held = match &self.fd {
            Some(held) => Some(held.clone()),
            None => Pidfd::open_exact(self.id)?.map(Arc::new),
        };
        let Some(held) = held else { return Ok(Signalled::AlreadyGone) };
        // It is held: what is read of its pid is of this process, or it is gone.
        let of_user = Procfs::new(Path::new("/proc")).is_of_user(self.id.pid, uid);
        match of_user {
            _ if held.is_gone() => Ok(Signalled::AlreadyGone),
            true => held.signal(signal),
            false => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("it is not of user {uid} alone: processes of root and of other users are not signalled"),
            )),
        }
    }

    /// Whether all its threads have ended.
    pub fn is_gone(&self) -> bool {
        match &self.fd {
            Some(held) => held.is_gone(),
            // Where that is not known it counts as there.
            None => Procfs::new(Path::new("/proc"))
                .stat(self.id.pid)
                .is_ok_and(|stat| stat.is_none_or(|stat| stat.id != self.id || !stat.lives())),
        }
    }

    /// Waits until it is gone. Unbounded: the caller sets the bound.
    pub async fn gone(&self) {
        match &self.fd {
            Some(held) => held.gone().await,
            None => {
                while !self.is_gone() {
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }
}

impl From<Arc<Pidfd>> for Hold {
    fn from(held: Arc<Pidfd>) -> Hold {
        Hold { id: held.id, fd: Some(held) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::child::{Launch, start};
    use super::*;

    #[tokio::test]
    async fn with_a_descriptor_and_without_one_process_is_signalled_and_no_other() {
        for tight in [true, false] {
            let sleep = Launch { program: "sleep".into(), arguments: vec!["1000".into()], ..Launch::default() };
            let child = start(&sleep).unwrap();
            let held = Hold::of(child.id(), tight).unwrap().unwrap();
            let reused = ProcessId { started_at: child.id().started_at + 1, ..child.id() };
            let other = Hold::of(reused, false).unwrap().unwrap();
            assert!(held.is_tight() == tight && !held.is_gone() && other.is_gone());
            assert_eq!(other.signal(Signal::SIGKILL).unwrap(), Signalled::AlreadyGone);
            assert_eq!(held.signal(Signal::SIGKILL).unwrap(), Signalled::Sent);
            held.gone().await;
            assert!(held.is_gone() && Hold::of(reused, true).unwrap().is_none());
        }
    }
}
