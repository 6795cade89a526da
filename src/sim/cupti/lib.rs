//! A stand-in libcupti with the CUDA driver behind it: what the kernel probe uses of both, over kernels that the
//! simulated engine reports (`simulated_launch`, `simulated_kernel`). The environment can make it fail:
//! `MPSWARDEN_SIM_CUPTI` holds words of `Mode`.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{dangling_mut, null, null_mut};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

mod driver;
mod mode;
mod work;

use mode::Mode;
use work::Work;

/// `CUptiResult`, and `CUresult`.
type Answer = c_int;
const SUCCESS: Answer = 0;
const INVALID_PARAMETER: Answer = 1;
const MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED: Answer = 39;
/// Version of CUDA 13.0's CUPTI.
const VERSION: u32 = 130_000;
const DRIVER_API: u32 = 1;
const GET_VERSION: u32 = 2;
const LAUNCH_KERNEL: u32 = 307;
/// Where cuLaunchKernel's arguments hold its stream.
const STREAM_AT: usize = 5;

/// CUPTI's `CUpti_CallbackFunc`.
type Callback = unsafe extern "C" fn(*mut c_void, u32, u32, *const Call);

/// CUPTI's `CUpti_CallbackData`.
#[repr(C)]
pub struct Call {
    site: u32,
    function: *const c_char,
    arguments: *const usize,
    returned: *const Answer,
    symbol: *const c_char,
    context: *mut c_void,
    context_number: u32,
    note: *mut u64,
    correlation: u32,
}

struct State {
    mode: Mode,
    subscriber: Option<Callback>,
    enabled: Vec<u32>,
    work: Work,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| {
    Mutex::new(State { mode: Mode::of_environment(), subscriber: None, enabled: Vec::new(), work: Work::default() })
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A kernel is launched now, in the engine's one stream. Called by the simulated engine. 1: a subscriber was called.
#[unsafe(no_mangle)]
pub extern "C" fn simulated_launch() -> c_int {
    state().work.launch();
    c_int::from(call_back(LAUNCH_KERNEL))
}

/// The oldest launched kernel that had not ended ran until `end`, in nanoseconds of CLOCK_REALTIME; when it began is
/// not asked. Called by the simulated engine.
#[unsafe(no_mangle)]
pub extern "C" fn simulated_kernel(_start: u64, end: u64) {
    state().work.end(end);
}

/// How many events of the driver's there are.
#[unsafe(no_mangle)]
pub extern "C" fn simulated_events() -> usize {
    state().work.events()
}

/// How many events were put into the engine's stream.
#[unsafe(no_mangle)]
pub extern "C" fn simulated_recorded() -> usize {
    state().work.recorded()
}

/// Calls the subscriber at the call's begin and at its end, if it wants to know of it.
fn call_back(id: u32) -> bool {
    let (mut arguments, mut note, returned) = ([0; 8], 0, SUCCESS);
    arguments[STREAM_AT] = work::ENGINES_STREAM;
    for site in 0..=1 {
        let state = state();
        let wanted = state.subscriber.filter(|_| state.enabled.contains(&id));
        let context = if state.mode.foreign { null_mut() } else { dangling_mut() };
        // The callback calls back: not under the lock.
        drop(state);
        let Some(callback) = wanted else { return false };
        let (arguments, returned, note) = (arguments.as_ptr(), &raw const returned, &raw mut note);
        let (function, symbol) = (null(), null());
        let call =
            Call { site, function, arguments, returned, symbol, context, context_number: 1, note, correlation: 1 };
        // SAFETY: the subscriber's callback, with a structure that outlives it.
        unsafe { callback(null_mut(), DRIVER_API, id, &call) };
    }
    true
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiGetVersion(version: *mut u32) -> Answer {
    let said = if state().mode.unknown { 200_000 } else { VERSION };
    // SAFETY: null, or the caller's place.
    unsafe { put(version, said) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiGetResultString(answer: Answer, text: *mut *const c_char) -> Answer {
    let said = match answer {
        SUCCESS => c"CUPTI_SUCCESS",
        INVALID_PARAMETER => c"CUPTI_ERROR_INVALID_PARAMETER",
        MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED => c"CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED",
        _ => return INVALID_PARAMETER,
    };
    // SAFETY: null, or the caller's place.
    unsafe { put(text, said.as_ptr()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuptiSubscribe(subscriber: *mut *mut c_void, callback: Callback, _: *mut c_void) -> Answer {
    while state().mode.hangs {
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut state = state();
    if state.subscriber.is_some() || state.mode.refusals > 0 {
        state.mode.refusals = state.mode.refusals.saturating_sub(1);
        return MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
    }
    state.subscriber = Some(callback);
    // SAFETY: null, or the caller's place.
    unsafe { put(subscriber, dangling_mut()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiUnsubscribe(_: *mut c_void) -> Answer {
    cuptiFinalize()
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiFinalize() -> Answer {
    let mut state = state();
    state.subscriber = None;
    state.enabled.clear();
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuptiEnableCallback(enable: u32, _: *mut c_void, domain: u32, id: u32) -> Answer {
    if enable != 1 || domain != DRIVER_API {
        return INVALID_PARAMETER;
    }
    state().enabled.push(id);
    SUCCESS
}

unsafe fn put<T>(place: *mut T, value: T) -> Answer {
    if place.is_null() {
        return INVALID_PARAMETER;
    }
    // SAFETY: not null, and the caller's by the interface's contract.
    unsafe { place.write(value) };
    SUCCESS
}
