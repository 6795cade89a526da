//! What happens on the engine's threads in a window: after each launch of a kernel or a graph an event is put into
//! its stream, which takes the GPU's time when the kernel has ended. No lock, no allocation, no wait.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use super::closing;
use super::cupti::{Call, EXIT};
use super::driver::{Driver, Handle};
use super::system::this_thread;
use super::window::now;

/// `CUPTI_DRIVER_TRACE_CBID_`…: cuLaunchKernel, cuLaunchCooperativeKernel, cuGraphLaunch and cuLaunchKernelEx, each
/// with its variant of per-thread streams.
pub const CALLS: [u32; 8] = [307, 442, 477, 478, 514, 515, 652, 653];
/// `CU_STREAM_PER_THREAD`: what the variants mean by no stream.
const PER_THREAD: usize = 2;
/// Launches of a window: 40 000 a second in one of 50 ms. A graph is one launch.
const COUNT: usize = 4096;
/// Longest time of a callback in steps: it takes microseconds; one that takes longer has lost its processor.
const STEPS: u32 = 200;

struct Place {
    event: AtomicPtr<c_void>,
    stream: AtomicUsize,
    launched: AtomicU64,
    recorded: AtomicBool,
}

static PLACES: [Place; COUNT] = [const {
    Place {
        event: AtomicPtr::new(null_mut()),
        stream: AtomicUsize::new(0),
        launched: AtomicU64::new(0),
        recorded: AtomicBool::new(false),
    }
}; COUNT];

static DRIVER: OnceLock<Driver> = OnceLock::new();
/// Places are given out.
static OPEN: AtomicBool = AtomicBool::new(false);
/// Threads that are in a callback.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static CONTEXT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
/// When there was no place left; `u64::MAX`: there always was.
static FULL: AtomicU64 = AtomicU64::new(u64::MAX);
static FOREIGN: AtomicBool = AtomicBool::new(false);
static CAPTURED: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicU64 = AtomicU64::new(0);
static OWN: AtomicUsize = AtomicUsize::new(0);

/// A launch and its event.
#[derive(Clone, Copy)]
pub struct Launch {
    /// When the engine's call had returned.
    pub launched: u64,
    /// Its stream, to tell it from others.
    pub stream: usize,
    /// Past when the kernel has ended.
    pub event: Handle,
}

/// How a window went.
pub struct Outcome {
    /// Launches in about the order of their calls.
    pub launches: Vec<Launch>,
    /// When launches were no more seen, as there were too many.
    pub full: Option<u64>,
    /// Launches without a time: the driver refused the event, or could not say whether the stream is captured.
    pub failed: u64,
    /// Some were in another context than the primary one, and were not seen.
    pub foreign: bool,
    /// Some were captured for a graph.
    pub captured: bool,
}

/// The driver, loaded once.
pub fn driver(load: impl FnOnce() -> Result<Driver, String>) -> Result<&'static Driver, String> {
    match DRIVER.get() {
        Some(driver) => Ok(driver),
        None => load().map(|driver| DRIVER.get_or_init(|| driver)),
    }
}

/// Whether this is the thread that opened the window.
pub fn on_own_thread() -> bool {
    OWN.load(SeqCst) == this_thread()
}

/// Makes the events of all windows in the current context. Those of an earlier context ended with it.
pub fn make(driver: &Driver) -> Result<(), String> {
    PLACES.iter().for_each(|place| place.event.store(null_mut(), SeqCst));
    for place in &PLACES {
        match driver.event() {
            Ok(event) => place.event.store(event, SeqCst),
            Err(why) => {
                clear(driver);
                return Err(why);
            }
        }
    }
    Ok(())
}

fn clear(driver: &Driver) {
    let made = PLACES.iter().map(|place| place.event.swap(null_mut(), SeqCst));
    made.filter(|event| !event.is_null()).for_each(|event| driver.end_event(event));
}

/// Launches in this context are noted from now on, where CUPTI calls back.
pub fn open(context: Handle) {
    OWN.store(this_thread(), SeqCst);
    PLACES.iter().for_each(|place| place.recorded.store(false, SeqCst));
    CONTEXT.store(context, SeqCst);
    TAKEN.store(0, SeqCst);
    FULL.store(u64::MAX, SeqCst);
    FAILED.store(0, SeqCst);
    FOREIGN.store(false, SeqCst);
    CAPTURED.store(false, SeqCst);
    OPEN.store(true, SeqCst);
}

/// No launch is noted after this; waits, in bounds, for threads that are still at it.
pub fn close() {
    OPEN.store(false, SeqCst);
    for _ in 0..STEPS {
        if INSIDE.load(SeqCst) == 0 {
            return;
        }
        sleep(Duration::from_millis(1));
    }
}

/// What was noted in a closed window.
pub fn outcome() -> Outcome {
    let recorded = PLACES.iter().filter(|place| place.recorded.load(SeqCst));
    let launches = recorded.map(|place| {
        let (launched, stream) = (place.launched.load(SeqCst), place.stream.load(SeqCst));
        Launch { launched, stream, event: place.event.load(SeqCst) }
    });
    let full = FULL.load(SeqCst);
    Outcome {
        launches: launches.collect(),
        full: (full != u64::MAX).then_some(full),
        failed: FAILED.load(SeqCst),
        foreign: FOREIGN.load(SeqCst),
        captured: CAPTURED.load(SeqCst),
    }
}

/// A launch begins or ends on the calling thread.
pub fn called(id: u32, call: &Call) {
    INSIDE.fetch_add(1, SeqCst);
    if call.site == EXIT
        && OPEN.load(SeqCst)
        && !closing::is_closed()
        && call.succeeded()
        && let Some(driver) = DRIVER.get()
    {
        note(driver, id, call, now());
    }
    INSIDE.fetch_sub(1, SeqCst);
}

fn note(driver: &Driver, id: u32, call: &Call, launched: u64) {
    if call.context != CONTEXT.load(SeqCst) {
        FOREIGN.store(true, SeqCst);
        return;
    }
    let stream = stream(id, call);
    match driver.is_capturing(stream) {
        Some(false) => put_event(driver, stream, launched),
        // What is captured does not run now.
        Some(true) => CAPTURED.store(true, SeqCst),
        None => _ = FAILED.fetch_add(1, SeqCst),
    }
}

fn put_event(driver: &Driver, stream: Handle, launched: u64) {
    let Some(place) = PLACES.get(TAKEN.fetch_add(1, SeqCst)) else {
        FULL.fetch_min(launched, SeqCst);
        return;
    };
    if driver.record(place.event.load(SeqCst), stream) {
        place.stream.store(stream as usize, SeqCst);
        place.launched.store(launched, SeqCst);
        place.recorded.store(true, SeqCst);
    } else {
        FAILED.fetch_add(1, SeqCst);
    }
}

/// The stream of a launch, from the structures of generated_cuda_meta.h.
fn stream(id: u32, call: &Call) -> Handle {
    // SAFETY: the arguments of just this call; the configuration of cuLaunchKernelEx is the caller's own.
    let stream: usize = unsafe {
        match id {
            514 | 515 => call.arguments.add(8).cast::<usize>().read_unaligned(),
            652 | 653 => call.arguments.cast::<*const u8>().read_unaligned().add(32).cast::<usize>().read_unaligned(),
            _ => call.arguments.add(40).cast::<usize>().read_unaligned(),
        }
    };
    let per_thread = stream == 0 && matches!(id, 442 | 478 | 515 | 653);
    (if per_thread { PER_THREAD } else { stream }) as Handle
}
