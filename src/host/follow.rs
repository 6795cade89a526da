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
    /// The file is of others, who see to its length. Where a few times so many bytes are not read, only its end is.
    OfOthers(u64),
}

impl Length {
    /// Bytes at which it is long.
    fn limit(self) -> u64 {
        match self {
            Length::Truncated(limit) | Length::OfOthers(limit) => limit,
        }
    }

    fn is_of_others(self) -> bool {
        matches!(self, Length::OfOthers(_))
    }
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
    let follower = Follower::new(path, start, length).and_then(|follower| {
        let mut follower = Follower { turn: SHORT_TURN, ..follower };
        if length.is_of_others() {
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
    let follower = Follower::new(path, start, Length::Truncated(limit));
    let follower = follower.map(|follower| Follower { worth, partial: true, ..follower });
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
    fn new(path: &Path, start: Start, length: Length) -> io::Result<Self> {
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
            length,
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
        if self.length.is_of_others() {
            if more && self.unread()? > self.length.limit().saturating_mul(MOST_LIMITS) {
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
        let over = !self.length.is_of_others() && self.is_over(1)?;
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
        Ok(open.file.metadata()?.len() > self.length.limit().saturating_mul(limits))
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
            self.read_last(on_piece).await?;
            return Err(io::Error::new(io::ErrorKind::NotFound, "its directory was removed or moved away"));
        }
        let name: Option<&OsStr> = self.path.file_name();
        let other_file = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_Q_OVERFLOW;
        if events
            .iter()
            .any(|event| event.mask.intersects(other_file) || (event.name.is_some() && event.name.as_deref() == name))
        {
            self.read_last(on_piece).await?;
            self.reopen(on_piece)?;
        }
        Ok(())
    }

    /// Reads what is left of a file in whose place another comes, within a bound.
    async fn read_last(&mut self, on_piece: &mut impl FnMut(&Piece)) -> io::Result<()> {
        for _ in 0..LAST_TURNS {
            if !self.read(on_piece)? {
                break;
            }
            yield_now().await;
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
#[path = "follow_tests.rs"]
mod tests;
