//! The pipe directory as a client sees it: the watchdog's gate and the control daemon's socket in it.

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use super::wire::{Answer, Call, HEARTBEAT, LONGEST_LINE, SOCKET};

/// Variable by which CUDA finds its control daemon, and where it looks without it.
pub(super) const VARIABLE: &str = "CUDA_MPS_PIPE_DIRECTORY";
const DEFAULT: &str = "/tmp/nvidia-mps";

/// Upper bound for a line of a watchdog that lives: it says one each second.
const SILENCE: Duration = HEARTBEAT.saturating_mul(5);
/// A socket of another type than ours is bound there (`connect(2)`).
const EPROTOTYPE: i32 = 91;

/// The pipe directory.
#[derive(Debug)]
pub(super) struct Door {
    pub directory: PathBuf,
}

impl Door {
    /// The one that CUDA would use.
    pub(super) fn of_environment() -> Door {
        let named = env::var_os(VARIABLE).filter(|path| !path.is_empty());
        Door { directory: named.map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from) }
    }

    /// Whether a control daemon is bound at its socket. The knock is of a kind that it does not take, so that none is
    /// disturbed: the kernel refuses it in one way where a process is there, in another where none is.
    pub(super) fn has_daemon(&self) -> Result<(), String> {
        let path = self.directory.join("control");
        let knocked = UnixDatagram::unbound().and_then(|knock| knock.connect(&path));
        match knocked {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(EPROTOTYPE) => Ok(()),
            Err(error) => Err(format!("no control daemon is at {}: {error}", path.display())),
        }
    }

    /// Says something to the watchdog.
    pub(super) fn ask(&self, call: &Call) -> Result<Conversation, String> {
        let path = self.directory.join(SOCKET);
        let failed = |error: std::io::Error| format!("no watchdog answers at {}: {error}", path.display());
        let mut stream = UnixStream::connect(&path).map_err(failed)?;
        stream
            .set_read_timeout(Some(SILENCE))
            .and_then(|()| stream.set_write_timeout(Some(SILENCE)))
            .map_err(failed)?;
        writeln!(stream, "{call}").map_err(failed)?;
        Ok(Conversation(BufReader::new(stream)))
    }
}

/// What a watchdog says, line by line.
#[derive(Debug)]
pub(super) struct Conversation(BufReader<UnixStream>);

impl Conversation {
    /// The next line, within `bound` at most; `None`: none came in that time.
    pub(super) fn listen(&mut self, bound: Duration) -> Result<Option<Answer>, String> {
        let bound = bound.clamp(Duration::from_millis(1), SILENCE);
        let timed = self.0.get_ref().set_read_timeout(Some(bound));
        timed.map_err(|error| format!("the watchdog can't be heard: {error}"))?;
        let mut line = String::new();
        match self.0.by_ref().take(LONGEST_LINE as u64).read_line(&mut line) {
            Ok(0) => Err("the watchdog hung up".to_owned()),
            Ok(_) => Answer::read(&line).map(Some).ok_or_else(|| format!("the watchdog says {line:?}: is it older?")),
            Err(error) if bound < SILENCE && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(format!("the watchdog says nothing more: {error}")),
        }
    }
}
