//! A stand-in libcupti: the kernel probe's part of CUPTI's C interface, over kernels that the simulated engine
//! tells it (`simulated_kernel`). Records as the real one does only while subscribed and enabled. Its environment
//! can make it fail: `MPSWARDEN_SIM_CUPTI` holds words of `Mode`.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

mod records;

use records::Buffers;

/// `CUptiResult`.
pub type Answer = c_int;
const SUCCESS: Answer = 0;
const INVALID_PARAMETER: Answer = 1;
const MAX_LIMIT_REACHED: Answer = 12;
const INVALID_KIND: Answer = 21;
const MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED: Answer = 39;
const KERNELS: u32 = 10;
/// As CUDA 13.0 says it.
const VERSION: u32 = 130_000;

type Requested = unsafe extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
type Completed = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);

/// How it behaves: words that the environment holds.
struct Mode {
    /// `unknown-version`.
    version: u32,
    /// `subscriber-refused`: another profiler was faster. `subscriber-refused-once`: and goes away.
    refused: u32,
    /// `hanging-subscribe`: a driver that does not answer.
    hangs: bool,
    /// `zero-times`: every eighth record carries none.
    zeroes: bool,
    /// `drops`: one record is dropped in each window.
    drops: bool,
}

impl Mode {
    fn of_environment() -> Mode {
        let words = std::env::var("MPSWARDEN_SIM_CUPTI").unwrap_or_default();
        let says = |word: &str| words.split_whitespace().any(|said| said == word);
        let refused = if says("subscriber-refused") { u32::MAX } else { u32::from(says("subscriber-refused-once")) };
        Mode {
            version: if says("unknown-version") { 200_000 } else { VERSION },
            refused,
            hangs: says("hanging-subscribe"),
            zeroes: says("zero-times"),
            drops: says("drops"),
        }
    }
}

struct State {
    mode: Mode,
    subscribed: bool,
    recording: bool,
    callbacks: Option<(Requested, Completed)>,
    buffers: Buffers,
    kernels: u64,
    dropped: usize,
}

impl State {
    fn of_environment() -> State {
        State {
            mode: Mode::of_environment(),
            subscribed: false,
            recording: false,
            callbacks: None,
            buffers: Buffers::default(),
            kernels: 0,
            dropped: 0,
        }
    }
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| Mutex::new(State::of_environment()));

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A kernel ran, in nanoseconds of CLOCK_REALTIME. Called by the simulated engine. 1: it was recorded, 0: it wasn't.
#[unsafe(no_mangle)]
pub extern "C" fn simulated_kernel(start: u64, end: u64) -> c_int {
    let mut state = state();
    let State { mode, recording: true, callbacks: Some((requested, _)), buffers, kernels, dropped, .. } = &mut *state
    else {
        return 0;
    };
    *kernels += 1;
    let timeless = mode.zeroes && kernels.is_multiple_of(8);
    let (start, end) = if timeless { (0, 0) } else { (start, end) };
    let recorded = buffers.write(*requested, KERNELS, start, end);
    *dropped += usize::from(!recorded);
    c_int::from(recorded)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiGetVersion(version: *mut u32) -> Answer {
    // SAFETY: null, or the caller's place.
    unsafe { put(version, state().mode.version) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiGetResultString(answer: Answer, text: *mut *const c_char) -> Answer {
    let said = match answer {
        SUCCESS => c"CUPTI_SUCCESS",
        INVALID_PARAMETER => c"CUPTI_ERROR_INVALID_PARAMETER",
        MAX_LIMIT_REACHED => c"CUPTI_ERROR_MAX_LIMIT_REACHED",
        INVALID_KIND => c"CUPTI_ERROR_INVALID_KIND",
        MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED => c"CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED",
        _ => return INVALID_PARAMETER,
    };
    // SAFETY: null, or the caller's place.
    unsafe { put(text, said.as_ptr()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiSubscribe(subscriber: *mut *mut c_void, _: *const c_void, _: *mut c_void) -> Answer {
    while state().mode.hangs {
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut state = state();
    if state.subscribed || state.mode.refused > 0 {
        state.mode.refused = state.mode.refused.saturating_sub(1);
        return MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
    }
    state.subscribed = true;
    // SAFETY: null, or the caller's place.
    unsafe { put(subscriber, std::ptr::dangling_mut()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiUnsubscribe(_: *mut c_void) -> Answer {
    let mut state = state();
    (state.subscribed, state.recording) = (false, false);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityRegisterCallbacks(requested: Requested, completed: Completed) -> Answer {
    state().callbacks = Some((requested, completed));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivitySetAttribute(_: u32, _: *mut usize, _: *mut c_void) -> Answer {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityEnable(kind: u32) -> Answer {
    record(kind, true)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityDisable(kind: u32) -> Answer {
    record(kind, false)
}

fn record(kind: u32, recording: bool) -> Answer {
    state().recording = recording;
    if kind == KERNELS { SUCCESS } else { INVALID_KIND }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiActivityFlushAll(_: u32) -> Answer {
    let mut state = state();
    state.dropped += usize::from(state.mode.drops);
    let (full, callbacks) = (std::mem::take(&mut state.buffers), state.callbacks);
    // The callback may call back: not under the lock.
    drop(state);
    if let Some((_, completed)) = callbacks {
        full.hand_over(completed);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiActivityGetNextRecord(buffer: *mut u8, length: usize, record: *mut *mut u8) -> Answer {
    // SAFETY: the caller's buffer and place, by CUPTI's contract.
    match unsafe { records::next(buffer, length, *record) } {
        Some(next) => unsafe { put(record, next) },
        None => MAX_LIMIT_REACHED,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiActivityGetNumDroppedRecords(_: *mut c_void, _: u32, dropped: *mut usize) -> Answer {
    let counted = std::mem::take(&mut state().dropped);
    // SAFETY: null, or the caller's place.
    unsafe { put(dropped, counted) }
}

unsafe fn put<T>(place: *mut T, value: T) -> Answer {
    if place.is_null() {
        return INVALID_PARAMETER;
    }
    // SAFETY: not null, and the caller's by CUPTI's contract.
    unsafe { place.write(value) };
    SUCCESS
}
