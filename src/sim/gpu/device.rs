//! One GPU of a machine: its memory, its kernels, its health. Who uses it is in `driver`. Decides nothing.

use std::time::Instant;

use super::busy::Busy;
use super::kernels::Kernels;
use crate::agenda::Ticket;

/// PCI device number of the first GPU; the others follow it.
const FIRST_ADDRESS: usize = 6;

/// One simulated GPU.
pub(super) struct Device {
    pub uuid: String,
    /// The PCI address, as the kernel log has it.
    pub address: String,
    pub kernels: Kernels,
    /// The agenda's entry for the next kernel's end.
    pub next_end: Option<Ticket>,
    pub busy: Busy,
    /// Connections that wait for Xids.
    pub watchers: Vec<u64>,
    /// Off the bus.
    pub lost: bool,
    /// What the driver wants done to it, by nvml.h's number: 1 is a reset.
    pub recovery_action: u32,
    /// Time since which an engine starves its siblings: every SM is taken.
    pub starving: Option<Instant>,
    /// Memory of servers that are dead and not yet torn down.
    pub memory_of_the_dead: u64,
}

impl Device {
    /// A GPU in good health that no process uses. `index`: NVML's.
    pub(super) fn new(index: usize, uuid: &str) -> Device {
        Device {
            uuid: uuid.to_owned(),
            address: format!("0000:00:{:02x}", FIRST_ADDRESS + index),
            kernels: Kernels::new(Instant::now()),
            next_end: None,
            busy: Busy::default(),
            watchers: Vec::new(),
            lost: false,
            recovery_action: 0,
            starving: None,
            memory_of_the_dead: 0,
        }
    }
}
