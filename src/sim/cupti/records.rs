//! The caller's buffers, and records in them: of the size and with the fields of CUPTI 13's kernel record that the
//! probe reads. Everything else in a record is zero.

use std::ptr::null_mut;

use super::{Completed, Requested};

/// `sizeof(CUpti_ActivityKernel9)`.
const SIZE: usize = 208;
const START: usize = 16;
const END: usize = 24;

/// A buffer that the caller lent, and how much of it is written.
struct Buffer {
    memory: *mut u8,
    size: usize,
    written: usize,
}

/// Those in use. The last one is written to.
#[derive(Default)]
pub struct Buffers(Vec<Buffer>);

// SAFETY: the buffers are the caller's memory, lent until they are handed over; one thread writes at a time.
unsafe impl Send for Buffers {}

impl Buffers {
    /// False: the caller lends no more.
    pub fn write(&mut self, requested: Requested, kind: u32, start: u64, end: u64) -> bool {
        let full = self.0.last().is_none_or(|buffer| buffer.written + SIZE > buffer.size);
        if full && !self.lend(requested) {
            return false;
        }
        let Some(buffer) = self.0.last_mut() else { return false };
        // SAFETY: the record fits.
        unsafe {
            let record = buffer.memory.add(buffer.written);
            record.cast::<u32>().write_unaligned(kind);
            record.add(START).cast::<u64>().write_unaligned(start);
            record.add(END).cast::<u64>().write_unaligned(end);
        }
        buffer.written += SIZE;
        true
    }

    fn lend(&mut self, requested: Requested) -> bool {
        let (mut memory, mut size, mut most) = (null_mut(), 0, 0);
        // SAFETY: the caller's callback, with places for its answers.
        unsafe { requested(&mut memory, &mut size, &mut most) };
        let lent = !memory.is_null() && size >= SIZE;
        self.0.extend(lent.then_some(Buffer { memory, size, written: 0 }));
        lent
    }

    /// Gives every buffer back to the caller.
    pub fn hand_over(self, completed: Completed) {
        for buffer in self.0 {
            // SAFETY: the caller's callback, with a buffer that it lent.
            unsafe { completed(null_mut(), 0, buffer.memory, buffer.size, buffer.written) };
        }
    }
}

/// The record after `record`, or the first one after none.
///
/// # Safety
/// `buffer` holds `length` bytes of records; `record` is null, or one of them.
pub unsafe fn next(buffer: *mut u8, length: usize, record: *mut u8) -> Option<*mut u8> {
    let offset = if record.is_null() { 0 } else { (record as usize).checked_sub(buffer as usize)? + SIZE };
    // SAFETY: inside the buffer.
    (offset + SIZE <= length).then(|| unsafe { buffer.add(offset) })
}
