//! The socket at which kernel probes call: open to every user, since engines have users of their own. Accepts
//! connections and reads and writes frames; whose a connection is, and what a frame means, is decided elsewhere.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::probe::wire::{LONGEST, Order, Word};

/// What `sockaddr_un` has room for, its end apart (unix(7)).
pub const LONGEST_PATH: usize = 107;
/// Upper bound for writing an order, which has a few bytes: a probe that has no room for them is gone or hangs.
const WRITE_BOUND: Duration = Duration::from_secs(2);

/// The socket that probes call. Dropping it removes its file, unless another has taken its place.
#[derive(Debug)]
pub struct ProbeSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
}

/// One connection.
#[derive(Debug)]
pub struct Call {
    /// The process that connected, in our namespace; `None`: it is outside of it.
    pub pid: Option<u32>,
    /// Words of the call.
    pub words: Words,
    /// Our orders.
    pub orders: Orders,
}

/// The words of a probe.
#[derive(Debug)]
pub struct Words(OwnedReadHalf);

/// Orders to a probe.
#[derive(Debug)]
pub struct Orders(OwnedWriteHalf);

/// Why nothing more is read.
#[derive(Debug, thiserror::Error)]
pub enum WordsEnd {
    /// The other end is closed.
    #[error("the connection has ended: {0}")]
    Closed(#[from] io::Error),
    /// It does not speak as a probe does.
    #[error("it does not speak as a kernel probe does")]
    Garbage,
}

impl ProbeSocket {
    /// Listens there, in place of what a dead watchdog left: the lock of the state directory, which this one has,
    /// says that no living one does. Must be called within a tokio runtime.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "its path is over 107 bytes long"));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        Ok(ProbeSocket { listener, path: path.to_owned(), identity: identity(path)? })
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Call> {
        let (stream, _) = self.listener.accept().await?;
        // Of the process that called connect(2), whichever holds the socket now.
        let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let (words, orders) = stream.into_split();
        Ok(Call { pid, words: Words(words), orders: Orders(orders) })
    }
}

impl Drop for ProbeSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Words {
    /// The next one. Not to be broken off: what was read of it would be lost.
    pub async fn next(&mut self) -> Result<Word, WordsEnd> {
        let length = self.0.read_u32_le().await? as usize;
        if length > LONGEST {
            return Err(WordsEnd::Garbage);
        }
        // Memory grows with what comes, not with what is announced.
        let mut body = Vec::new();
        (&mut self.0).take(length as u64).read_to_end(&mut body).await?;
        if body.len() < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Word::read(&body).ok_or(WordsEnd::Garbage)
    }
}

impl Orders {
    /// Sends one, within 2 s.
    pub async fn send(&mut self, order: Order) -> io::Result<()> {
        timeout(WRITE_BOUND, self.0.write_all(&order.frame())).await?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::probe::wire::VERSION;

    fn socket() -> (tempfile::TempDir, PathBuf, ProbeSocket) {
        let directory = tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap();
        let path = directory.path().join("probe.sock");
        let socket = ProbeSocket::bind(&path).unwrap();
        (directory, path, socket)
    }

    /// A probe's end, and what the watchdog has of it.
    async fn called(socket: &ProbeSocket, path: &Path) -> (UnixStream, Call) {
        let probe = UnixStream::connect(path).unwrap();
        (probe, socket.accept().await.unwrap())
    }

    #[tokio::test]
    async fn a_caller_is_known_by_its_process_and_words_and_orders_pass() {
        let (_directory, path, socket) = socket();
        let (mut probe, mut call) = called(&socket, &path).await;
        assert_eq!(call.pid, Some(std::process::id()));
        probe.write_all(&Word::Hello { version: VERSION }.frame()).unwrap();
        assert_eq!(call.words.next().await.unwrap(), Word::Hello { version: VERSION });
        let order = Order::Record { window: 1, from: 2, to: 3 };
        call.orders.send(order).await.unwrap();
        let mut frame = vec![0; order.frame().len()];
        probe.read_exact(&mut frame).unwrap();
        assert_eq!(Order::read(&frame[4..]), Some(order));
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_or_none_is_garbage() {
        let (_directory, path, socket) = socket();
        for bytes in [&[0xff; 8][..], &[1, 0, 0, 0, 77], &[0, 0, 0, 0], b"GET / HTTP/1.1\r\n\r\n"] {
            let (mut probe, mut call) = called(&socket, &path).await;
            probe.write_all(bytes).unwrap();
            assert!(matches!(call.words.next().await, Err(WordsEnd::Garbage)), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_frame_that_breaks_off_is_the_end() {
        let (_directory, path, socket) = socket();
        let frame = Word::Hello { version: VERSION }.frame();
        for length in 0..frame.len() {
            let (mut probe, mut call) = called(&socket, &path).await;
            probe.write_all(&frame[..length]).unwrap();
            drop(probe);
            assert!(matches!(call.words.next().await, Err(WordsEnd::Closed(_))), "{length}");
        }
    }

    #[tokio::test]
    async fn every_user_may_call_and_the_end_removes_the_file_but_not_a_successor() {
        let (_directory, path, socket) = socket();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        let successor = ProbeSocket::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(successor);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_dead_watchdog_left_is_replaced() {
        let (_directory, path, socket) = socket();
        std::mem::forget(socket);
        let socket = ProbeSocket::bind(&path).unwrap();
        let _answered = called(&socket, &path).await;
    }
}
