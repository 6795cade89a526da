//! A log file: followed over its rotations, by rename and by truncation. No line of the old one is lost, and the file
//! may be away for a while.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::opened::Opened;
use super::{Ear, State};
use crate::files::{self, Links};
use crate::host::clock;
use crate::model::Moment;

/// How long a wait lasts.
const WAIT: Duration = Duration::from_secs(1);
/// Bytes of one file that are read before it is asked whether to go on.
const TURN: usize = 1 << 20;
/// Time for which its writer may write to the old file after another came in its place.
const OLD_ENDS: Duration = Duration::from_secs(60);
/// Time after which a line of the old file that is not ended is taken for one.
const OLD_RESTS: Duration = Duration::from_secs(2);
/// Old files that are read on at once.
const MOST_OLD: usize = 4;
/// Time after which a log that is not there is reported as missing.
const MISSED: Duration = Duration::from_secs(60);

/// The file at a path, and those that were there before.
pub(super) struct LogFile {
    path: PathBuf,
    notify: Option<Inotify>,
    current: Option<Opened>,
    old: Vec<Opened>,
    /// Lines that were there before, by which the form is known.
    sample: Vec<String>,
    /// Time since which the file is not at its path.
    missing: Option<Moment>,
    failed: Option<io::Error>,
}

impl LogFile {
    /// The file from its present end on. What goes wrong is reported when it is followed, and tried again.
    pub(super) fn open(path: &Path) -> LogFile {
        let mut log = LogFile {
            path: path.to_owned(),
            notify: None,
            current: None,
            old: Vec::new(),
            sample: Vec::new(),
            missing: None,
            failed: None,
        };
        // Without it the file is looked at once a second.
        log.notify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok();
        log.watch();
        let opened = files::open(path, Links::Followed).and_then(|file| {
            let sample = &mut log.sample;
            Opened::at_end(file, &mut |line| sample.push(line.to_owned()))
        });
        match opened {
            Ok(opened) => log.current = Some(opened),
            Err(error) => log.failed = Some(error),
        }
        log
    }

    pub(super) fn follow(mut self, ear: &mut Ear<'_>) -> io::Result<ControlFlow<()>> {
        // What was there before says in what form it is, and nothing else.
        self.sample.drain(..).for_each(|line| drop(ear.reader.take(&line)));
        loop {
            if let Some(error) = self.failed.take()
                && ear.silent(error).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            let mut flow = ControlFlow::Continue(());
            let more = self.turn(ear.state, &mut |heard| {
                if flow.is_continue() {
                    flow = match heard {
                        Seen::Line(line) => ear.line(line),
                        Seen::Back => ear.back(),
                    };
                }
            });
            if flow.is_break() || ear.quiet().is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if !more {
                self.wait();
            }
        }
    }

    /// Reads of each file what there is, and opens one that came in the place of the current one. Whether there is more
    /// to read.
    fn turn(&mut self, state: State, seen: &mut dyn FnMut(Seen<'_>)) -> bool {
        let mut more = self.read_old(seen);
        if let Some(current) = &mut self.current {
            match current.read(TURN, &mut |line| seen(Seen::Line(line))) {
                Ok(there_is) => more |= there_is,
                Err(error) => {
                    self.failed = Some(error);
                    self.current = None;
                }
            }
        }
        self.take_up(state, seen) || more
    }

    /// Whoever wrote to them may not know yet that they were moved away.
    fn read_old(&mut self, seen: &mut dyn FnMut(Seen<'_>)) -> bool {
        let mut more = false;
        self.old.retain_mut(|old| {
            let line = &mut |line: &str| seen(Seen::Line(line));
            let read = old.read(TURN, line);
            more |= read.as_ref().is_ok_and(|more| *more);
            let rests = clock::now().since(old.grown);
            if rests > OLD_RESTS || read.is_err() {
                old.end(line);
            }
            read.is_ok() && rests <= OLD_ENDS
        });
        more
    }

    /// Whether another file is at the path now, or the first one.
    fn take_up(&mut self, state: State, seen: &mut dyn FnMut(Seen<'_>)) -> bool {
        let there = fs::metadata(&self.path).map(|found| (found.dev(), found.ino()));
        let open = self.current.as_ref().and_then(|current| current.inode().ok());
        let opened = match there {
            Ok(inode) if Some(inode) == open => {
                self.missing = None;
                return false;
            }
            Ok(_) => files::open(&self.path, Links::Followed),
            Err(error) => Err(error),
        };
        match opened {
            Ok(file) => {
                (self.missing, self.failed) = (None, None);
                if let Some(mut old) = self.current.replace(Opened::at_beginning(file)) {
                    old.grown = clock::now();
                    self.old.push(old);
                }
                if self.old.len() > MOST_OLD {
                    self.old.remove(0).end(&mut |line| seen(Seen::Line(line)));
                }
                self.watch();
                seen(Seen::Back);
                true
            }
            Err(error) => {
                let since = *self.missing.get_or_insert_with(clock::now);
                // Between the two steps of a rotation there is none.
                if self.current.is_none() && state != State::Silent || clock::now().since(since) > MISSED {
                    self.failed = Some(error);
                }
                false
            }
        }
    }

    /// The directory is watched for a file that comes, the file for its growth. What can't be watched is looked at.
    fn watch(&self) {
        let Some(notify) = &self.notify else { return };
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = notify.add_watch(directory, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO);
        let _ = notify.add_watch(&self.path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB);
    }

    /// Returns when there may be more, at the latest after `WAIT`.
    fn wait(&self) {
        let Some(notify) = &self.notify else { return sleep(WAIT) };
        let bound = PollTimeout::try_from(WAIT).unwrap_or(PollTimeout::ZERO);
        if poll(&mut [PollFd::new(notify.as_fd(), PollFlags::POLLIN)], bound).is_err() {
            sleep(WAIT);
        }
        while notify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

enum Seen<'a> {
    Line(&'a str),
    Back,
}
