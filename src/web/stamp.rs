//! Whether a file changed since it was read, by what stat says. It opens nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file as stat shows it; `None`: it is not there, or may not be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    seen: Option<[i128; 5]>,
}

impl Stamp {
    /// The file as it is now; links are followed, so that a link that is turned over is a change.
    pub(super) fn of(path: &Path) -> Stamp {
        let seen = fs::metadata(path).ok().map(|file| {
            let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            [
                i128::from(file.dev()),
                i128::from(file.ino()),
                i128::from(file.size()),
                nanos(file.mtime(), file.mtime_nsec()),
                // Shows what was written within one tick of mtime or had its mtime set back.
                nanos(file.ctime(), file.ctime_nsec()),
            ]
        });
        Stamp { path: path.to_owned(), seen }
    }

    /// The same file as it is now.
    pub(super) fn again(&self) -> Stamp {
        Stamp::of(&self.path)
    }
}
