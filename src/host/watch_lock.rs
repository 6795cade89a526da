//! One watchdog for one control daemon of others: a lock in our own runtime directory, by the daemon's socket. Nothing is
//! left where the daemon is.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::daemon_holder::SocketId;
use crate::files::{self, Holds};

/// Where root's locks are.
const OF_ROOT: &str = "/run/mpswarden/attached";
/// Bytes that are read of the holder: more than a pid has digits.
const HOLDER: u64 = 64;
/// Tries for a file that others remove meanwhile.
const TRIES: u32 = 16;

/// Held for as long as a control daemon of others is looked after; the kernel frees it with the process.
#[derive(Debug)]
pub struct WatchLock {
    path: PathBuf,
    _file: File,
}

/// Why a control daemon can't be looked after.
#[derive(Debug, thiserror::Error)]
pub enum WatchLockError {
    /// Another mpswarden does: its pid.
    #[error("mpswarden process {0} looks after it: stop that one, or this one")]
    Held(String),
    /// The lock can't be made.
    #[error("can't use `{0}`: {1}")]
    Io(PathBuf, io::Error),
}

/// Where this user's locks are: a directory that is this user's alone.
pub fn directory() -> PathBuf {
    if geteuid().is_root() {
        return OF_ROOT.into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty()) {
        Some(runtime) => PathBuf::from(runtime).join("mpswarden/attached"),
        None => std::env::temp_dir().join(format!("mpswarden-{}/attached", geteuid())),
    }
}

impl WatchLock {
    /// Takes the lock of a control daemon's socket in `directory`, made if it is not there.
    pub fn take(directory: &Path, socket: SocketId) -> Result<WatchLock, WatchLockError> {
        let path = directory.join(format!("{}-{}.lock", socket.device, socket.inode));
        let failed = |error| WatchLockError::Io(path.clone(), error);
        files::make_directory(directory, 0o700).map_err(failed)?;
        files::check_directory("the directory of locks", directory, Holds::Files).map_err(|why| failed(why.into()))?;
        for _ in 0..TRIES {
            let mut file = files::own(&path, 0o600).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_there(&path, &file) => {
                    write_holder(&mut file).map_err(failed)?;
                    return Ok(WatchLock { path, _file: file });
                }
                // Its holder left and removed it meanwhile.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(WatchLockError::Held(read_holder(&mut file))),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Err(failed(io::Error::other("it is removed again and again")))
    }
}

impl Drop for WatchLock {
    /// Removed while it is locked: who waits for it sees that, and makes another.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the file at the path is this one.
fn is_there(path: &Path, file: &File) -> bool {
    let same = |there: fs::Metadata, ours: fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
    fs::symlink_metadata(path).and_then(|there| Ok(same(there, file.metadata()?))).unwrap_or(false)
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_holder(file: &mut File) -> String {
    let mut holder = String::new();
    let read = Read::by_ref(file).take(HOLDER).read_to_string(&mut holder);
    match read {
        Ok(_) if !holder.trim().is_empty() => holder.trim().to_owned(),
        _ => "of unknown pid".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SOCKET: SocketId = SocketId { device: 5, inode: 7 };

    #[test]
    fn the_second_is_told_who_holds_it_and_gets_it_once_the_first_has_left() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("attached");
        let first = WatchLock::take(&place, SOCKET).unwrap();
        let refused = WatchLock::take(&place, SOCKET).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        WatchLock::take(&place, SocketId { inode: 8, ..SOCKET }).unwrap();
        drop(first);
        let again = WatchLock::take(&place, SOCKET).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&again.path), mode(&place)), (0o600, 0o700));
        drop(again);
        assert!(std::fs::read_dir(&place).unwrap().next().is_none(), "nothing is left");
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("5-7.lock")).unwrap();
        assert!(matches!(WatchLock::take(directory.path(), SOCKET), Err(WatchLockError::Io(..))));
    }
}
