//! Who holds the socket of a control daemon that others run. A path proves nothing: containers name theirs alike, and a
//! daemon in one sees its own by another path. What counts is the socket itself, by its device and inode, seen through
//! the root of the process that holds it.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::open_sockets::{bound, descriptors, pids, unix_table};
use super::pidfd::Pidfd;
use super::pipe_directory::{is_bound, is_daemon, named};
use super::sockets::unix;

/// A socket in the file system, whatever path leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId {
    /// Device of its file system.
    pub device: u64,
    /// Inode in it.
    pub inode: u64,
}

impl SocketId {
    /// The socket at `path` now; `None`: there is none.
    pub fn at(path: &Path) -> Option<SocketId> {
        let there = path.metadata().ok().filter(|there| there.file_type().is_socket())?;
        Some(SocketId { device: there.dev(), inode: there.ino() })
    }
}

/// Who is bound at a control daemon's socket.
#[derive(Debug)]
pub enum Holder {
    /// This process, and at this socket.
    Process(Pidfd, SocketId),
    /// Nobody, for this reason.
    Nobody(String),
    /// Somebody who can't be seen from here, for this reason.
    Unseen(String),
}

/// Who holds the socket at `path` now. `binary`: how a control daemon is called. Reads /proc; may take as long as that
/// does with many processes.
pub fn holder(path: &Path, binary: &Path) -> io::Result<Holder> {
    let at = path.display();
    let Some(socket) = SocketId::at(path) else {
        return Ok(Holder::Nobody(format!("there is no socket at `{at}`: no control daemon was started there")));
    };
    if !is_bound(path)? {
        return Ok(Holder::Nobody(format!("nobody is bound at `{at}`: the control daemon that made it is gone")));
    }
    let inode = unix::bound_at(socket.inode, socket.device)?;
    let found = inode.and_then(|inode| process_with(u64::from(inode), binary));
    let found = found.or_else(|| daemon_behind(socket, binary));
    let held = found.and_then(|pid| Pidfd::open(pid).ok().flatten()).filter(|held| !held.is_gone());
    Ok(match held {
        Some(held) if is_daemon(held.id.pid, binary) => Holder::Process(held, socket),
        Some(held) => {
            let who = named(held.id.pid);
            Holder::Nobody(format!("`{at}` is bound by {who}, which is no control daemon"))
        }
        None => Holder::Unseen(format!(
            "a process is bound at `{at}` that can't be seen from here: run mpswarden as root, and in the pid namespace of \
             the host (hostPID)"
        )),
    })
}

/// Who has a socket open: a control daemon, where several have it (a child that was forked may), else the first.
fn process_with(inode: u64, binary: &Path) -> Option<u32> {
    let has_it = |pid: &u32| descriptors(*pid).flatten().any(|open| open == inode);
    let holders: Vec<u32> = pids().filter(has_it).collect();
    holders.iter().copied().find(|pid| is_daemon(*pid, binary)).or(holders.first().copied())
}

/// The control daemon that holds the socket in another network namespace, as in a container.
fn daemon_behind(socket: SocketId, binary: &Path) -> Option<u32> {
    pids().filter(|pid| is_daemon(*pid, binary)).find(|pid| holds(*pid, socket))
}

/// Whether a process has the socket open that its own root shows at the path that the kernel knows it by.
fn holds(pid: u32, socket: SocketId) -> bool {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let Ok(table) = unix_table(Path::new(&format!("/proc/{pid}/net/unix"))) else { return false };
    let is_it = |path: &Path| {
        let seen = path.strip_prefix("/").ok().and_then(|below| SocketId::at(&root.join(below)));
        seen == Some(socket)
    };
    let inodes: Vec<u64> = controls(&table).filter(|(_, path)| is_it(path)).map(|(inode, _)| inode).collect();
    descriptors(pid).flatten().any(|inode| inodes.contains(&inode))
}

/// Sockets of such a table that are called `control`, with their inodes.
fn controls(table: &str) -> impl Iterator<Item = (u64, &Path)> {
    let is_one = |(_, name): &(u64, &str)| name.starts_with('/') && name.ends_with("/control");
    bound(table).filter(is_one).map(|(inode, name)| (inode, Path::new(name)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_that_is_not_there_or_that_nobody_holds_is_nobodys_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let why = |path: &Path| match holder(path, Path::new("x")).unwrap() {
            Holder::Nobody(why) => why,
            other @ (Holder::Process(..) | Holder::Unseen(_)) => panic!("{other:?}"),
        };
        assert!(why(&path).contains("no socket"));
        drop(UnixListener::bind(&path).unwrap());
        assert!(why(&path).contains("nobody is bound"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(why(&path).contains("no socket"));
    }

    #[test]
    fn a_process_that_is_no_control_daemon_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let _bound = UnixListener::bind(&path).unwrap();
        let found = holder(&path, Path::new("nvidia-cuda-mps-control")).unwrap();
        let Holder::Nobody(why) = found else { panic!("{found:?}") };
        assert!(why.contains(&std::process::id().to_string()) && why.contains("no control daemon"), "{why}");
    }

    #[test]
    fn the_holder_is_found_through_its_root_whatever_the_path_is_called() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let _bound = UnixListener::bind(real.join("control")).unwrap();
        let us = std::process::id();
        assert!(holds(us, SocketId::at(&link.join("control")).unwrap()));
        assert!(!holds(us, SocketId { device: 1, inode: 1 }));
        assert!(!holds(1, SocketId::at(&real.join("control")).unwrap()), "another process does not hold it");
    }

    #[test]
    fn abstract_names_and_other_sockets_are_none_of_a_daemons() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 41 /run/x y/control\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 42 @/run/x/control\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 43 /run/x/control_privileged\n\
                     0000000000000000: 00000003 00000000 00000000 0001 03 44\n";
        let all: Vec<_> = controls(table).collect();
        assert_eq!(all, [(41, Path::new("/run/x y/control"))]);
    }
}
