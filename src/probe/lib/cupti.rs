//! CUPTI's callbacks, as cupti_callbacks.h and cupti_driver_cbid.h of CUDA 11 to 13 have them: subscribed to before
//! a window, taken down after it. What is done in them is `launches`'.
//!
//! No activity kind is ever enabled: kernels launched under one write to memory that `cuptiFinalize` frees, and an
//! engine that has some in flight dies of it, with its whole MPS group. Callbacks alone leave nothing behind.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};

use super::driver::Driver;
use super::launches;
use super::system::Library;

/// Result `CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED`.
const ANOTHER_SUBSCRIBER: c_int = 39;
const DRIVER_API: u32 = 1;
/// Callback id `CUPTI_DRIVER_TRACE_CBID_cuDriverGetVersion`.
const GET_VERSION: u32 = 2;
/// Callback site `CUPTI_API_EXIT`.
pub const EXIT: u32 = 1;

/// CUPTI's `CUpti_CallbackData`.
#[repr(C)]
pub struct Call {
    /// 0: the call begins, 1: it ends.
    pub site: u32,
    function: *const c_char,
    /// The structure of the call's arguments.
    pub arguments: *const u8,
    returned: *const c_int,
    symbol: *const c_char,
    /// The context of the calling thread.
    pub context: *mut c_void,
    context_number: u32,
    note: *mut u64,
    correlation: u32,
}

impl Call {
    /// Whether a call that ends did what it was asked to.
    pub fn succeeded(&self) -> bool {
        // SAFETY: CUPTI's pointer to the call's answer, or null.
        unsafe { self.returned.as_ref() }.is_some_and(|answer| *answer == 0)
    }
}

type Subscriber = *mut c_void;
type Callback = unsafe extern "C" fn(*mut c_void, u32, u32, *const Call);

/// Why nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Trouble for now: another profiler is at work.
    Passing(String),
    /// Trouble for as long as this process lives.
    Lasting(String),
}

/// The functions; each returns a `CUptiResult`.
pub struct Cupti {
    get_version: unsafe extern "C" fn(*mut u32) -> c_int,
    get_result_string: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int,
    subscribe: unsafe extern "C" fn(*mut Subscriber, Callback, *mut c_void) -> c_int,
    unsubscribe: unsafe extern "C" fn(Subscriber) -> c_int,
    enable_callback: unsafe extern "C" fn(u32, Subscriber, u32, u32) -> c_int,
    finalize: unsafe extern "C" fn() -> c_int,
}

/// `cuptiFinalize`, where the callback finds it.
static FINALIZE: OnceLock<unsafe extern "C" fn() -> c_int> = OnceLock::new();
/// It is to be called, by the next knock.
static WANTED: AtomicBool = AtomicBool::new(false);
static ANSWER: AtomicI32 = AtomicI32::new(0);

/// A subscription. It is ended by `end` alone.
pub struct Subscription(Subscriber);

impl Cupti {
    /// The functions of a libcupti that is known.
    pub fn load(library: Library) -> Result<Cupti, String> {
        let cupti = Cupti::of(library)?;
        let mut version = 0;
        // SAFETY: a place for the answer.
        cupti.said("cuptiGetVersion", unsafe { (cupti.get_version)(&mut version) })?;
        // 13: CUDA 11.0, 28: CUDA 12.9; CUDA 13 counts 130000 and on.
        let known = matches!(version, 13..=99 | 130_000..140_000);
        FINALIZE.get_or_init(|| cupti.finalize);
        known.then_some(cupti).ok_or_else(|| format!("libcupti's API version {version} is not known"))
    }

    fn of(library: Library) -> Result<Cupti, String> {
        // SAFETY: the types are those of the headers.
        unsafe {
            Ok(Cupti {
                get_version: needed(library, c"cuptiGetVersion")?,
                get_result_string: needed(library, c"cuptiGetResultString")?,
                subscribe: needed(library, c"cuptiSubscribe")?,
                unsubscribe: needed(library, c"cuptiUnsubscribe")?,
                enable_callback: needed(library, c"cuptiEnableCallback")?,
                finalize: needed(library, c"cuptiFinalize")?,
            })
        }
    }

    /// Takes the place of the process' one subscriber. Nothing is called back yet.
    pub fn subscribe(&self) -> Result<Subscription, Trouble> {
        let mut subscriber = null_mut();
        // SAFETY: the callback's code stays: this library is never unloaded.
        let answer = unsafe { (self.subscribe)(&mut subscriber, callback, null_mut()) };
        if answer == ANOTHER_SUBSCRIBER {
            return Err(Trouble::Passing("another profiler has subscribed to CUPTI in this process".to_owned()));
        }
        self.said("cuptiSubscribe", answer).map_err(Trouble::Lasting)?;
        Ok(Subscription(subscriber))
    }

    /// Launches are called back from now on. An older CUPTI does not know the later ones, which its CUDA hasn't.
    pub fn watch(&self, subscription: &Subscription) -> Result<(), String> {
        let [kernel, rest @ ..] = launches::CALLS;
        self.enable(subscription, kernel)?;
        rest.into_iter().for_each(|call| _ = self.enable(subscription, call));
        Ok(())
    }

    fn enable(&self, subscription: &Subscription, call: u32) -> Result<(), String> {
        // SAFETY: a live subscription.
        self.said("cuptiEnableCallback", unsafe { (self.enable_callback)(1, subscription.0, DRIVER_API, call) })
    }

    /// Takes CUPTI down, so that the engine's calls cost what they did without it. That is allowed at the end of a
    /// call of the driver only, so the driver is called, and no other thread's call is waited for.
    pub fn end(&self, driver: &Driver, subscription: Subscription) -> Result<(), String> {
        self.enable(&subscription, GET_VERSION)?;
        WANTED.store(true, SeqCst);
        driver.knock();
        if WANTED.swap(false, SeqCst) {
            // SAFETY: a live subscription, not used again. Calls stay a little slower than without.
            unsafe { (self.unsubscribe)(subscription.0) };
            return Err("CUPTI did not call back, and could not be taken down".to_owned());
        }
        self.said("cuptiFinalize", ANSWER.load(SeqCst))
    }

    /// What a call answered, in words.
    fn said(&self, name: &str, answer: c_int) -> Result<(), String> {
        if answer == 0 {
            return Ok(());
        }
        let mut text = null();
        // SAFETY: CUPTI's strings are constants.
        let known = unsafe { (self.get_result_string)(answer, &mut text) } == 0 && !text.is_null();
        let text = if known { unsafe { CStr::from_ptr(text) }.to_string_lossy() } else { "unknown".into() };
        Err(format!("{name}: {text} ({answer})"))
    }
}

unsafe fn needed<F: Copy>(library: Library, name: &CStr) -> Result<F, String> {
    // SAFETY: the caller's promise about `F`.
    unsafe { library.function(name) }.ok_or_else(|| format!("libcupti has no {}", name.to_string_lossy()))
}

/// Called on the engine's threads at their launches, and on the probe's when it knocks.
unsafe extern "C" fn callback(_: *mut c_void, _: u32, id: u32, call: *const Call) {
    // SAFETY: CUPTI's own structure, for as long as the callback lasts.
    let Some(call) = (unsafe { call.as_ref() }) else { return };
    if id != GET_VERSION {
        launches::called(id, call);
    } else if call.site == EXIT
        && launches::on_own_thread()
        && WANTED.swap(false, SeqCst)
        && let Some(finalize) = FINALIZE.get()
    {
        // SAFETY: at the end of a call of the driver, once in a subscription.
        ANSWER.store(unsafe { finalize() }, SeqCst);
    }
}
