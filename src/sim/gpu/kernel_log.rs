//! The kernel log: a regular file in the record format of /dev/kmsg, with NVIDIA's Xid lines as
//! recorded. One write a record.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use nix::time::{ClockId, clock_gettime};

/// The log and the number of its next record.
pub(super) struct KernelLog {
    file: File,
    next: u64,
    /// GPUs that it has named, by their PCI addresses.
    announced: BTreeSet<String>,
}

impl KernelLog {
    /// Opens it for append.
    pub(super) fn open(path: &Path) -> io::Result<KernelLog> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(KernelLog { file, next: 1, announced: BTreeSet::new() })
    }

    /// An Xid with its text; before a GPU's first one the driver names it.
    pub(super) fn xid(&mut self, address: &str, uuid: &str, xid: u32, text: &str) {
        if self.announced.insert(address.to_owned()) {
            self.record(&format!("NVRM: GPU at PCI:{address}: {uuid}"));
        }
        self.record(&format!("NVRM: Xid (PCI:{address}): {xid}, {text}"));
    }

    /// One record. A log that can't be written to stops nothing: the driver would not stop either.
    pub(super) fn record(&mut self, text: &str) {
        let micros =
            clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000);
        let record = format!("6,{},{micros},-;{text}\n", self.next);
        self.next += 1;
        let _ = self.file.write_all(record.as_bytes());
    }
}
