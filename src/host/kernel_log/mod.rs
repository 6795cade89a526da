//! The kernel log: /dev/kmsg, syslog(2) where that is refused, or a file in any form that is in use. Finds the driver's
//! Xid lines and the OOM killer's in it; what they mean is decided elsewhere.

mod device;
mod file;
mod forms;
mod log;
mod opened;
mod reader;
mod ring;
mod stamps;
mod words;

use log::{Ear, SAMPLE, State, read_from};
pub use log::{Heard, KernelLog, KmsgError, is_no_kernel_log};
pub use words::{KernelLine, PciAddress};
