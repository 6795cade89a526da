//! The memory that CUPTI writes its records to: one reservation, handed out in pieces, read and given back after
//! each window. CUPTI asks on any thread, so there are no locks; a piece that CUPTI keeps is never handed out twice.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};

use super::system;

/// Bytes of a piece: some 5 000 records.
const SIZE: usize = 1 << 20;
/// Pieces: over a second of the fastest engine's kernels.
const COUNT: usize = 64;

/// A piece is zeroed and ours, or CUPTI's, or came back with so many bytes and this.
const FREE: usize = 0;
const LENT: usize = 1;
const BACK: usize = 2;

static MEMORY: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static PIECES: [AtomicUsize; COUNT] = [const { AtomicUsize::new(FREE) }; COUNT];
static OPEN: AtomicBool = AtomicBool::new(false);
static SHORT: AtomicBool = AtomicBool::new(false);

/// Hands out pieces from now on; false: there is no memory.
pub fn open() -> bool {
    if MEMORY.load(SeqCst).is_null() {
        let Some(memory) = system::reserve(SIZE * COUNT) else { return false };
        MEMORY.store(memory, SeqCst);
    }
    SHORT.store(false, SeqCst);
    OPEN.store(true, SeqCst);
    true
}

/// The pieces that came back, each with the length that CUPTI filled.
pub fn filled() -> impl Iterator<Item = (*mut u8, usize)> {
    let states = PIECES.iter().enumerate().map(|(at, state)| (at, state.load(SeqCst)));
    states.filter(|(_, state)| *state > BACK).map(|(at, state)| (piece(at), state - BACK))
}

/// Whether CUPTI asked for more than there is.
pub fn ran_short() -> bool {
    SHORT.load(SeqCst)
}

/// Hands out no more, and gives the memory of all that came back to the system.
pub fn close() {
    OPEN.store(false, SeqCst);
    for (at, state) in PIECES.iter().enumerate() {
        if state.load(SeqCst) >= BACK {
            system::give_back(piece(at), SIZE);
            state.store(FREE, SeqCst);
        }
    }
}

fn piece(at: usize) -> *mut u8 {
    MEMORY.load(SeqCst).wrapping_add(at * SIZE)
}

/// CUPTI wants memory. Without any it drops records, and counts them.
pub unsafe extern "C" fn requested(buffer: *mut *mut u8, size: *mut usize, most_records: *mut usize) {
    let lend = |state: &AtomicUsize| state.compare_exchange(FREE, LENT, SeqCst, SeqCst).is_ok();
    let open = OPEN.load(SeqCst);
    let at = open.then(|| PIECES.iter().position(lend)).flatten();
    SHORT.fetch_or(open && at.is_none(), SeqCst);
    // SAFETY: three places of CUPTI's.
    unsafe {
        *most_records = 0;
        *buffer = at.map_or(null_mut(), piece);
        *size = if at.is_some() { SIZE } else { 0 };
    }
}

/// CUPTI has done with a piece.
pub unsafe extern "C" fn completed(_: *mut c_void, _: u32, buffer: *mut u8, _: usize, length: usize) {
    let offset = (buffer as usize).wrapping_sub(MEMORY.load(SeqCst) as usize);
    if let Some(state) = PIECES.get(offset / SIZE) {
        state.store(BACK + length.min(SIZE), SeqCst);
    }
}
