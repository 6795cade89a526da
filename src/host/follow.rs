//! Follows one append-only file by inotify, line by line. One of ours is truncated once it is read and long; one of
//! others is only read.
//! What a line means is decided elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::clock;
use super::pieces::{Lines, Part, Piece};
use crate::files::{self, Links};
use crate::model::Moment;

/// The bytes at which a followed file is truncated, if the configuration of the caller has no other.
pub const DEFAULT_LIMIT: u64 = 8 << 20;
/// Silence after which a file over its limit is truncated: what is written between the last read and the truncation
/// would be lost. A line without an end is taken for one after it.
const QUIET: Duration = Duration::from_millis(200);
/// Number of limits at which it is truncated anyway: a full disk harms more. What is not read yet then, because its
/// writer is faster than any reader or made a hole, is given up but for its end, which tells how it ended.
const MOST_LIMITS: u64 = 4;
/// Shortest time between two reports that something is given up.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Bytes that are read before others get their turn.
const TURN: usize = 1 << 20;
/// The same on a thread that has more to do than to read.
const SHORT_TURN: usize = 128 << 10;
/// Events that end a directory: nothing that comes in its place is seen by its watch.
const LEAVES: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF);
/// Turns that a file is read on for after another came in its place.
const LAST_TURNS: u32 = 64;

/// What becomes of a followed file that is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// The file is ours: it is truncated once it is read and has so many bytes.
    Truncated(u64),
    /// The file is of others, who see to its length.
    OfOthers,
}

/// The point from which a file is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Follow with what the file holds already.
    Beginning,
    /// Follow with what is written from now on.
    End,
    /// Follow with what was written since this mark.
    Since(Mark),
}

/// The end of a file at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(Option<(Inode, u64)>);

type Inode = (u64, u64);

impl Mark {
    /// The end of the file at `path` now. One that is not there yet begins later.
    pub fn now(path: &Path) -> Self {
        Mark(std::fs::symlink_metadata(path).ok().map(|metadata| ((metadata.dev(), metadata.ino()), metadata.len())))
    }
}

/// Follows the file at `path` for as long as it can: calls `on_line` for every whole line, without its
/// newline, with the moment at which it was read; `on_begun` once nothing that comes can be missed. The file may come
/// later, be truncated or replaced. Of a very long line only the beginning comes. Its directory must be there, and stay.
/// Returns only an error.
pub async fn follow(
    path: &Path,
    start: Start,
    length: Length,
    on_begun: impl FnOnce(),
    mut on_line: impl FnMut(&str, Moment),
) -> io::Error {
    let mut on_piece = |piece: &Piece| {
        if piece.part == Part::First {
            on_line(piece.text, piece.read_at);
        }
    };
    let limit = match length {
        Length::Truncated(limit) => limit,
        Length::OfOthers => DEFAULT_LIMIT,
    };
    let follower = Follower::new(path, start, limit).and_then(|follower| {
        let mut follower = Follower { turn: SHORT_TURN, length, ..follower };
        if length == Length::OfOthers {
            follower.watch_over_the_directory()?;
        }
        Ok(follower)
    });
    follow_with(follower.inspect(|_| on_begun()), &mut on_piece).await
}

/// Follows like [`follow`], but hands on very long lines in pieces, and lines without an end once their writer pauses.
/// Whole lines that `worth` finds not worth a look, many at a time, may be left out.
pub async fn follow_pieces(
    path: &Path,
    start: Start,
    limit: u64,
    worth: fn(&[u8]) -> bool,
    mut on_piece: impl FnMut(&Piece),
) -> io::Error {
    let follower = Follower::new(path, start, limit).map(|follower| Follower { worth, partial: true, ..follower });
    follow_with(follower, &mut on_piece).await
}

async fn follow_with(follower: io::Result<Follower>, on_piece: &mut impl FnMut(&Piece)) -> io::Error {
    match follower {
        Ok(mut follower) => loop {
            if let Err(error) = follower.turn(on_piece).await {
                return error;
            }
        },
        Err(error) => error,
    }
}

struct Follower {
    path: PathBuf,
    /// The watch of its directory.
    directory: WatchDescriptor,
    /// That of the directory above, and what its directory is called there: a directory that is removed says so itself
    /// only once nobody has a file of it open.
    above: Option<(WatchDescriptor, OsString)>,
    limit: u64,
    length: Length,
    notify: AsyncFd<Watches>,
    open: Option<FollowedFile>,
    lines: Lines,
    worth: fn(&[u8]) -> bool,
    /// Lines without an end are handed on too.
    partial: bool,
    /// Bytes that are read before others get their turn.
    turn: usize,
    /// Time of the last report that something is given up.
    reported: Option<Moment>,
}

/// An inotify instance that epoll can take.
struct Watches(Inotify);

impl AsRawFd for Watches {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

struct FollowedFile {
    file: File,
    watch: WatchDescriptor,
    inode: Inode,
    offset: u64,
}

impl FollowedFile {
    fn go_to(&mut self, to: SeekFrom) -> io::Result<()> {
        self.offset = self.file.seek(to)?;
        Ok(())
    }
}

/// What a truncation may lose.
#[derive(PartialEq)]
enum Loses {
    /// Nothing that is there now.
    Nothing,
    /// What is not read yet.
    Unread,
}

impl Follower {
    fn new(path: &Path, start: Start, limit: u64) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        let directory = inotify.add_watch(directory, flags | LEAVES).map_err(|error| {
            io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", directory.display()))
        })?;
        // SAFETY: the wrapper owns its descriptor for as long as it is registered.
        let notify = unsafe { AsyncFd::register_with_interest(Watches(inotify), Interest::READABLE) }?;
        let (lines, worth) = (Lines::default(), (|_| true) as fn(&[u8]) -> bool);
        let mut follower = Follower {
            path: path.to_owned(),
            directory,
            above: None,
            limit,
            length: Length::Truncated(limit),
            notify,
            open: None,
            lines,
            worth,
            partial: false,
            turn: TURN,
            reported: None,
        };
        follower.reopen(&mut |_: &Piece| {})?;
        match (start, &mut follower.open) {
            (Start::End, Some(open)) => open.go_to(SeekFrom::End(0))?,
            (Start::Since(Mark(Some((inode, length)))), Some(open)) if open.inode == inode => {
                open.go_to(SeekFrom::Start(length))?;
            }
            _ => {}
        }
        Ok(follower)
    }

    /// Reads a part of what there is, or waits for more. The watch was set before the read, so nothing between
    /// the two is missed.
    async fn turn(&mut self, on_piece: &mut impl FnMut(&Piece)) -> io::Result<()> {
        let more = self.read(on_piece)?;
        if self.length == Length::OfOthers {
            if more && self.unread()? > self.limit.saturating_mul(MOST_LIMITS) {
                self.skip_to_its_end(on_piece)?;
            }
        } else if self.is_over(MOST_LIMITS)? {
            if more {
                self.skip_to_its_end(on_piece)?;
            }
            if self.truncate(Loses::Unread, on_piece)? {
                yield_now().await;
                return Ok(());
            }
        }
        if more {
            yield_now().await;
            // A file that came in its place is opened however much is left to read.
            return match timeout(Duration::ZERO, self.notify.readable()).await {
                Ok(_) => self.wait(on_piece).await,
                Err(_) => Ok(()),
            };
        }
        let over = self.length != Length::OfOthers && self.is_over(1)?;
        let unheard = self.partial && self.lines.has_news();
        if (over || unheard) && timeout(QUIET, self.notify.readable()).await.is_err() {
            self.tell_partial(on_piece);
            if over && self.truncate(Loses::Nothing, on_piece)? {
                return Ok(());
            }
        }
        self.wait(on_piece).await
    }

    /// Sees its directory removed, or moved away, by whoever runs the writer.
    fn watch_over_the_directory(&mut self) -> io::Result<()> {
        let parts = self.path.parent().and_then(|directory| Some((directory.parent()?, directory.file_name()?)));
        let Some((above, name)) = parts else { return Ok(()) };
        let flags = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        self.above = Some((self.notify.get_ref().0.add_watch(above, flags)?, name.to_owned()));
        // It may have gone before.
        self.path.parent().map_or(Ok(()), |directory| directory.metadata().map(|_| ()))
    }

    /// Whether its directory is gone.
    fn lost_its_directory(&self, event: &InotifyEvent) -> bool {
        let leaves = LEAVES | AddWatchFlags::IN_IGNORED | AddWatchFlags::IN_UNMOUNT;
        let by_itself = event.wd == self.directory && event.mask.intersects(leaves);
        let from_above =
            |(watch, name): &(WatchDescriptor, OsString)| event.wd == *watch && event.name.as_ref() == Some(name);
        by_itself || self.above.as_ref().is_some_and(from_above)
    }

    /// Bytes that are there and not read yet.
    fn unread(&self) -> io::Result<u64> {
        let Some(open) = &self.open else { return Ok(0) };
        Ok(open.file.metadata()?.len().saturating_sub(open.offset))
    }

    fn is_over(&self, limits: u64) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        Ok(open.file.metadata()?.len() > self.limit.saturating_mul(limits))
    }

    fn tell_partial(&mut self, on_piece: &mut impl FnMut(&Piece)) {
        if self.partial {
            self.lines.tell_partial(clock::now(), on_piece);
        }
    }

    /// Reads on from where it stopped. Whether there may be more.
    fn read(&mut self, on_piece: &mut impl FnMut(&Piece)) -> io::Result<bool> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let (mut chunk, mut left) = ([0; 16 << 10], self.turn);
        while left > 0 {
            let read = open.file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            self.lines.take(&chunk[..read], open.offset, clock::now(), self.worth, on_piece);
            open.offset += read as u64;
            left = left.saturating_sub(read);
        }
        if open.file.metadata()?.len() < open.offset {
            // Others truncated it: what is there now is all new.
            open.go_to(SeekFrom::Start(0))?;
            self.tell_partial(on_piece);
            self.lines.forget();
            return Ok(true);
        }
        Ok(left == 0)
    }

    /// Gives up what is not read, but for the last of it.
    fn skip_to_its_end(&mut self, on_piece: &mut impl FnMut(&Piece)) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let last = open.file.metadata()?.len().saturating_sub(self.turn as u64);
        if last > open.offset {
            let now = clock::now();
            if self.reported.is_none_or(|reported| now.since(reported) > REPORT_EVERY) {
                let unread = last - open.offset;
                tracing::warn!("{unread} bytes of {} were not read: it grew too fast", self.path.display());
                self.reported = Some(now);
            }
            open.go_to(SeekFrom::Start(last))?;
            self.tell_partial(on_piece);
            self.lines.forget();
        }
        self.read(on_piece).map(|_| ())
    }

    /// Waits for an event and opens a file that came in the place of the one that is open.
    async fn wait(&mut self, on_piece: &mut impl FnMut(&Piece)) -> io::Result<()> {
        let mut ready = self.notify.readable().await?;
        let events = match ready.get_inner().0.read_events() {
            Err(Errno::EAGAIN) => {
                ready.clear_ready();
                return Ok(());
            }
            events => events?,
        };
        if events.iter().any(|event| self.lost_its_directory(event)) {
            // What was written to the end of it is still in the file that is open.
            for _ in 0..LAST_TURNS {
                if !self.read(on_piece)? {
                    break;
                }
                yield_now().await;
            }
            return Err(io::Error::new(io::ErrorKind::NotFound, "its directory was removed or moved away"));
        }
        let name: Option<&OsStr> = self.path.file_name();
        let other_file = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_Q_OVERFLOW;
        if events
            .iter()
            .any(|event| event.mask.intersects(other_file) || (event.name.is_some() && event.name.as_deref() == name))
        {
            for _ in 0..LAST_TURNS {
                if !self.read(on_piece)? {
                    break;
                }
                yield_now().await;
            }
            self.reopen(on_piece)?;
        }
        Ok(())
    }

    /// Opens the file at the path if it is another than the one that is open. One that is gone stays
    /// open: its writer may go on.
    fn reopen(&mut self, on_piece: &mut impl FnMut(&Piece)) -> io::Result<()> {
        let file = match files::open(&self.path, Links::Refused) {
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
            self.tell_partial(on_piece);
            self.lines.forget();
        }
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ATTRIB;
        let watch = self.notify.get_ref().0.add_watch(&self.path, flags)?;
        self.open = Some(FollowedFile { file, watch, inode, offset: 0 });
        Ok(())
    }

    /// Truncates the file; writers append, so they go on at its new end. Whether it did: one that more came to is
    /// left alone where nothing may be lost, and so is one that was moved away.
    fn truncate(&mut self, loses: Loses, on_piece: &mut impl FnMut(&Piece)) -> io::Result<bool> {
        if loses == Loses::Nothing {
            self.read(on_piece)?;
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        let length = open.file.metadata()?.len();
        let only = (loses == Loses::Nothing).then_some(open.offset);
        if !files::truncate_at(&self.path, open.inode, only)? {
            return Ok(false);
        }
        let unread = length > open.offset;
        open.go_to(SeekFrom::Start(0))?;
        if unread {
            self.tell_partial(on_piece);
            self.lines.forget();
        }
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

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
        followed_with(before, start, limit, false)
    }

    fn followed_with(before: Option<&str>, start: Start, limit: u64, partial: bool) -> Followed {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        if let Some(before) = before {
            std::fs::write(&path, before).unwrap();
        }
        let (send, lines) = unbounded_channel();
        // The watches are set before the test goes on.
        let mut follower = Follower { partial, ..Follower::new(&path, start, limit).unwrap() };
        tokio::spawn(async move {
            let mut on_piece = |piece: &Piece| drop(send.send(piece.text.to_owned()));
            while follower.turn(&mut on_piece).await.is_ok() {}
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
        let error = follow(Path::new("/no/such/place/log"), Start::End, Length::Truncated(1), || {}, |_, _| {}).await;
        assert!(error.to_string().contains("/no/such/place"), "{error}");
    }

    #[tokio::test]
    async fn a_file_of_others_is_read_and_never_truncated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (send, mut lines) = unbounded_channel();
        let mut follower = Follower { length: Length::OfOthers, ..Follower::new(&path, Start::End, 16).unwrap() };
        tokio::spawn(async move {
            let mut on_piece = |piece: &Piece| drop(send.send(piece.text.to_owned()));
            while follower.turn(&mut on_piece).await.is_ok() {}
        });
        let mut writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number}").unwrap();
            let line = timeout(Duration::from_secs(20), lines.recv()).await.expect("a line in time").unwrap();
            assert_eq!(line, format!("line {number}"));
        }
        assert!(std::fs::metadata(&path).unwrap().len() > 700, "it is as long as its writer made it");
    }

    #[tokio::test]
    async fn of_a_file_of_others_that_grew_too_fast_only_the_end_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "").unwrap();
        let limit = 1 << 20;
        let mut follower = Follower { length: Length::OfOthers, ..Follower::new(&path, Start::End, limit).unwrap() };
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(&b"y\n".repeat((2 * MOST_LIMITS * limit) as usize)).unwrap();
        writer.write_all(b"its end\n").unwrap();
        let (mut count, mut last) = (0, String::new());
        let mut on_piece = |piece: &Piece| {
            count += 1;
            piece.text.clone_into(&mut last);
        };
        while follower.unread().unwrap() > 0 {
            follower.turn(&mut on_piece).await.unwrap();
        }
        assert_eq!(last, "its end");
        assert!(count < MOST_LIMITS * limit, "{count} lines were read");
        assert!(std::fs::metadata(&path).unwrap().len() > 2 * MOST_LIMITS * limit, "nothing was taken off it");
    }

    #[tokio::test]
    async fn a_directory_that_is_removed_is_reported_after_what_was_written_last() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("logs");
        std::fs::create_dir(&place).unwrap();
        let path = place.join("log");
        std::fs::write(&path, "").unwrap();
        let mut follower = Follower::new(&path, Start::End, 1 << 20).unwrap();
        follower.watch_over_the_directory().unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"its end\n").unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        let mut seen = Vec::new();
        let mut on_piece = |piece: &Piece| seen.push(piece.text.to_owned());
        let error = loop {
            match timeout(Duration::from_secs(20), follower.turn(&mut on_piece)).await.expect("it is noticed") {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), seen), (io::ErrorKind::NotFound, vec!["its end".to_owned()]));
    }

    #[tokio::test]
    async fn a_line_without_an_end_comes_once_its_writer_pauses_and_not_again() {
        let mut log = followed_with(None, Start::Beginning, 1 << 20, true);
        log.append(b"its last words");
        assert_eq!(log.next().await, "its last words");
        log.append(b"\nnext\n");
        assert_eq!(log.next().await, "next");
    }

    #[tokio::test]
    async fn what_stood_without_an_end_in_a_file_that_is_replaced_is_not_lost() {
        let mut log = followed_with(Some("its last words"), Start::Beginning, 1 << 20, true);
        let new = log.directory.path().join("new");
        std::fs::write(&new, "next\n").unwrap();
        std::fs::rename(&new, log.path()).unwrap();
        assert_eq!((log.next().await, log.next().await), ("its last words".into(), "next".into()));
    }

    #[tokio::test]
    async fn what_was_written_since_a_mark_is_read_and_nothing_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "old\n").unwrap();
        let mark = Mark::now(&path);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"new\n").unwrap();
        let mut follower = Follower::new(&path, Start::Since(mark), 1 << 20).unwrap();
        let mut seen = Vec::new();
        follower.read(&mut |piece: &Piece| seen.push((piece.text.to_owned(), piece.byte))).unwrap();
        assert_eq!(seen, [("new".to_owned(), 4)]);
    }

    #[tokio::test]
    async fn a_turn_is_bounded_however_much_there_is_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, b"y\n".repeat(2 << 20)).unwrap();
        let mut follower = Follower::new(&path, Start::Beginning, u64::MAX).unwrap();
        let mut lines = 0;
        assert!(follower.read(&mut |_: &Piece| lines += 1).unwrap(), "there is more");
        assert_eq!(lines, TURN / 2);
    }

    #[tokio::test]
    async fn a_hole_is_not_read_through() {
        let mut log = followed(Some("before\n"), Start::Beginning, 1024);
        assert_eq!(log.next().await, "before");
        OpenOptions::new().write(true).open(log.path()).unwrap().set_len(1 << 40).unwrap();
        let deadline = clock::now().after(Duration::from_secs(20));
        while std::fs::metadata(log.path()).unwrap().len() > 0 {
            assert!(clock::now() < deadline, "the hole is gone");
            tokio::task::yield_now().await;
        }
        log.append(b"after\n");
        assert_eq!(log.next().await, "after");
    }

    #[tokio::test]
    async fn what_is_not_read_of_a_file_that_grows_too_fast_is_given_up_but_for_its_end() {
        let limit = 1 << 20;
        let mut log = followed(None, Start::Beginning, limit);
        log.append(&b"y\n".repeat((2 * MOST_LIMITS * limit) as usize));
        log.append(b"its end\n");
        while log.next().await != "its end" {}
        let deadline = clock::now().after(Duration::from_secs(20));
        while std::fs::metadata(log.path()).unwrap().len() > 0 {
            assert!(clock::now() < deadline, "the file was truncated");
            tokio::task::yield_now().await;
        }
        log.append(b"new\n");
        while log.next().await != "new" {}
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_not_truncated_and_keeps_nobody_busy() {
        let mut log = followed(Some("old\n"), Start::Beginning, 16);
        assert_eq!(log.next().await, "old");
        let rotated = log.directory.path().join("log.1");
        std::fs::rename(log.path(), &rotated).unwrap();
        OpenOptions::new().append(true).open(&rotated).unwrap().write_all(&b"0123456\n".repeat(64)).unwrap();
        for _ in 0..64 {
            assert_eq!(log.next().await, "0123456");
        }
        assert_eq!(std::fs::metadata(&rotated).unwrap().len(), 4 + 64 * 8);
        log.append(b"new\n");
        assert_eq!(log.next().await, "new");
    }
}
