//! Unix sockets as the kernel knows them (sock_diag over netlink): which processes have a connection to sockets of a
//! directory, accepted or not, and which socket is bound at a file. Judges nothing.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{BOUND, MOST, PATIENCE, PIECE};
use crate::host::open_sockets::descriptors;

/// Most descriptors of one process that are looked at.
const MOST_DESCRIPTORS: usize = 4096;

const HEADER: usize = 16;
/// The fixed part of an answer, after the header.
const FIXED: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x301;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// Name, peer, and who waits to be accepted.
const SHOW: u32 = 1 | 4 | 8;
/// The file that it is bound at.
const SHOW_FILE: u32 = 2;
const NAME: u16 = 0;
const FILE: u16 = 1;
const PEER: u16 = 2;
const WAITING: u16 = 3;

/// Those of these processes that have a connection to a socket in `directory`. Bounded; to be asked off the core's thread.
pub fn connected(directory: &Path, pids: &[u32]) -> Result<Vec<u32>, String> {
    let clients =
        clients_of(directory).map_err(|error| format!("the kernel does not tell its unix sockets: {error}"))?;
    Ok(pids.iter().copied().filter(|pid| !clients.is_empty() && holds_one(*pid, &clients)).collect())
}

fn holds_one(pid: u32, inodes: &BTreeSet<u32>) -> bool {
    let mut sockets = descriptors(pid).take(MOST_DESCRIPTORS).flatten();
    sockets.any(|inode| u32::try_from(inode).is_ok_and(|inode| inodes.contains(&inode)))
}

/// The socket that is bound at the file with this inode and device (as stat(2) has them), by its own inode; `None`: none
/// in this network namespace. Bounded.
pub fn bound_at(inode: u64, device: u64) -> io::Result<Option<u32>> {
    let mut found = None;
    dump(SHOW_FILE, |socket, attributes| {
        if is_bound_at(attributes, inode, device) {
            found = Some(socket);
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The other ends of all connections to sockets of a directory.
fn clients_of(directory: &Path) -> io::Result<BTreeSet<u32>> {
    let mut clients = BTreeSet::new();
    dump(SHOW, |_, attributes| {
        of_one(attributes, directory, &mut clients);
        if clients.len() < MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(clients)
}

/// Hands on every Unix socket there is: its inode, and the attributes that are shown.
fn dump(show: u32, mut each: impl FnMut(u32, &[u8]) -> ControlFlow<()>) -> io::Result<()> {
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    setsockopt(&netlink, ReceiveTimeout, &TimeVal::milliseconds(PATIENCE.as_millis() as i64))?;
    send(netlink.as_raw_fd(), &request(show), MsgFlags::empty())?;
    let (mut piece, until) = (vec![0; PIECE], Instant::now() + BOUND);
    while Instant::now() < until {
        let length = match recv(netlink.as_raw_fd(), &mut piece, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            received => received?,
        };
        match take_up(&piece[..length], &mut each)? {
            AnswerPart::Last => return Ok(()),
            AnswerPart::More => {}
            AnswerPart::Enough => break,
        }
    }
    Err(io::Error::other("too many of them, or too slow"))
}

fn request(show: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 24);
    bytes.extend(((HEADER + 24) as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_AND_DUMP.to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    // AF_UNIX, every state, every inode.
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(show.to_ne_bytes());
    bytes.extend([u8::MAX; 8]);
    bytes
}

/// What a piece of the answer is.
#[derive(Debug, PartialEq, Eq)]
enum AnswerPart {
    More,
    Last,
    /// No more is wanted.
    Enough,
}

/// Hands on what one piece of the answer shows.
fn take_up(piece: &[u8], each: &mut impl FnMut(u32, &[u8]) -> ControlFlow<()>) -> io::Result<AnswerPart> {
    let mut rest = piece;
    while let (Some(length), Some(kind)) = (word(rest, 0), half(rest, 4)) {
        let length = length as usize;
        if kind == DONE {
            return Ok(AnswerPart::Last);
        }
        if kind == ERROR {
            let code = word(rest, HEADER).map_or(0, |code| code.cast_signed());
            return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
        }
        let Some(message) = rest.get(HEADER + FIXED..length.min(rest.len())) else {
            return Err(io::Error::other("a piece of the kernel's answer is too short"));
        };
        if each(word(rest, HEADER + 4).unwrap_or(0), message).is_break() {
            return Ok(AnswerPart::Enough);
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    Ok(AnswerPart::More)
}

/// Whether a socket's attributes name this file. The kernel gives 32 bits of its inode, and the device as its own number.
fn is_bound_at(attributes: &[u8], inode: u64, device: u64) -> bool {
    let mut rest = attributes;
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else { break };
        if kind == FILE {
            let of_kernel = (nix::sys::stat::major(device) << 20) | nix::sys::stat::minor(device);
            let same_inode = word(value, 0) == Some(inode as u32);
            return same_inode && word(value, 4).is_some_and(|there| u64::from(there) == of_kernel);
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    false
}

/// One socket's attributes.
fn of_one(attributes: &[u8], directory: &Path, clients: &mut BTreeSet<u32>) {
    let (mut ours, mut others) = (false, Vec::new());
    let mut rest = attributes;
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else { break };
        match kind {
            NAME => ours |= is_in(value, directory),
            PEER | WAITING => others.extend((0..value.len() / 4).filter_map(|place| word(value, 4 * place))),
            _ => {}
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    if ours {
        clients.extend(others.into_iter().filter(|inode| *inode != 0));
    }
}

/// An abstract name, which begins with a zero, is in no directory.
fn is_in(name: &[u8], directory: &Path) -> bool {
    let name = name.strip_suffix(&[0]).unwrap_or(name);
    std::str::from_utf8(name).is_ok_and(|name| Path::new(name).parent() == Some(directory))
}

fn aligned(length: usize) -> usize {
    length.max(4).div_ceil(4) * 4
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs;
    use std::os::unix::net::{UnixListener, UnixStream};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_connection_is_seen_before_and_after_it_is_accepted_and_gone_when_it_is_closed() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let us = [std::process::id()];
        let listener = UnixListener::bind(here.path().join("control")).unwrap();
        assert_eq!(connected(here.path(), &us).unwrap(), Vec::<u32>::new());
        let client = UnixStream::connect(here.path().join("control")).unwrap();
        assert_eq!(connected(here.path(), &us).unwrap(), us);
        let (server, _) = listener.accept().unwrap();
        assert_eq!(connected(here.path(), &us).unwrap(), us);
        assert_eq!(connected(elsewhere.path(), &us).unwrap(), Vec::<u32>::new());
        assert_eq!(connected(here.path(), &[1]).unwrap(), Vec::<u32>::new());
        drop((client, server));
        assert_eq!(connected(here.path(), &us).unwrap(), Vec::<u32>::new());
    }

    #[test]
    fn the_socket_at_a_file_is_found_whatever_its_path_was_and_is_now() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("control"), directory.path().join("moved"));
        let at = |path: &Path| {
            let there = path.metadata().unwrap();
            bound_at(there.ino(), there.dev()).unwrap()
        };
        let first = UnixListener::bind(&path).unwrap();
        let old = at(&path);
        fs::rename(&path, &moved).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        assert!(old.is_some() && at(&moved) == old && at(&path).is_some() && at(&path) != old);
        drop(first);
        assert_eq!(at(&moved), None, "nobody is bound there any more");
    }

    #[test]
    fn only_a_path_in_the_directory_is_in_it() {
        let at = Path::new("/run/g/pipe");
        assert!(is_in(b"/run/g/pipe/control\0", at) && is_in(b"/run/g/pipe/control", at));
        assert!(!is_in(b"\0/run/g/pipe/control", at) && !is_in(b"x /run/g/pipe/control", at));
        assert!(!is_in(b"/run/g/pipe", at) && !is_in(b"/run/g/pipe/sub/control", at) && !is_in(b"", at));
    }

    proptest! {
        #[test]
        fn arbitrary_pieces_never_panic(piece in any::<Vec<u8>>()) {
            let mut each = |_, attributes: &[u8]| {
                of_one(attributes, Path::new("/x"), &mut BTreeSet::new());
                let _ = is_bound_at(attributes, 1, 1);
                ControlFlow::Continue(())
            };
            let _ = take_up(&piece, &mut each);
        }
    }
}
