//! The end of the process: CUPTI is called only inside `guarded`, which the exit hook closes. So no call of ours
//! runs while the libraries under it are torn down, and an exit waits 50 ms at most.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use super::system::at_exit;

const BUSY: u32 = 1;
const CLOSED: u32 = 2;
const STEP: Duration = Duration::from_millis(1);
const STEPS: u32 = 50;

static STATE: AtomicU32 = AtomicU32::new(0);
/// A forked child inherits the hook, and not the thread it would wait for.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Opens, in the process that starts the thread.
pub fn begin(process: u32) {
    PROCESS.store(process, SeqCst);
    STATE.store(0, SeqCst);
    at_exit(close);
}

/// Has the hook called before those of CUPTI, which registers them when it is first subscribed to.
pub fn again() {
    at_exit(close);
}

/// Does what must not meet the end of the process; `None`: the end has begun.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    STATE.compare_exchange(0, BUSY, SeqCst, SeqCst).ok()?;
    let done = work();
    STATE.fetch_and(!BUSY, SeqCst);
    Some(done)
}

/// Whether the end has begun.
pub fn is_closed() -> bool {
    STATE.load(SeqCst) & CLOSED != 0
}

extern "C" fn close() {
    if PROCESS.load(SeqCst) != process::id() {
        return;
    }
    STATE.fetch_or(CLOSED, SeqCst);
    for _ in 0..STEPS {
        if STATE.load(SeqCst) & BUSY == 0 {
            return;
        }
        sleep(STEP);
    }
}
