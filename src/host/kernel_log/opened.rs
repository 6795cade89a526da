//! One open file of lines: read on from where it stopped, also when others truncate it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::{SAMPLE, read_from};
use crate::host::clock;
use crate::model::Moment;

/// Most bytes of a line; a longer one is dropped.
const LONGEST_LINE: usize = 64 * 1024;
/// Bytes before the place that was read up to, by which a file is known that was truncated and has grown again.
const KNOWN_BY: usize = 64;

/// A file, by device and number.
pub(super) type FileId = (u64, u64);

/// A file and how far it was read.
pub(super) struct Opened {
    file: File,
    offset: u64,
    before: Vec<u8>,
    partial: Vec<u8>,
    /// Inside a line that is too long.
    dropping: bool,
    /// When more was found in it.
    pub grown: Moment,
}

impl Opened {
    /// The file, to be read from its beginning.
    pub(super) fn at_beginning(file: File) -> Opened {
        let (before, partial) = (Vec::new(), Vec::new());
        Opened { file, offset: 0, before, partial, dropping: false, grown: clock::now() }
    }

    /// The file, to be read from its end: from the beginning of a line that has none yet. `seen` gets some whole lines
    /// before it.
    pub(super) fn at_end(file: File, seen: &mut dyn FnMut(&str)) -> io::Result<Opened> {
        let mut opened = Opened::at_beginning(file);
        let length = opened.file.metadata()?.len();
        let start = length.saturating_sub(SAMPLE);
        let sample = read_from(&opened.file, start, length - start)?;
        let whole = sample.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        opened.dropping = whole == 0 && start > 0;
        let first =
            if start > 0 { sample.iter().position(|byte| *byte == b'\n').map_or(whole, |end| end + 1) } else { 0 };
        String::from_utf8_lossy(&sample[first..whole]).lines().for_each(seen);
        let read = if opened.dropping { sample.len() } else { whole };
        opened.offset = start + read as u64;
        opened.before = sample[read.saturating_sub(KNOWN_BY)..read].to_vec();
        Ok(opened)
    }

    pub(super) fn inode(&self) -> io::Result<FileId> {
        self.file.metadata().map(|found| (found.dev(), found.ino()))
    }

    /// Reads up to `most` bytes more. Whether there may be more than that.
    pub(super) fn read(&mut self, most: usize, line: &mut dyn FnMut(&str)) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.offset || !self.is_as_it_was()? {
            self.begin_anew(line);
        }
        let (mut chunk, mut left) = (vec![0; 16 * 1024], most);
        while left > 0 {
            let read = match self.file.read_at(&mut chunk, self.offset) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            left = left.saturating_sub(read);
            // It may have been truncated and have grown again since the look above.
            if !self.is_as_it_was()? {
                self.begin_anew(line);
                continue;
            }
            self.grown = clock::now();
            self.offset += read as u64;
            self.take(&chunk[..read], line);
        }
        Ok(true)
    }

    /// Others truncated it: what is there now is all new, and what had no end has none any more.
    fn begin_anew(&mut self, line: &mut dyn FnMut(&str)) {
        self.end(line);
        self.offset = 0;
        self.before.clear();
    }

    /// Hands out a line that has no end: none comes any more.
    pub(super) fn end(&mut self, line: &mut dyn FnMut(&str)) {
        if !self.partial.is_empty() && !self.dropping {
            line(&String::from_utf8_lossy(&self.partial));
        }
        self.partial.clear();
        self.dropping = false;
    }

    fn is_as_it_was(&self) -> io::Result<bool> {
        let there = read_from(&self.file, self.offset - self.before.len() as u64, self.before.len() as u64)?;
        Ok(there == self.before)
    }

    fn take(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        self.before.extend_from_slice(&bytes[bytes.len().saturating_sub(KNOWN_BY)..]);
        self.before.drain(..self.before.len().saturating_sub(KNOWN_BY));
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if !self.dropping {
                // A hole, left by a writer that goes on behind a truncation.
                self.partial.extend(piece.iter().filter(|byte| **byte != 0));
                self.dropping = self.partial.len() > LONGEST_LINE;
            }
            if ends && !self.dropping {
                line(&String::from_utf8_lossy(&self.partial));
            }
            if ends || self.dropping {
                self.partial.clear();
            }
            self.dropping &= !ends;
        }
    }
}
