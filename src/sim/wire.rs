//! The one text protocol between simulated processes: lines over unix sockets. Knows who speaks
//! (SO_PEERCRED); does not know what is said.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Upper bound for writing: a reader that does not read must not block a simulated process.
const WRITE_LIMIT: Duration = Duration::from_millis(200);

/// A conversation from the side that asks.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Link {
    /// Connects; fails as `connect(2)` does.
    pub(crate) fn connect(path: &Path) -> io::Result<Link> {
        let stream = UnixStream::connect(path)?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Link { stream, reader })
    }

    /// Connects, says nothing, and waits until the other side hangs up.
    pub(crate) fn knock(path: &Path) -> io::Result<()> {
        let link = Link::connect(path)?;
        link.stream.shutdown(std::net::Shutdown::Write)?;
        link.rest().map(drop)
    }

    /// Bounds every later wait for an answer.
    pub(crate) fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(limit))
    }

    /// Says one line.
    pub(crate) fn send(&mut self, line: &str) -> io::Result<()> {
        say(&self.stream, line)
    }

    /// The next line; an error when the other side is gone.
    pub(crate) fn receive(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Says a line and waits for the answer.
    pub(crate) fn ask(&mut self, line: &str) -> io::Result<String> {
        self.send(line)?;
        self.receive()
    }

    /// Everything until the other side hangs up.
    pub(crate) fn rest(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.reader, &mut bytes)?;
        Ok(bytes)
    }

    /// Hands every further line to `heard`, from a thread, and then its end.
    pub(crate) fn follow<M: Send + 'static>(
        self,
        to: Sender<M>,
        heard: impl Fn(Option<String>) -> M + Send + 'static,
    ) -> io::Result<UnixStream> {
        let stream = self.stream.try_clone()?;
        thread::spawn(move || {
            for line in self.reader.lines().map_while(Result::ok) {
                if to.send(heard(Some(line))).is_err() {
                    return;
                }
            }
            let _ = to.send(heard(None));
        });
        Ok(stream)
    }
}

/// Says one line in one write.
pub(crate) fn say(mut stream: &UnixStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Pid of the process.
    pub pid: u32,
    /// User of the process.
    pub uid: u32,
}

/// What a listener hears. Connections have numbers that are never used again.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Somebody connected.
    Opened(u64, Peer, UnixStream),
    /// A line without its end.
    Line(u64, String),
    /// The connection is gone: the peer hung up or died.
    Closed(u64),
}

/// Listens on `path` from a thread, over what a dead listener left there.
pub(crate) fn listen<M: From<Heard> + Send + 'static>(path: &Path, to: Sender<M>) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // As /dev/nvidia* and the sockets of the real daemon: engines of any user are clients.
    std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
    thread::spawn(move || {
        for (number, stream) in (1..).zip(listener.incoming().map_while(Result::ok)) {
            // One who is gone already is no reason to stop listening.
            let _ = welcome(number, stream, &to);
        }
    });
    Ok(())
}

fn welcome<M: From<Heard> + Send + 'static>(number: u64, stream: UnixStream, to: &Sender<M>) -> io::Result<()> {
    let credentials = getsockopt(&stream, PeerCredentials)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))?;
    let reader = BufReader::new(stream.try_clone()?);
    let peer = Peer { pid: credentials.pid().unsigned_abs(), uid: credentials.uid() };
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    to.send(Heard::Opened(number, peer, stream).into()).map_err(gone)?;
    let to = to.clone();
    thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            if to.send(Heard::Line(number, line).into()).is_err() {
                return;
            }
        }
        let _ = to.send(Heard::Closed(number).into());
    });
    Ok(())
}

/// The connections of a listener.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeMap<u64, (Peer, UnixStream)>);

impl Links {
    /// Keeps a new connection.
    pub(crate) fn open(&mut self, link: u64, peer: Peer, stream: UnixStream) {
        self.0.insert(link, (peer, stream));
    }

    /// The process at the other end of a link.
    pub(crate) fn peer(&self, link: u64) -> Option<Peer> {
        self.0.get(&link).map(|(peer, _)| *peer)
    }

    /// Says a line; one who is gone will be heard closing.
    pub(crate) fn say(&self, link: u64, line: &str) {
        if let Some((_, stream)) = self.0.get(&link) {
            let _ = say(stream, line);
        }
    }

    /// Says text as it is.
    pub(crate) fn write(&self, link: u64, text: &str) {
        if let Some((_, stream)) = self.0.get(&link) {
            let _ = (&*stream).write_all(text.as_bytes());
        }
    }

    /// Hangs up.
    pub(crate) fn close(&mut self, link: u64) {
        if let Some((_, stream)) = self.0.remove(&link) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}
