//! What the kernel's own words say: the driver's Xid lines and the OOM killer's. Pure; in what form a line comes is
//! the business of `forms`.

use crate::model::gpu::RecoveryAction;

/// How much of a line is kept as evidence, in bytes.
const LINE: usize = 300;

/// The Xid that announces a changed recovery action.
const ACTION_CHANGED: u32 = 154;

/// A line of the kernel log that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelLine {
    /// The driver reports an Xid.
    Xid {
        /// The GPU.
        pci: PciAddress,
        /// The Xid's number.
        xid: u32,
        /// The process that the line names, if any: close to worthless under MPS.
        pid: Option<u32>,
        /// What the driver announces that it wants from now on, in the line of an Xid 154.
        action: Option<RecoveryAction>,
    },
    /// The kernel's OOM killer took a process.
    OomKill {
        /// Its pid, in the machine's own namespace.
        pid: u32,
        /// The line, cut at 300 bytes.
        text: String,
    },
}

/// Where a GPU sits. The function is left out: the kernel's lines have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
}

impl PciAddress {
    /// Parses the kernel's `0000:00:06` or NVML's `00000000:00:06.0`.
    pub fn parse(text: &str) -> Option<PciAddress> {
        let mut parts = text.split(':');
        let (domain, bus, device) = (parts.next()?, parts.next()?, parts.next()?);
        let device = device.split('.').next()?;
        Some(PciAddress {
            domain: u32::from_str_radix(domain, 16).ok()?,
            bus: u8::from_str_radix(bus, 16).ok()?,
            device: u8::from_str_radix(device, 16).ok()?,
        })
    }
}

/// What a text of the kernel's says, without what stands before it in a log. `None`: nothing of interest.
pub(super) fn said(text: &str) -> Option<KernelLine> {
    parse_xid(text).or_else(|| parse_oom_kill(text))
}

fn parse_xid(text: &str) -> Option<KernelLine> {
    // Only text that begins so is the driver's own: process names can hold anything.
    let rest = text.strip_prefix("NVRM: Xid (PCI:")?;
    let (place, rest) = rest.split_once("): ")?;
    // A MIG instance's name may follow the address.
    let pci = PciAddress::parse(place.split(' ').next()?)?;
    let xid = digits(rest)?;
    let pid = rest.split_once(", pid=").and_then(|(_, pid)| digits(pid));
    let action = announced(rest).filter(|_| xid == ACTION_CHANGED);
    Some(KernelLine::Xid { pci, xid, pid, action })
}

/// The number in `154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)`: the words
/// differ from driver to driver.
fn announced(rest: &str) -> Option<RecoveryAction> {
    let (_, changed) = rest.split_once("GPU recovery action changed from ")?;
    let (_, number) = changed.split_once(" to 0x")?;
    let end = number.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(number.len());
    Some(RecoveryAction::of_number(u64::from_str_radix(&number[..end], 16).ok()?))
}

/// `Out of memory: Killed process 123 (name) total-vm:...`, or `Memory cgroup out of memory: Killed process ...`.
fn parse_oom_kill(text: &str) -> Option<KernelLine> {
    let (cause, rest) = text.split_once(": Killed process ")?;
    let known = ["Out of memory", "Memory cgroup out of memory"];
    // What follows the words, as in `Out of memory (oom_kill_allocating_task)`, is the kernel's too.
    if !known
        .iter()
        .any(|known| cause.strip_prefix(known).is_some_and(|more| more.is_empty() || more.starts_with(" (")))
    {
        return None;
    }
    let end = (0..=LINE.min(text.len())).rfind(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Some(KernelLine::OomKill { pid: digits(rest)?, text: text[..end].to_owned() })
}

fn digits(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
#[path = "words_tests.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
