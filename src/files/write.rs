//! Writing so that no link of another user leads it anywhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};

use super::regular;

/// Opens a regular file for writing at its end, made with this mode if it is not there. A link, a FIFO or a device in
/// its place is refused.
pub fn append(path: &Path, mode: u32) -> io::Result<File> {
    refuse_other(path)?;
    let flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    let file = OpenOptions::new().append(true).create(true).mode(mode).custom_flags(flags).open(path)?;
    regular(&file.metadata()?)?;
    // Whoever inherits it writes as to any file.
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// Opens a regular file of ours for reading and writing, made with this mode if it is not there, and changes nothing in
/// it. A link, a FIFO or a device in its place is refused.
pub fn own(path: &Path, mode: u32) -> io::Result<File> {
    refuse_other(path)?;
    let flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(mode).custom_flags(flags);
    let file = options.open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Makes a directory with this mode, whatever the umask takes, and those above it, if they are not there.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    // Not writable for others, or the next start refuses it.
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Writes a whole file, with this mode, in the place of what was there; a crash at any line leaves the old or the new.
/// `beside` is where it is written first, in the same directory. What stands in either place is not followed, only
/// replaced. `durable`: it survives a crash of the machine too.
pub fn replace(path: &Path, beside: &Path, content: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let write = || {
        // What an earlier run, or another user, left there.
        match fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
        file.write_all(content)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(beside, path)
    };
    write().inspect_err(|_| {
        // What a full disk has of it only takes room.
        let _ = fs::remove_file(beside);
    })
}

/// Makes the file empty if it is the one that `open` reads and has `length` bytes, where that is asked for; whether it
/// did. One that was moved away is left alone.
pub fn truncate_at(path: &Path, open: (u64, u64), length: Option<u64>) -> io::Result<bool> {
    let flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    let file = match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let found = file.metadata()?;
    if (found.dev(), found.ino()) != open || length.is_some_and(|length| found.len() != length) {
        return Ok(false);
    }
    file.set_len(0)?;
    Ok(true)
}

/// Better words than those of an open that fails.
fn refuse_other(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) => regular(&found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
