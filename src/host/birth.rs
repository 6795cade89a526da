//! Forking into a cgroup. Moving a process there costs the kernel's grace period (9 ms at the median, up to
//! 20), a process that is born there none: so the child of std's fork forks once more, into the cgroup and as
//! a child of ours, and it is the second that becomes the program. Decides nothing.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::pipe2;

/// Flag of linux/sched.h; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Our end: tells which process became the program.
#[derive(Debug)]
pub(super) struct Birth(File);

/// The child's end, made ready before the fork: nothing may be allocated after it.
#[derive(Debug)]
pub(super) struct Cradle {
    cgroup: File,
    members: File,
    pids: OwnedFd,
}

/// Both ends for a birth in the cgroup at `directory`.
pub(super) fn in_cgroup(directory: &Path) -> io::Result<(Birth, Cradle)> {
    let (ours, pids) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let cgroup = File::open(directory)?;
    let members = File::options().write(true).open(directory.join("cgroup.procs"))?;
    Ok((Birth(File::from(ours)), Cradle { cgroup, members, pids }))
}

impl Birth {
    /// The pid of the process that became the program, or was about to when it failed. `None`: it was never born. To be
    /// asked once std's spawn has returned: by then it is known.
    pub(super) fn pid(mut self) -> Option<u32> {
        let mut pid = [0; 4];
        self.0.read_exact(&mut pid).ok()?;
        Some(u32::from_ne_bytes(pid))
    }
}

impl Cradle {
    /// Called in the child of std's fork; what returns is in the cgroup.
    ///
    /// # Safety
    /// Between fork and exec only: it makes system calls and allocates nothing.
    pub(super) unsafe fn enter(&self) -> io::Result<()> {
        // SAFETY: as of the caller; the values live on.
        unsafe {
            match self.fork() {
                0 => {}
                born if born > 0 => libc::_exit(0),
                // An old kernel or a filter of system calls: move there, slowly. "0" is the writer itself.
                _ if libc::write(self.members.as_raw_fd(), c"0\n".as_ptr().cast(), 2) < 0 => {
                    return Err(io::Error::last_os_error());
                }
                _ => {}
            }
            let pid = libc::getpid().to_ne_bytes();
            libc::write(self.pids.as_raw_fd(), pid.as_ptr().cast(), pid.len());
        }
        Ok(())
    }

    /// A fork whose child is in the cgroup, and our parent's. It shares no memory, as fork's does not.
    unsafe fn fork(&self) -> i64 {
        // SAFETY: all zeros is "no such wish" for every field.
        let mut wishes: libc::clone_args = unsafe { std::mem::zeroed() };
        wishes.flags = CLONE_INTO_CGROUP | libc::CLONE_PARENT as u64;
        wishes.cgroup = self.cgroup.as_raw_fd() as u64;
        // SAFETY: without CLONE_VM and a stack it behaves as fork does.
        unsafe { libc::syscall(libc::SYS_clone3, &wishes, size_of::<libc::clone_args>()) }
    }
}
