//! What the system refuses to us for our own sake: no descriptor, process, memory or port left for this program. Such a
//! refusal says nothing about the other side.

use std::io;

use nix::libc;

/// Whether the asker is short of something, whatever it asked for.
pub fn is_ours(error: &io::Error) -> bool {
    let ours = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| ours.contains(&code)) || error.kind() == io::ErrorKind::OutOfMemory
}

/// The same of a fork, an exec or a thread: there EAGAIN is a limit of processes.
pub fn is_ours_to_start(error: &io::Error) -> bool {
    is_ours(error) || error.raw_os_error() == Some(libc::EAGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_lack_is_told_from_what_another_refuses() {
        let of = io::Error::from_raw_os_error;
        assert!([libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EADDRNOTAVAIL].map(of).iter().all(is_ours));
        assert!(![libc::ECONNREFUSED, libc::ENOENT, libc::ESRCH, libc::EACCES].map(of).iter().any(is_ours));
        assert!(is_ours_to_start(&of(libc::EAGAIN)) && !is_ours(&of(libc::EAGAIN)));
    }
}
