//! A control daemon's pipe directory: who uses it, and what may be swept of it. A file proves nothing: a pid in a file
//! may be another's by now, and a process that can name a socket is not bound at this one. What counts is who is bound
//! at the socket's inode, who holds the lock, and a process that is a control daemon.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::clock;
use super::open_sockets;
use super::pidfd::Pidfd;
use super::procfs::Procfs;
use crate::model::{Moment, ProcessId};

/// What a control daemon is called.
pub const CONTROL_NAME: &str = "nvidia-cuda-mps-control";
/// Where it tells its clients apart from others.
const PIPE_VARIABLE: &str = "CUDA_MPS_PIPE_DIRECTORY";
/// Sockets by which clients and commands come in.
const SOCKETS: [&str; 2] = ["control", "control_privileged"];
const LOCK: &str = "control_lock";
const PID_FILE: &str = "nvidia-cuda-mps-control.pid";
/// The watchdog's own socket there, before which engines of others wait; never a daemon's.
pub const GATE: &str = "mpswarden.gate";

/// Why a pipe directory can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InTheWay {
    /// Somebody uses it: who, and what to do.
    #[error("{0}")]
    Used(String),
    /// We could not find out, which says nothing about others.
    #[error("{0}")]
    NotAsked(String),
}

/// Whether a daemon or another process that is not ours uses it. `binary`: how the group's daemon is called.
pub fn in_use(directory: &Path, binary: &Path) -> Result<(), InTheWay> {
    let cure = "stop it (echo quit | nvidia-cuda-mps-control), or give the group another pipe_directory";
    if let Some(daemon) = daemon_of_pid_file(directory, binary) {
        let at = directory.display();
        return Err(InTheWay::Used(format!("pipe directory `{at}` is used by the control daemon {daemon}: {cure}")));
    }
    for name in SOCKETS {
        refuse_bound(&directory.join(name), binary)?;
    }
    let lock = directory.join(LOCK);
    if is_locked(&lock).map_err(|error| not_asked(&lock, error))? {
        let who = holder_of_lock(&lock).map_or_else(|| "a process".to_owned(), named);
        let what = format!("`{}` is locked by {who}", lock.display());
        return Err(InTheWay::Used(format!("{what}: end it, or give the group another pipe_directory")));
    }
    Ok(())
}

fn refuse_bound(path: &Path, binary: &Path) -> Result<(), InTheWay> {
    if !is_bound(path).map_err(|error| not_asked(path, error))? {
        return Ok(());
    }
    let owner = owner_of(path);
    let other = "give the group another pipe_directory";
    let at = path.display();
    Err(InTheWay::Used(match owner {
        Some(pid) if is_daemon(pid, binary) => {
            let cure = "stop it (echo quit | nvidia-cuda-mps-control)";
            format!("`{at}` is used by the control daemon {pid}: {cure}, or {other}")
        }
        Some(pid) => format!("`{at}` is still bound by {}: end it, or {other}", named(pid)),
        None => format!("`{at}` is still bound by a process: find it (ss -xlp), end it, or {other}"),
    }))
}

/// Removes what a dead daemon left, unless any process uses it. Sockets of others that are not in a daemon's way stay.
pub fn sweep(directory: &Path, binary: &Path) -> Result<(), InTheWay> {
    in_use(directory, binary)?;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if !is_daemons(&entry) {
            continue;
        }
        if is_bound(&path).map_err(|error| not_asked(&path, error))? {
            let who = owner_of(&path).map_or_else(|| "a process".to_owned(), named);
            tracing::warn!("`{}` is bound by {who} and stays: it is no control daemon's", path.display());
            continue;
        }
        let removed = fs::remove_file(&path)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) });
        removed.map_err(|error| InTheWay::Used(format!("`{}` can't be removed: {error}", path.display())))?;
    }
    Ok(())
}

fn not_asked(path: &Path, error: io::Error) -> InTheWay {
    InTheWay::NotAsked(format!("can't look who uses `{}`: {error}", path.display()))
}

/// Sockets, FIFOs and the files that a control daemon is known to make.
fn is_daemons(entry: &fs::DirEntry) -> bool {
    if entry.file_name() == GATE {
        return false;
    }
    let known = ["control", LOCK, "control_privileged", "log", PID_FILE];
    entry.file_type().is_ok_and(|kind| kind.is_socket() || kind.is_fifo())
        || entry.file_name().to_str().is_some_and(|name| known.contains(&name))
}

/// Whether a process is bound at this very socket. The knock is of a kind that a daemon's socket does not take, so that
/// none is disturbed: the kernel refuses it in one way where a process is there, in another where none is.
pub(super) fn is_bound(path: &Path) -> io::Result<bool> {
    if !path.symlink_metadata().is_ok_and(|there| there.file_type().is_socket()) {
        return Ok(false);
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let knock = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // A path that no address can hold has no process bound at it.
    let Ok(address) = UnixAddr::new(path) else { return Ok(false) };
    match connect(knock.as_raw_fd(), &address) {
        Ok(()) | Err(Errno::EPROTOTYPE | Errno::EPERM | Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Who is bound there, where /proc lets itself be read.
fn owner_of(path: &Path) -> Option<u32> {
    let inode = inode_bound_at(&open_sockets::unix_table(Path::new("/proc/net/unix")).ok()?, path)?;
    open_sockets::pids().find(|pid| open_sockets::descriptors(*pid).flatten().any(|open| open == inode))
}

/// The socket of /proc/net/unix that has exactly this path. An abstract name, which begins with `@`, and a path that
/// only ends so are of others.
fn inode_bound_at(table: &str, path: &Path) -> Option<u64> {
    open_sockets::bound(table).find(|(_, name)| Path::new(name) == path).map(|(inode, _)| inode)
}

/// Whether a living process holds a lock on it.
fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {
            let _ = file.unlock();
            Ok(holder_of_lock(path).is_some_and(|pid| pid != std::process::id()))
        }
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(_)) => Ok(false),
    }
}

/// Who holds a lock on it, of either kind, by /proc/locks.
fn holder_of_lock(path: &Path) -> Option<u32> {
    let there = fs::metadata(path).ok()?;
    let (major, minor) = (nix::sys::stat::major(there.dev()), nix::sys::stat::minor(there.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", there.ino());
    lock_holder(&fs::read_to_string("/proc/locks").ok()?, &wanted)
}

fn lock_holder(table: &str, wanted: &str) -> Option<u32> {
    // 1: FLOCK  ADVISORY  WRITE 4711 00:2d:815 0 EOF; one that waits has an arrow after its number.
    table.lines().filter(|line| !line.contains("->")).find_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        (words.get(5) == Some(&wanted)).then(|| words[4].parse().ok())?
    })
}

/// The control daemon that wrote the pid file. A process that started after the file was written has a reused pid, and
/// so has one that is no control daemon, or another directory's.
fn daemon_of_pid_file(directory: &Path, binary: &Path) -> Option<ProcessId> {
    let path = directory.join(PID_FILE);
    let written = fs::metadata(&path).ok()?.modified().ok()?;
    let pid = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    let process = Pidfd::open(pid).ok()?.filter(|held| !held.is_gone())?.id;
    // Clock ticks are hundredths of a second for every program, whatever the kernel counts in.
    let started = clock::wall_of(Moment::from_nanos(process.started_at.saturating_mul(10_000_000)));
    let old_enough = started <= written + Duration::from_secs(1);
    (old_enough && is_daemon(pid, binary) && !serves_elsewhere(pid, directory)).then_some(process)
}

/// Whether a process is a control daemon: by its program, by how it was called, also as a script's argument.
pub(super) fn is_daemon(pid: u32, binary: &Path) -> bool {
    let own = binary.file_name().and_then(|name| name.to_str()).unwrap_or(CONTROL_NAME);
    let is_name = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name == own || name.starts_with(CONTROL_NAME))
    };
    if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| is_name(&exe)) {
        return true;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = command.split(|byte| *byte == 0).take(2);
    arguments.into_iter().any(|word| std::str::from_utf8(word).is_ok_and(|word| is_name(Path::new(word))))
}

/// Whether its environment names another directory. One that can't be read says nothing.
fn serves_elsewhere(pid: u32, directory: &Path) -> bool {
    let Some(named) = Procfs::new(Path::new("/proc")).environment(pid, PIPE_VARIABLE) else { return false };
    let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    whole(Path::new(&named)) != whole(directory)
}

/// A process for people: without its arguments, which may be anybody's secrets.
pub(super) fn named(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name.trim().chars().filter(|character| !character.is_control()).collect();
    if name.is_empty() { format!("process {pid}") } else { format!("process {pid} ({name})") }
}

#[cfg(test)]
#[path = "pipe_directory_tests.rs"]
mod tests;
