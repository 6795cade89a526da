//! What a bundle takes from this machine: ends of logs and what a program prints. Bounded in size and in time;
//! it changes nothing.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::files::{self, Links};

/// Logs of one directory.
const MOST_LOGS: usize = 64;

/// Every `*.log` in the directory, by name.
pub fn logs_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        logs.extend(path.extension().is_some_and(|extension| extension == "log").then_some(path));
    }
    logs.sort_unstable();
    logs.truncate(MOST_LOGS);
    Ok(logs)
}

/// The last whole lines of a regular file, at most `most` bytes of them. A link is refused: engines may write
/// into the directory of their logs, and must not choose what is read there.
pub fn tail(path: &Path, most: u64) -> io::Result<String> {
    let mut file = files::open(path, Links::Refused)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(most);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let first = bytes.iter().position(|byte| *byte == b'\n').filter(|_| start > 0).map_or(0, |end| end + 1);
    Ok(String::from_utf8_lossy(&bytes[first..]).into_owned())
}

/// A whole regular file of at most `most` bytes.
pub fn whole(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(files::read(path, Links::Followed, most)?).map_err(io::Error::other)
}

/// What a program prints on stdout, its first `most` bytes, within `bound`; then it is killed, and not waited for:
/// one that hangs in the driver does not die.
pub fn printed(program: &str, arguments: &[&str], bound: Duration, most: u64) -> io::Result<String> {
    let mut command = Command::new(program);
    let mut child =
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let Some(out) = child.stdout.take() else { return Err(io::Error::other("it has no output")) };
    let (tell, told) = channel();
    std::thread::Builder::new().spawn(move || {
        let mut text = Vec::new();
        let read = out.take(most).read_to_end(&mut text).map(|_| text);
        // Nobody listens any more once its time is over.
        let _ = tell.send(read);
    })?;
    let heard = told.recv_timeout(bound);
    let _ = child.kill();
    let text = heard.map_err(|_| io::Error::other(format!("it did not end within {} s", bound.as_secs())))??;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_read_by_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.log");
        fs::write(&path, "first line\nsecond line\nthird\n").unwrap();
        assert_eq!(tail(&path, 1000).unwrap().lines().next(), Some("first line"));
        assert_eq!(tail(&path, 14).unwrap().lines().count(), 1);
        assert_eq!(whole(&path, 1000).unwrap().lines().count(), 3);
        assert!(whole(&path, 10).is_err());
    }

    #[test]
    fn links_pipes_and_what_is_not_there_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::os::unix::fs::symlink("/etc/passwd", at("link.log")).unwrap();
        nix::unistd::mkfifo(&at("pipe.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(at("directory.log")).unwrap();
        fs::write(at("notes.txt"), "").unwrap();
        let logs = logs_in(directory.path()).unwrap();
        assert_eq!(logs, [at("directory.log"), at("link.log"), at("pipe.log")]);
        for path in logs.iter().chain([&at("nowhere.log")]) {
            assert!(tail(path, 10).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_program_is_bounded_in_time_and_output() {
        let long = Duration::from_secs(60);
        assert_eq!(printed("sh", &["-c", "echo hello"], long, 100).unwrap(), "hello\n");
        assert_eq!(printed("sh", &["-c", "yes"], long, 100).unwrap().len(), 100);
        let why = printed("sleep", &["1000"], Duration::ZERO, 100).unwrap_err();
        assert_eq!(why.to_string(), "it did not end within 0 s");
        assert!(printed("no-such-program", &[], long, 100).is_err());
    }
}
