//! /dev/kmsg: a record a read; poll tells of more.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::makedev;

use super::Ear;

/// Bytes of the buffer for one record: the kernel makes none longer than 8 KiB.
const RECORD: usize = 16 * 1024;
/// Records that are read before it is asked whether to go on.
const TURN: usize = 1000;
/// How long a wait lasts, in milliseconds.
const WAIT_MS: u16 = 1000;

/// The device, open at its end.
pub(super) struct Device(File);

impl Device {
    pub(super) fn open(path: &Path) -> io::Result<Device> {
        let mut file = open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Device(file))
    }

    pub(super) fn follow(mut self, ear: &mut Ear<'_>) -> io::Result<ControlFlow<()>> {
        loop {
            wait(&self.0)?;
            let mut flow = ControlFlow::Continue(());
            let read = records(&mut self.0, TURN, &mut |record| {
                if flow.is_continue() {
                    flow = ear.line(record);
                }
            });
            if flow.is_break() || ear.quiet().is_break() {
                return Ok(ControlFlow::Break(()));
            }
            read?;
        }
    }
}

/// Everything that the device holds now.
pub(super) fn held(path: &Path, record: &mut dyn FnMut(&str)) -> io::Result<()> {
    records(&mut open(path)?, usize::MAX, record)
}

/// Opens the device. In some containers another device has its place, which may never end.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)?;
    match file.metadata()?.rdev() == makedev(1, 11) {
        true => Ok(file),
        false => Err(io::Error::other("it is another device than the kernel's log")),
    }
}

fn wait(file: &File) -> io::Result<()> {
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], PollTimeout::from(WAIT_MS)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn records(file: &mut File, most: usize, record: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut buffer = [0; RECORD];
    for _ in 0..most {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => record(&String::from_utf8_lossy(&buffer[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // EPIPE: records were overwritten before they were read; the next read goes on after the gap.
            Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
