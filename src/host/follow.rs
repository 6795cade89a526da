//! Follows one append-only file by inotify, line by line, and truncates it once it is read and long.
//! What a line means is decided elsewhere.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::clock;
use crate::model::Moment;

/// The bytes at which a followed file is truncated, if the configuration of the caller has no other.
pub const DEFAULT_LIMIT: u64 = 8 << 20;
/// A longer line is cut there: nobody's memory is the writer's to fill.
const LONGEST_LINE: usize = 64 << 10;
/// A file over its limit is truncated when nobody has written for so long: what is written between the
/// last read and the truncation would be lost.
const QUIET: Duration = Duration::from_millis(200);
/// At so many limits it is truncated anyway: a full disk harms more.
const MOST_LIMITS: u64 = 4;

/// Where following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what the file holds already.
    Beginning,
    /// With what is written from now on.
    End,
}

/// Follows the file at `path` for as long as it can: calls `on_line` for every whole line, without its
/// newline, with the moment at which it was read. The file may come later, be truncated or replaced.
/// Its directory must be there. Returns only an error.
pub async fn follow(path: &Path, start: Start, limit: u64, mut on_line: impl FnMut(&str, Moment)) -> io::Error {
    match Follower::new(path, start, limit) {
        Ok(mut follower) => loop {
            if let Err(error) = follower.turn(&mut on_line).await {
                return error;
            }
        },
        Err(error) => error,
    }
}

struct Follower {
    path: PathBuf,
    limit: u64,
    notify: AsyncFd<Watches>,
    open: Option<Opened>,
    lines: Lines,
}

/// An inotify instance that epoll can take.
struct Watches(Inotify);

impl AsRawFd for Watches {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

struct Opened {
    file: File,
    watch: WatchDescriptor,
    inode: (u64, u64),
    offset: u64,
}

impl Follower {
    fn new(path: &Path, start: Start, limit: u64) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        inotify.add_watch(directory, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO).map_err(|error| {
            io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", directory.display()))
        })?;
        // SAFETY: the wrapper owns its descriptor for as long as it is registered.
        let notify = unsafe { AsyncFd::register_with_interest(Watches(inotify), Interest::READABLE) }?;
        let mut follower = Follower { path: path.to_owned(), limit, notify, open: None, lines: Lines::default() };
        follower.reopen()?;
        if let (Start::End, Some(open)) = (start, &mut follower.open) {
            open.offset = open.file.seek(SeekFrom::End(0))?;
        }
        Ok(follower)
    }

    /// Reads all there is, then waits for more. The watch was set before the read, so nothing between
    /// the two is missed.
    async fn turn(&mut self, on_line: &mut impl FnMut(&str, Moment)) -> io::Result<()> {
        self.read(on_line)?;
        if !self.is_over(self.limit) {
            return self.wait(on_line).await;
        }
        let waited = match self.is_over(self.limit.saturating_mul(MOST_LIMITS)) {
            true => None,
            false => tokio::time::timeout(QUIET, self.notify.readable()).await.ok(),
        };
        match waited {
            Some(_) => self.wait(on_line).await,
            None => self.truncate(on_line),
        }
    }

    fn is_over(&self, limit: u64) -> bool {
        self.open.as_ref().is_some_and(|open| open.offset > limit)
    }

    /// Reads from where it stopped to the end.
    fn read(&mut self, on_line: &mut impl FnMut(&str, Moment)) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut chunk = [0; 16 << 10];
        loop {
            let read = open.file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            open.offset += read as u64;
            self.lines.take(&chunk[..read], clock::now(), on_line);
        }
        if open.file.metadata()?.len() < open.offset {
            // Others truncated it: what is there now is all new.
            self.lines.forget();
            open.offset = open.file.seek(SeekFrom::Start(0))?;
            return self.read(on_line);
        }
        Ok(())
    }

    /// Waits for an event and takes up a file that came in the place of the one that is open.
    async fn wait(&mut self, on_line: &mut impl FnMut(&str, Moment)) -> io::Result<()> {
        let mut ready = self.notify.readable().await?;
        let events = match ready.get_inner().0.read_events() {
            Err(Errno::EAGAIN) => {
                ready.clear_ready();
                return Ok(());
            }
            events => events?,
        };
        let name: Option<&OsStr> = self.path.file_name();
        let other_file = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_Q_OVERFLOW;
        if events
            .iter()
            .any(|event| event.mask.intersects(other_file) || (event.name.is_some() && event.name.as_deref() == name))
        {
            self.read(on_line)?;
            self.reopen()?;
        }
        Ok(())
    }

    /// Opens the file at the path if it is another than the one that is open. One that is gone stays
    /// open: its writer may go on.
    fn reopen(&mut self) -> io::Result<()> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let inode = (metadata.dev(), metadata.ino());
        if self.open.as_ref().is_some_and(|open| open.inode == inode) {
            return Ok(());
        }
        if let Some(old) = self.open.take() {
            // Fails where the kernel took the watch away with the file.
            let _ = self.notify.get_ref().0.rm_watch(old.watch);
            self.lines.forget();
        }
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ATTRIB;
        let watch = self.notify.get_ref().0.add_watch(&self.path, flags)?;
        self.open = Some(Opened { file, watch, inode, offset: 0 });
        Ok(())
    }

    /// Truncates what was read, unless more came meanwhile. Writers append, so they go on at the new end.
    fn truncate(&mut self, on_line: &mut impl FnMut(&str, Moment)) -> io::Result<()> {
        self.read(on_line)?;
        let Some(open) = &mut self.open else { return Ok(()) };
        let writable = OpenOptions::new().write(true).open(&self.path)?;
        let metadata = writable.metadata()?;
        if (metadata.dev(), metadata.ino()) == open.inode && metadata.len() == open.offset {
            writable.set_len(0)?;
            open.offset = open.file.seek(SeekFrom::Start(0))?;
        }
        Ok(())
    }
}

/// Cuts bytes into lines; a partial line waits for its rest.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
    skipping: bool,
}

impl Lines {
    fn take(&mut self, mut bytes: &[u8], now: Moment, on_line: &mut impl FnMut(&str, Moment)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.keep(&bytes[..end], now, on_line);
            if !self.skipping {
                on_line(&text(&self.partial), now);
            }
            self.forget();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes, now, on_line);
    }

    /// Adds to the partial line; one that grows too long is told at once, the rest of it skipped.
    fn keep(&mut self, bytes: &[u8], now: Moment, on_line: &mut impl FnMut(&str, Moment)) {
        if self.skipping {
            return;
        }
        let room = LONGEST_LINE - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            on_line(&text(&self.partial), now);
            self.partial.clear();
            self.skipping = true;
        }
    }

    fn forget(&mut self) {
        self.partial.clear();
        self.skipping = false;
    }
}

fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::time::timeout;

    use super::*;

    struct Followed {
        directory: tempfile::TempDir,
        lines: UnboundedReceiver<String>,
    }

    impl Followed {
        fn path(&self) -> PathBuf {
            self.directory.path().join("log")
        }

        fn append(&self, bytes: &[u8]) {
            OpenOptions::new().append(true).create(true).open(self.path()).unwrap().write_all(bytes).unwrap();
        }

        async fn next(&mut self) -> String {
            timeout(Duration::from_secs(20), self.lines.recv()).await.expect("a line in time").unwrap()
        }
    }

    fn followed(before: Option<&str>, start: Start, limit: u64) -> Followed {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        if let Some(before) = before {
            std::fs::write(&path, before).unwrap();
        }
        let (send, lines) = unbounded_channel();
        // The watches are set before the test goes on.
        let mut follower = Follower::new(&path, start, limit).unwrap();
        tokio::spawn(async move {
            while follower.turn(&mut |line: &str, _| drop(send.send(line.to_owned()))).await.is_ok() {}
        });
        Followed { directory, lines }
    }

    #[tokio::test]
    async fn whole_lines_come_from_the_beginning_or_the_end() {
        let mut log = followed(Some("old\n"), Start::Beginning, 1 << 20);
        assert_eq!(log.next().await, "old");
        log.append(b"par");
        log.append(b"tial\r\nnext\n");
        assert_eq!((log.next().await, log.next().await), ("partial".into(), "next".into()));
        let mut log = followed(Some("old\n"), Start::End, 1 << 20);
        log.append(b"new\n");
        assert_eq!(log.next().await, "new");
    }

    #[tokio::test]
    async fn a_file_that_comes_later_is_read_from_its_beginning() {
        let mut log = followed(None, Start::End, 1 << 20);
        tokio::task::yield_now().await;
        log.append(b"first\n");
        assert_eq!(log.next().await, "first");
    }

    #[tokio::test]
    async fn a_file_that_others_truncate_or_replace_is_followed_on() {
        let mut log = followed(Some("one\ntwo\n"), Start::Beginning, 1 << 20);
        assert_eq!((log.next().await, log.next().await), ("one".into(), "two".into()));
        std::fs::write(log.path(), "3\n").unwrap();
        assert_eq!(log.next().await, "3");
        let new = log.directory.path().join("new");
        std::fs::write(&new, "four\n").unwrap();
        std::fs::rename(&new, log.path()).unwrap();
        assert_eq!(log.next().await, "four");
        log.append(b"five\n");
        assert_eq!(log.next().await, "five");
    }

    #[tokio::test]
    async fn a_long_file_is_truncated_and_no_line_is_lost_while_the_reader_keeps_up() {
        let mut log = followed(None, Start::Beginning, 4096);
        let mut writer = OpenOptions::new().append(true).create(true).open(log.path()).unwrap();
        for round in 0..3 {
            for number in 0..100 {
                writeln!(writer, "{round} {number} {}", "x".repeat(80)).unwrap();
            }
            for number in 0..100 {
                assert!(log.next().await.starts_with(&format!("{round} {number} ")));
            }
            let deadline = clock::now().after(Duration::from_secs(20));
            while std::fs::metadata(log.path()).unwrap().len() > 0 {
                assert!(clock::now() < deadline, "the file was truncated");
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_writer_that_never_rests_is_truncated_at_a_few_limits() {
        let mut log = followed(None, Start::Beginning, 1024);
        log.append(&b"x\n".repeat(4096));
        for _ in 0..4096 {
            log.next().await;
        }
        let deadline = clock::now().after(Duration::from_secs(20));
        while std::fs::metadata(log.path()).unwrap().len() > 0 {
            assert!(clock::now() < deadline, "the file was truncated");
            log.append(b"y\n");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_named() {
        let error = follow(Path::new("/no/such/place/log"), Start::End, 1, |_, _| {}).await;
        assert!(error.to_string().contains("/no/such/place"), "{error}");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_once() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let long = "a".repeat(LONGEST_LINE + 5);
        for part in [long.as_bytes(), b"more", b"\nnext\n"] {
            lines.take(part, Moment::ZERO, &mut |line: &str, _| seen.push(line.to_owned()));
        }
        assert_eq!(seen, [long[..LONGEST_LINE].to_owned(), "next".to_owned()]);
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_lines_are_the_same(text in "[a-c\n]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)) {
            let whole = { let mut seen = Vec::new(); Lines::default().take(text.as_bytes(), Moment::ZERO, &mut |line: &str, _| seen.push(line.to_owned())); seen };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort();
            cuts.push(text.len());
            let (mut lines, mut seen, mut from) = (Lines::default(), Vec::new(), 0);
            for cut in cuts {
                lines.take(&text.as_bytes()[from..cut], Moment::ZERO, &mut |line: &str, _| seen.push(line.to_owned()));
                from = cut;
            }
            prop_assert_eq!(whole, seen);
        }

        #[test]
        fn bytes_that_are_no_text_never_panic(bytes in any::<Vec<u8>>()) {
            Lines::default().take(&bytes, Moment::ZERO, &mut |_: &str, _| {});
        }
    }
}
