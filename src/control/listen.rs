//! The socket's file: made so that no other user can ever connect to it, and so that of two watchdogs only one has it;
//! removed at the end. It accepts nothing.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_to, connect, listen, socket,
};

/// What `sockaddr_un` has room for, its end apart (unix(7)).
pub(super) const LONGEST_PATH: usize = 107;
/// Upper bound for another watchdog that makes its socket in the same directory now.
const LOCK_BOUND: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Why there is no socket at that path.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No client could name it.
    #[error("the control socket's path is {0} bytes long, {LONGEST_PATH} at most: choose a shorter --control-socket")]
    TooLong(usize),
    /// Somebody answers on it.
    #[error("another process answers on the control socket {}: stop it, or give this one another --control-socket", .0.display())]
    Live(PathBuf),
    /// There is something else.
    #[error("{} is there and no socket: remove it, or choose another --control-socket", .0.display())]
    Occupied(PathBuf),
    /// The system refuses.
    #[error("can't make the control socket {}: {source}; it needs a directory that this user may write, see --control-socket", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl BindError {
    /// Whether a permission is missing.
    pub fn is_denied(&self) -> bool {
        matches!(self, BindError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// A socket that listens. Dropping it removes its file, unless another has taken its place.
#[derive(Debug)]
pub struct Listening {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
}

impl Listening {
    /// The socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file is still there, and no other has taken its place.
    pub fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

/// Makes the socket, for this user and root alone, and its directory where there is none. What a dead watchdog left is
/// replaced.
pub fn bind(path: &Path) -> Result<Listening, BindError> {
    bind_as(path, 0o600)
}

/// The same, for whom `mode` lets in.
pub fn bind_as(path: &Path, mode: u32) -> Result<Listening, BindError> {
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        return Err(BindError::TooLong(length));
    }
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    let (directory, name) = parts(path).map_err(failed)?;
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    // Between the look at the old socket and the new one's taking its place, no other watchdog may do the same.
    let lock = lock(directory).map_err(failed)?;
    refuse_living(path)?;
    let listener = put(&lock, name, mode).map_err(failed)?;
    let identity = identity(path).map_err(failed)?;
    Ok(Listening { listener, path: path.to_owned(), identity })
}

fn parts(path: &Path) -> io::Result<(&Path, &Path)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((directory.unwrap_or(Path::new(".")), Path::new(name)))
}

fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let deadline = Instant::now() + LOCK_BOUND;
    let mut file = File::open(directory)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, error)) if Instant::now() >= deadline => return Err(error.into()),
            Err((back, _)) => file = back,
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// A socket that refuses connections has no process behind it any more.
fn refuse_living(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::Occupied(path.to_owned())),
        Ok(_) => {}
    }
    match knock(path) {
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
        Err(error @ (Errno::EACCES | Errno::EPERM)) => Err(failed(error.into())),
        // One with a full backlog (EAGAIN) has a process behind it too.
        Ok(()) | Err(_) => Err(BindError::Live(path.to_owned())),
    }
}

/// Connects without waiting for a place in its backlog.
fn knock(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

/// Binds beside, gives it its mode before anybody can connect, and moves it into place. By the directory's
/// descriptor: a temporary name may make the path too long.
fn put(directory: &Flock<File>, name: &Path, mode: u32) -> io::Result<UnixListener> {
    let inside = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let beside = inside.join(format!(".control-{}", std::process::id()));
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // Of a process of the same pid that died right here.
    let _ = fs::remove_file(&beside);
    bind_to(socket.as_raw_fd(), &UnixAddr::new(&beside)?)?;
    let placed = fs::set_permissions(&beside, Permissions::from_mode(mode))
        .and_then(|()| Ok(listen(&socket, Backlog::new(BACKLOG)?)?))
        .and_then(|()| fs::rename(&beside, inside.join(name)));
    if let Err(error) = placed {
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    Ok(socket.into())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_socket_is_its_owners_alone_and_its_directory_is_made() {
        let directory = directory();
        let path = directory.path().join("deep/er/control.sock");
        let _listening = bind(&path).unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(path.parent().unwrap()), ["control.sock"]);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_live_one_is_refused_and_stays() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        let _first = bind(&path).unwrap();
        let refused = bind(&path).unwrap_err();
        assert!(matches!(refused, BindError::Live(_)), "{refused}");
        assert!(refused.to_string().contains("give this one another --control-socket"));
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn one_whose_backlog_is_full_is_alive() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        let _first = bind(&path).unwrap();
        let _waiting: Vec<_> = (0..=BACKLOG).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert_eq!(knock(&path), Err(Errno::EAGAIN));
        assert!(matches!(bind(&path), Err(BindError::Live(_))));
    }

    #[test]
    fn a_stale_one_is_replaced() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listening = bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_no_socket_stays() {
        let directory = directory();
        let path = directory.path().join("notes");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path).unwrap_err(), BindError::Occupied(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn the_end_removes_it_but_not_a_successor() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        let listening = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = UnixListener::bind(&path).unwrap();
        drop(listening);
        assert!(path.exists());
        drop(successor);
        drop(bind(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_path_of_107_bytes_is_taken_and_one_more_is_refused() {
        let directory = directory();
        let room = LONGEST_PATH - directory.path().as_os_str().len() - 1;
        let longest = directory.path().join("s".repeat(room));
        let _listening = bind(&longest).unwrap();
        UnixStream::connect(&longest).unwrap();
        assert!(matches!(bind(&directory.path().join("s".repeat(room + 1))), Err(BindError::TooLong(108))));
    }

    #[test]
    fn of_many_at_once_one_gets_it() {
        let directory = directory();
        let path = directory.path().join("control.sock");
        let tries: Vec<_> = (0..8).map(|_| path.clone()).map(|path| std::thread::spawn(move || bind(&path))).collect();
        let ended: Vec<_> = tries.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(ended.iter().filter(|one| one.is_ok()).count(), 1, "{ended:?}");
    }
}
