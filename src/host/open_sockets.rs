//! Which processes have which sockets open, and where the sockets of a network namespace are bound, as /proc has it.
//! Judges nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Bytes that are read of a table of sockets.
const TABLE: u64 = 8 << 20;

/// Every process, by its pid.
pub(super) fn pids() -> impl Iterator<Item = u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What each descriptor of a process is: the inode of a socket, or no socket.
pub(super) fn descriptors(pid: u32) -> impl Iterator<Item = Option<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// The text of a table of Unix sockets, `/proc/net/unix` or that of a process: so much of it as is read.
pub(super) fn unix_table(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(TABLE).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The sockets of such a table that are bound to a name, with their inodes. An abstract name begins with `@`.
pub(super) fn bound(table: &str) -> impl Iterator<Item = (u64, &str)> {
    table.lines().skip(1).filter_map(|line| {
        // Num RefCount Protocol Flags Type St Inode Path: the seven before the path have no blank in them.
        let mut rest = line;
        let mut inode = "";
        for _ in 0..7 {
            rest = rest.trim_start_matches(' ');
            (inode, rest) = rest.split_once(' ')?;
        }
        Some((inode.parse().ok()?, rest))
    })
}
