//! Opens a log, whatever it is, reads its end and follows it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::device::{self, Device};
use super::file::LogFile;
use super::reader::{self, LineMeaning, Reader};
use super::ring::{self, Ring};
use super::words::KernelLine;

use crate::files::{self, Links};

/// The kernel's own device.
pub(super) const DEVICE: &str = "/dev/kmsg";
/// Bytes of a file that are read back when it is asked what it holds.
pub(super) const READ_BACK: u64 = 8 << 20;
/// Bytes of a file's end that show its form.
pub(super) const SAMPLE: u64 = 64 * 1024;
/// The machine's own pid namespace, by its fixed number (the kernel's PROC_PID_INIT_INO).
pub(super) const MACHINE_NAMESPACE: &str = "pid:[4026531836]";

/// What following a log brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line that says something.
    Line(KernelLine),
    /// It can be read and understood again.
    Answers,
    /// It can't be read now, and why.
    Silent(String),
    /// It can be read, and many lines in a row are in no form that is known: the words.
    NotUnderstood(String),
    /// Nothing; comes at least once a second.
    Quiet,
}

/// Why the kernel log can't be read, and the cure.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the kernel log {path}: {source}{cure}")]
pub struct KmsgError {
    path: PathBuf,
    source: io::Error,
    cure: &'static str,
}

/// The kernel log, open at its end.
pub struct KernelLog {
    path: PathBuf,
    kind: Kind,
}

pub(super) enum Kind {
    Device(Device),
    Ring(Ring),
    File(LogFile),
}

impl KernelLog {
    /// Opens `path`, /dev/kmsg or a file. What is written after this is seen by `follow`. A file may come later.
    pub fn open(path: &Path) -> Result<KernelLog, KmsgError> {
        let kind = match is_device(path) {
            true => match Device::open(path) {
                Ok(device) => Kind::Device(device),
                Err(refused) => Kind::Ring(ring(path, refused)?),
            },
            false => Kind::File(LogFile::open(path)),
        };
        Ok(KernelLog { path: path.to_owned(), kind })
    }

    /// Whether its pids are those that this process sees: the kernel prints those of the machine's own namespace.
    /// A file's writer is taken for one of us.
    pub fn speaks_of_our_pids(&self) -> bool {
        let ours = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        matches!(self.kind, Kind::File(_)) || ours == Path::new(MACHINE_NAMESPACE)
    }

    /// Where it is read, if not at its path.
    pub fn instead(&self) -> Option<&'static str> {
        matches!(self.kind, Kind::Ring(_)).then_some("syslog(2)")
    }

    /// Calls `seen` with what it hears, at least once a second, until it breaks (`Ok`) or the log can't be read any
    /// more (`Err`). Blocks: it wants a thread of its own.
    pub fn follow(self, mut seen: impl FnMut(Heard) -> ControlFlow<()>) -> Result<(), KmsgError> {
        let KernelLog { path, kind } = self;
        let mut ear = Ear { path: path.clone(), reader: Reader::default(), state: State::Answers, seen: &mut seen };
        let followed = match kind {
            Kind::Device(device) => device.follow(&mut ear),
            Kind::Ring(ring) => ring.follow(&mut ear),
            Kind::File(file) => file.follow(&mut ear),
        };
        match followed {
            Ok(_) => Ok(()),
            Err(error) => Err(kmsg_error(&path, error)),
        }
    }

    /// What the log holds of lines that are `wanted`, the last `most` bytes of them. Of a file its end alone is read.
    pub fn read_back(path: &Path, wanted: impl Fn(&str) -> bool, most: usize) -> Result<String, KmsgError> {
        let mut text = String::new();
        let mut take = |record: &str| {
            let line = record.lines().next().unwrap_or_default();
            if wanted(line) {
                text.push_str(line);
                text.push('\n');
            }
            if text.len() > 2 * most {
                text = last_lines(&text, most).to_owned();
            }
        };
        let read = match is_device(path) {
            true => device::held(path, &mut take).or_else(|refused| match ring::held() {
                Ok(held) => {
                    held.lines().for_each(&mut take);
                    Ok(())
                }
                Err(_) => Err(refused),
            }),
            false => end_of(path, READ_BACK).map(|end| end.lines().for_each(&mut take)),
        };
        read.map_err(|error| kmsg_error(path, error))?;
        Ok(last_lines(&text, most).to_owned())
    }
}

/// The last line of the file at `path`, shortened, where it has lines and hardly one of them is in the form of a kernel
/// log. `None`: it is in one, or too young to say, or no file, or can't be read, which is reported when it is followed.
pub fn is_no_kernel_log(path: &Path) -> Option<String> {
    let end = end_of(path, SAMPLE).ok()?;
    reader::is_no_kernel_log(end.lines())
}

/// The whole lines at the end of a file.
pub(super) fn end_of(path: &Path, most: u64) -> io::Result<String> {
    let file = files::open(path, Links::Followed)?;
    let start = file.metadata()?.size().saturating_sub(most);
    let bytes = read_from(&file, start, most)?;
    let first = bytes.iter().position(|byte| *byte == b'\n').filter(|_| start > 0).map_or(0, |end| end + 1);
    Ok(String::from_utf8_lossy(&bytes[first..]).into_owned())
}

pub(super) fn read_from(file: &File, start: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(most).unwrap_or(usize::MAX).min(READ_BACK as usize)];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], start + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Hears lines, and whether they are understood.
pub(super) struct Ear<'a> {
    path: PathBuf,
    pub(super) reader: Reader,
    pub(super) state: State,
    seen: &'a mut dyn FnMut(Heard) -> ControlFlow<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Answers,
    Silent,
    NotUnderstood,
}

impl Ear<'_> {
    /// Takes a line or a record.
    pub(super) fn line(&mut self, text: &str) -> ControlFlow<()> {
        match self.reader.take(text) {
            LineMeaning::Understood(said) => {
                self.turn(State::Answers, || Heard::Answers)?;
                said.map_or(ControlFlow::Continue(()), |line| (self.seen)(Heard::Line(line)))
            }
            LineMeaning::Strange(Some(line)) => {
                let path = self.path.display().to_string();
                self.turn(State::NotUnderstood, || Heard::NotUnderstood(not_understood(&path, &line)))
            }
            LineMeaning::Strange(None) | LineMeaning::Nothing => ControlFlow::Continue(()),
        }
    }

    /// The log is there again: what its lines are worth is not known yet.
    pub(super) fn back(&mut self) -> ControlFlow<()> {
        match self.state {
            State::Silent => self.turn(State::Answers, || Heard::Answers),
            State::Answers | State::NotUnderstood => ControlFlow::Continue(()),
        }
    }

    pub(super) fn silent(&mut self, error: io::Error) -> ControlFlow<()> {
        let path = self.path.clone();
        self.turn(State::Silent, || Heard::Silent(kmsg_error(&path, error).to_string()))
    }

    pub(super) fn quiet(&mut self) -> ControlFlow<()> {
        (self.seen)(Heard::Quiet)
    }

    fn turn(&mut self, state: State, heard: impl FnOnce() -> Heard) -> ControlFlow<()> {
        if self.state == state {
            return ControlFlow::Continue(());
        }
        self.state = state;
        (self.seen)(heard())
    }
}

pub(super) fn not_understood(path: &str, line: &str) -> String {
    format!(
        "the lines of {path} are in no form that is known, the last begins with {line:?}: {}",
        "set kernel_log to /dev/kmsg, or to a file that syslog, journalctl -k or dmesg writes"
    )
}

/// Also where it is not there: then syslog(2) may be.
pub(super) fn is_device(path: &Path) -> bool {
    path == Path::new(DEVICE) || fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device())
}

/// syslog(2) stands in for the kernel's own device, and for no file.
pub(super) fn ring(path: &Path, refused: io::Error) -> Result<Ring, KmsgError> {
    if path != Path::new(DEVICE) {
        return Err(kmsg_error(path, refused));
    }
    Ring::open().map_err(|error| {
        let both = io::Error::new(refused.kind(), format!("{refused}, and syslog(2): {error}"));
        kmsg_error(path, both)
    })
}

pub(super) fn kmsg_error(path: &Path, source: io::Error) -> KmsgError {
    let cure = match (source.kind(), path == Path::new(DEVICE)) {
        (ErrorKind::PermissionDenied, true) => {
            "; give the watchdog CAP_SYSLOG (systemd: AmbientCapabilities=CAP_SYSLOG; container: --cap-add SYSLOG), or set kernel_log to the system's log file"
        }
        (ErrorKind::PermissionDenied, false) => "; let the watchdog's user read it (the group adm or systemd-journal)",
        (ErrorKind::NotFound, _) => {
            "; in a container, pass it in (--device /dev/kmsg --cap-add SYSLOG), or set kernel_log"
        }
        _ => "; set kernel_log to /dev/kmsg or to the system's log file",
    };
    KmsgError { path: path.to_owned(), source, cure }
}

/// Whole lines of the end.
pub(super) fn last_lines(text: &str, most: usize) -> &str {
    let from = text.len().saturating_sub(most);
    let start =
        text.char_indices().map(|(at, _)| at).find(|at| *at >= from && (*at == 0 || text.as_bytes()[at - 1] == b'\n'));
    start.map_or("", |start| &text[start..])
}

#[cfg(test)]
#[path = "tests.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm)]
mod tests;
