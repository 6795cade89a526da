//! Processes held by pidfd, so that no reused pid can stand in for one. Signals and waits; which
//! process to end is decided elsewhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::procfs::Procfs;
use crate::model::{Exit, ProcessId};

/// A process, proven: its start time was read after its pidfd was opened.
#[derive(Debug)]
pub struct Pidfd {
    /// Identity of the process.
    pub id: ProcessId,
    fd: OwnedFd,
}

/// `struct pidfd_info` of linux/pidfd.h, in its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: the exit code is asked for, or was given.
const INFO_EXIT: u64 = 1 << 3;
/// `PIDFD_GET_INFO`: `_IOWR(0xff, 11, struct pidfd_info)`.
const GET_INFO: u64 = 3 << 30 | (size_of::<PidfdInfo>() as u64) << 16 | 0xff << 8 | 11;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// The signal was sent.
    Sent,
    /// The process had gone before, or its pid is another's now: nothing was sent.
    AlreadyGone,
}

impl Pidfd {
    /// The process that has `pid` now; `None`: there is none.
    pub fn open(pid: u32) -> io::Result<Option<Pidfd>> {
        open_fd(pid)?.map_or(Ok(None), |fd| Pidfd::of(fd, pid))
    }

    /// The process that this descriptor is of, which has `pid` if it lives; `None`: it is gone.
    pub fn of(fd: OwnedFd, pid: u32) -> io::Result<Option<Pidfd>> {
        let Some(stat) = Procfs::new(Path::new("/proc")).stat(pid)? else { return Ok(None) };
        let held = Pidfd { id: stat.id, fd };
        // If the process still has its pid now, it had it while the stat was read; a zombie keeps it too.
        match held.signal_raw(0) {
            Ok(Signalled::AlreadyGone) => Ok(None),
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
            Ok(Signalled::Sent) | Err(_) => Ok(Some(held)),
        }
    }

    /// Opens this very process; `None`: it is gone, or its pid is another's now.
    pub fn open_exact(id: ProcessId) -> io::Result<Option<Pidfd>> {
        Ok(Self::open(id.pid)?.filter(|held| held.id == id))
    }

    /// Sends a signal to this process and to no other.
    pub fn signal(&self, signal: Signal) -> io::Result<Signalled> {
        self.signal_raw(signal as i32)
    }

    fn signal_raw(&self, number: i32) -> io::Result<Signalled> {
        // SAFETY: the descriptor is open, and a null siginfo is what kill() would send.
        let sent = unsafe {
            let info = std::ptr::null::<libc::siginfo_t>();
            libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), number, info, 0)
        };
        match sent {
            0 => Ok(Signalled::Sent),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(Signalled::AlreadyGone),
                error => Err(error),
            },
        }
    }

    /// Whether all its threads have ended: a zombie is gone, its memory and its devices are released.
    pub fn is_gone(&self) -> bool {
        let mut watched = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut watched, PollTimeout::ZERO), Ok(ready) if ready > 0)
    }

    /// How a process that is not our child ended, once whoever started it has reaped it; `None`: it has not, or this
    /// kernel (before 6.15) does not say.
    pub fn exit(&self) -> Option<Exit> {
        let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
        // SAFETY: the descriptor is open, and the struct has the size that the request says.
        let asked = unsafe { libc::ioctl(self.fd.as_raw_fd(), GET_INFO as _, &raw mut info) };
        if asked != 0 || info.mask & INFO_EXIT == 0 {
            return None;
        }
        // As wait(2) has it.
        let status = info.exit_code;
        Some(match libc::WIFSIGNALED(status) {
            true => Exit::Signal(libc::WTERMSIG(status)),
            false => Exit::Status(libc::WEXITSTATUS(status)),
        })
    }

    /// Waits until it is gone. Unbounded: the caller sets the bound.
    pub async fn gone(&self) {
        // Where epoll can't take the descriptor, a slow look at it still sees the end.
        while !self.is_gone() && self.readable().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn readable(&self) -> io::Result<()> {
        // SAFETY: the descriptor is borrowed from self, which outlives the registration.
        let watched = unsafe { AsyncFd::register_with_interest(self.fd.as_fd(), Interest::READABLE) }?;
        while !self.is_gone() {
            watched.readable().await?.clear_ready();
        }
        Ok(())
    }

    /// The descriptor, for waitid.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

/// A pidfd of the process that has `pid` now; `None`: there is none.
fn open_fd(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The identity of the process that has `pid` now.
pub fn identify(pid: u32) -> io::Result<Option<ProcessId>> {
    Ok(Pidfd::open(pid)?.map(|held| held.id))
}

/// Sends `signal` to this very process, or to none.
pub fn signal(id: ProcessId, signal: Signal) -> io::Result<Signalled> {
    match Pidfd::open_exact(id)? {
        Some(held) => held.signal(signal),
        None => Ok(Signalled::AlreadyGone),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[test]
    fn a_reused_pid_is_never_signalled() {
        let mut child = sleeper();
        let id = identify(child.id()).unwrap().unwrap();
        let other = ProcessId { started_at: id.started_at - 1, ..id };
        assert_eq!(signal(other, Signal::SIGKILL).unwrap(), Signalled::AlreadyGone);
        assert!(child.try_wait().unwrap().is_none(), "it lives on");
        assert_eq!(signal(id, Signal::SIGKILL).unwrap(), Signalled::Sent);
        child.wait().unwrap();
        assert_eq!(signal(id, Signal::SIGKILL).unwrap(), Signalled::AlreadyGone);
    }

    #[tokio::test]
    async fn a_zombie_counts_as_gone() {
        let mut child = sleeper();
        let held = Pidfd::open(child.id()).unwrap().unwrap();
        assert!(!held.is_gone());
        held.signal(Signal::SIGKILL).unwrap();
        held.gone().await;
        assert!(held.is_gone());
        child.wait().unwrap();
    }

    #[test]
    fn the_exit_of_a_process_that_was_reaped_is_known_where_the_kernel_says_it() {
        let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let held = Pidfd::open(child.id()).unwrap().unwrap();
        child.wait().unwrap();
        let known = held.exit();
        assert!(matches!(known, None | Some(Exit::Status(7))), "{known:?}");
        let mut child = sleeper();
        let held = Pidfd::open(child.id()).unwrap().unwrap();
        assert_eq!(held.exit(), None, "it lives");
        child.kill().unwrap();
        child.wait().unwrap();
        let killed = held.exit();
        assert!(matches!(killed, None | Some(Exit::Signal(9))), "{killed:?}");
        assert_eq!(known.is_some(), killed.is_some());
    }

    #[test]
    fn a_pid_that_nobody_has_is_no_error() {
        assert!(Pidfd::open(0).unwrap().is_none());
        assert!(Pidfd::open(u32::MAX).unwrap().is_none());
        assert!(Pidfd::open(4_194_303).unwrap().is_none());
    }
}
