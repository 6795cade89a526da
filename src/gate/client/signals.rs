//! SIGTERM and SIGINT end the wait. In a container it is process 1, for which they have no effect by default.

use std::ffi::c_int;

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;

unsafe extern "C" {
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn _exit(status: c_int) -> !;
}

extern "C" fn end(number: c_int) {
    // SAFETY: it may be called in a handler (signal-safety(7)).
    unsafe { _exit(128 + number) }
}

/// Installs the handlers; they are reset when the process becomes another program.
pub(super) fn end_by_signals() {
    for number in [SIGINT, SIGTERM] {
        // SAFETY: the handler calls only what is safe in one.
        unsafe { signal(number, end) };
    }
}
