//! How CUPTI is taken down after a window. Kernels and graphs that were launched under it may still be running, and
//! write their times to memory of its own: that memory must not go.
//!
//! `cuptiFinalize` frees it, and an engine with two launching threads then dies of an illegal memory access, with
//! its whole MPS group. So CUPTI is never finalized: it is told to stop, and unsubscribed from.

use std::ffi::c_void;

use super::cupti::{Functions, KERNELS, Records, Subscriber};

/// Never called: no callback is enabled. A subscription needs one.
pub unsafe extern "C" fn callback(_: *mut c_void, _: u32, _: u32, _: *const c_void) {}

/// Stops, and returns all that was recorded. Where it fails CUPTI is unsubscribed from all the same.
pub fn detach(cupti: &Functions, subscriber: Subscriber) -> Result<Records, String> {
    let stopped = cupti.call("cuptiActivityDisable", |cupti| unsafe { (cupti.disable)(KERNELS) });
    let records = cupti.collect();
    let parted = cupti.call("cuptiUnsubscribe", |cupti| unsafe { (cupti.unsubscribe)(subscriber) });
    stopped.and(parted).and(records)
}
