//! Who listens on a port, for an error's cure. It reads /proc/net and the descriptors that it may see.

use std::net::SocketAddr;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process, all_processes};

use crate::text::plain::one_line;

/// `name (pid N)` of a process that listens on the address's port; `None` if it can't be seen.
pub(super) fn holder(address: SocketAddr) -> Option<String> {
    let entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let listens = |entry: &TcpNetEntry| entry.state == TcpState::Listen && entry.local_address.port() == address.port();
    let sockets: Vec<u64> = entries.filter(listens).map(|entry| entry.inode).collect();
    let process = all_processes().ok()?.flatten().find(|process| holds(process, &sockets))?;
    let name = one_line(&process.stat().ok()?.comm);
    Some(format!("{name} (pid {})", process.pid))
}

fn holds(process: &Process, sockets: &[u64]) -> bool {
    let Ok(descriptors) = process.fd() else { return false };
    descriptors
        .flatten()
        .any(|descriptor| matches!(descriptor.target, FDTarget::Socket(inode) if sockets.contains(&inode)))
}
