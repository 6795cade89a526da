//! The device's file, open while the library is: that of the real one is below /dev, and who has it open keeps the driver
//! from being unloaded.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use super::wire::{self, beside};

/// How often the library was initialized, and its file.
static OPEN: Mutex<(u32, Option<File>)> = Mutex::new((0, None));

/// Once more.
pub fn open() {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.0 += 1;
    if open.1.is_none() {
        open.1 = File::create(beside("nvidia0")).ok();
    }
}

/// Once less. The last closes.
pub fn close() {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.0 = open.0.saturating_sub(1);
    if open.0 == 0 {
        open.1 = None;
        wire::hang_up();
    }
}
