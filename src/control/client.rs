//! The other end of the control socket: one call, one answer, bounded in time and size.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::words::{Call, Failure, IDLE, Kind, LONGEST_ANSWER, Line, Reply, VERSION};

/// Who asks over a socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client over this socket; it need not be there yet.
    pub fn of(socket: &Path) -> Client {
        Client { socket: socket.to_owned() }
    }

    /// The answer to a call as it came. Every failure says what to do about it.
    pub async fn call(&self, call: Call) -> Result<Box<RawValue>, Failure> {
        let bound = IDLE + call.bound() + IDLE;
        let answer = match timeout(bound, self.converse(call)).await {
            Ok(answer) => answer.map_err(|error| self.unreachable(&error))?,
            Err(_) => return Err(self.silent(&format!("gave no answer within {} s", bound.as_secs()))),
        };
        let reply: Reply = serde_json::from_slice(&answer).map_err(|_| match answer.is_empty() {
            true => self.silent("hung up without an answer"),
            false => self.silent("answered what is no answer of mpswarden's"),
        })?;
        match reply {
            Reply { error: Some(failure), .. } => Err(failure),
            Reply { version: VERSION, ok: Some(document), .. } => Ok(document),
            Reply { version, .. } => Err(self.other_version(&format!("words of version {version}"))),
        }
    }

    /// The answer to a call in its shape.
    pub async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        self.read(&self.call(call).await?)
    }

    /// An answer in its shape.
    pub fn read<T: DeserializeOwned>(&self, document: &RawValue) -> Result<T, Failure> {
        serde_json::from_str(document.get()).map_err(|error| self.other_version(&error.to_string()))
    }

    /// The same of a document that was read as a value.
    pub fn read_value<T: DeserializeOwned>(&self, document: &serde_json::Value) -> Result<T, Failure> {
        T::deserialize(document).map_err(|error| self.other_version(&error.to_string()))
    }

    async fn converse(&self, call: Call) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let mut line = serde_json::to_vec(&Line { version: VERSION, call })?;
        line.push(b'\n');
        // One that refuses may have said so and hung up before it read: what it said counts.
        let sent = stream.write_all(&line).await;
        let mut answer = Vec::new();
        let read = stream.take(LONGEST_ANSWER as u64).read_to_end(&mut answer).await;
        match answer.is_empty() {
            true => sent.and(read).map(|_| answer),
            false => Ok(answer),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is foreign and grows")]
    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::new(
                Kind::Denied,
                format!("the control socket {socket} is not yours: ask as root, or as the user that mpswarden runs as"),
            ),
            io::ErrorKind::NotFound => Failure::new(
                Kind::Unavailable,
                format!(
                    "there is no control socket {socket}: start mpswarden, or name its own by --control-socket or MPSWARDEN_CONTROL_SOCKET"
                ),
            ),
            io::ErrorKind::ConnectionRefused => Failure::new(
                Kind::Unavailable,
                format!("no answer on the control socket {socket}: mpswarden is not running any more"),
            ),
            _ => Failure::new(Kind::Unavailable, format!("the control socket {socket} can't be used: {error}")),
        }
    }

    fn silent(&self, what: &str) -> Failure {
        let socket = self.socket.display();
        Failure::new(Kind::Unavailable, format!("who listens on {socket} {what}: see mpswarden's log"))
    }

    fn other_version(&self, what: &str) -> Failure {
        let cure = "use the binary that runs, or --json";
        let text = format!("this mpswarden does not understand the one on {} ({what}): {cure}", self.socket.display());
        Failure::new(Kind::Unavailable, text)
    }
}
