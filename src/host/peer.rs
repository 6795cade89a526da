//! Who is at the other end of a unix socket: its process, held so that no reused pid can stand in for it, its user and its
//! cgroup. By SO_PEERPIDFD, before Linux 6.5 by SO_PEERCRED.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::pidfd::Pidfd;

/// Longest cgroup path that is kept of a process.
const LONGEST_CGROUP: usize = 4096;

/// A process at the other end of a socket.
#[derive(Debug)]
pub struct SocketPeer {
    /// The process.
    pub process: Pidfd,
    /// User that it runs as.
    pub user: u32,
    /// Its cgroup of version 2, else the first of version 1.
    pub cgroup: String,
}

/// Why it is not known who is there.
#[derive(Debug, thiserror::Error)]
pub enum UnknownPeer {
    /// It is in a pid namespace that can't be seen from here.
    #[error(
        "your process can't be seen from here: mpswarden needs your pid namespace (hostPID, or shareProcessNamespace)"
    )]
    OutOfSight,
    /// The process ended.
    #[error("your process is gone")]
    Gone,
    /// The system refuses.
    #[error("your process can't be looked at: {0}")]
    Io(#[from] io::Error),
}

impl SocketPeer {
    /// Who connected to this socket.
    pub fn of(socket: &impl AsFd) -> Result<SocketPeer, UnknownPeer> {
        let credentials = getsockopt(socket, sockopt::PeerCredentials).map_err(io::Error::from)?;
        let pid = u32::try_from(credentials.pid()).ok().filter(|pid| *pid > 0).ok_or(UnknownPeer::OutOfSight)?;
        let process = match getsockopt(socket, sockopt::PeerPidfd) {
            Ok(held) => Pidfd::of(held, pid)?,
            Err(Errno::ENOPROTOOPT) => Pidfd::open(pid)?,
            Err(Errno::ESRCH | Errno::EINVAL) => None,
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let process = process.ok_or(UnknownPeer::Gone)?;
        let cgroup = cgroup(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default());
        // Its pid may have been another's by the time that its cgroup was read.
        if process.is_gone() {
            Err(UnknownPeer::Gone)
        } else {
            Ok(SocketPeer { process, user: credentials.uid(), cgroup })
        }
    }
}

/// The path in /proc/PID/cgroup.
fn cgroup(text: &str) -> String {
    let path = |line: &str| line.splitn(3, ':').nth(2).unwrap_or_default().chars().take(LONGEST_CGROUP).collect();
    let version_2 = text.lines().find(|line| line.starts_with("0::"));
    version_2.or_else(|| text.lines().next()).map(path).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_connected_is_known() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = SocketPeer::of(&here).unwrap();
        assert_eq!(peer.process.id.pid, std::process::id());
        assert_eq!(peer.user, nix::unistd::geteuid().as_raw());
    }

    #[test]
    fn the_cgroup_is_version_2s_where_there_is_one() {
        assert_eq!(cgroup("12:cpu:/x\n0::/a:b/c\n"), "/a:b/c");
        assert_eq!(cgroup("12:cpu:/x\n"), "/x");
        assert_eq!(cgroup(""), "");
    }
}
