//! Files and directories that others may have put there: opened so that nothing is blocked, read up to a bound, written
//! past no link, and used only where no other unprivileged user can change them. Every stage that touches a file whose
//! path others can reach does it by this. Decides nothing.

mod directory;
mod program;
mod text;
mod write;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};

pub use directory::{Holds, Untrusted, check_directory};
pub use program::{NoProgram, find_program};
pub use text::read_text;
pub use write::{append, make_directory, own, replace, truncate_at};

/// Whether the last part of a path may be a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// The link is followed: it leads where the owner of the path wants it to.
    Followed,
    /// Others may have made it.
    Refused,
}

/// Opens a regular file for reading; says what else is there. Never blocks: a FIFO has no writer to wait for, and a
/// device is not touched.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    let found = match links {
        Links::Followed => fs::metadata(path)?,
        Links::Refused => fs::symlink_metadata(path)?,
    };
    regular(&found)?;
    let flags = O_NONBLOCK | O_NOCTTY | if links == Links::Refused { O_NOFOLLOW } else { 0 };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Another one may have come in its place meanwhile.
    regular(&file.metadata()?)?;
    Ok(file)
}

/// All bytes of a regular file that has at most `most`.
pub fn read(path: &Path, links: Links, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, links)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is over {}", size(most))));
    }
    Ok(bytes)
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

/// An error that names what is there instead.
fn regular(found: &fs::Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_symlink() => "a link",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::other(format!("it is {what}, not a regular file")))
}

#[cfg(test)]
#[path = "tests.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
