//! CUPTI's C functions, as cupti_activity.h, cupti_callbacks.h and cupti_result.h of CUDA 11 to 13 have them, and
//! how it is attached. Where it is found is `find`'s, how it is taken down `detach`'s.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

use super::system::Library;
use super::{buffers, detach};

/// `CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL`: kernels stay concurrent under it.
pub const KERNELS: u32 = 10;
/// `CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED`.
const ANOTHER_SUBSCRIBER: c_int = 39;
/// `CUPTI_ACTIVITY_ATTR_ZEROED_OUT_ACTIVITY_BUFFER`: buffers come zeroed, no thread of the engine need do it.
const ZEROED: u32 = 5;
/// `CUPTI_ACTIVITY_FLAG_FLUSH_FORCED`: buffers with unfinished records too.
const FORCED: u32 = 1;

/// Where a record of kind 10 says when its kernel began and ended, in nanoseconds of CLOCK_REALTIME.
const START: usize = 16;
const END: usize = 24;

/// A subscriber, as CUPTI names it.
pub type Subscriber = *mut c_void;
/// `CUpti_CallbackFunc`.
pub type Callback = unsafe extern "C" fn(*mut c_void, u32, u32, *const c_void);
type Requested = unsafe extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
type Completed = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);

/// Why nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// For now: another profiler is at work.
    Passing(String),
    /// In this process, for ever.
    Lasting(String),
}

macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*);)*) => {
        /// The functions; each returns a `CUptiResult`.
        pub struct Functions {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Functions {
            fn of(library: Library) -> Result<Functions, String> {
                Ok(Functions {
                    // SAFETY: the types are those of the headers.
                    $($field: unsafe { library.function($name) }
                        .ok_or_else(|| format!("libcupti has no {}", $name.to_string_lossy()))?,)*
                })
            }
        }
    };
}

functions! {
    get_version = c"cuptiGetVersion": fn(*mut u32);
    get_result_string = c"cuptiGetResultString": fn(c_int, *mut *const c_char);
    subscribe = c"cuptiSubscribe": fn(*mut Subscriber, Callback, *mut c_void);
    unsubscribe = c"cuptiUnsubscribe": fn(Subscriber);
    register_callbacks = c"cuptiActivityRegisterCallbacks": fn(Requested, Completed);
    set_attribute = c"cuptiActivitySetAttribute": fn(u32, *mut usize, *mut c_void);
    enable = c"cuptiActivityEnable": fn(u32);
    disable = c"cuptiActivityDisable": fn(u32);
    flush_all = c"cuptiActivityFlushAll": fn(u32);
    get_next_record = c"cuptiActivityGetNextRecord": fn(*mut u8, usize, *mut *mut u8);
    get_dropped = c"cuptiActivityGetNumDroppedRecords": fn(*mut c_void, u32, *mut usize);
}

/// What was recorded.
pub struct Records {
    /// Start and end of every kernel, as CUPTI wrote them.
    pub times: Vec<(u64, u64)>,
    /// Some are missing: CUPTI dropped them.
    pub incomplete: bool,
}

impl Functions {
    /// Those of a libcupti whose records are known.
    pub fn load(library: Library) -> Result<Functions, String> {
        let functions = Functions::of(library)?;
        let mut version = 0;
        functions.call("cuptiGetVersion", |cupti| unsafe { (cupti.get_version)(&mut version) })?;
        // 13: CUDA 11.0, 28: CUDA 12.9; CUDA 13 counts 130000 and on.
        let known = matches!(version, 13..=99 | 130_000..140_000);
        known.then_some(functions).ok_or_else(|| format!("libcupti's API version {version} is not known"))
    }

    /// Subscribes and records kernels, from now on; nothing is left of it where it fails.
    pub fn attach(&self) -> Result<Subscriber, Trouble> {
        if !buffers::open() {
            return Err(Trouble::Lasting("no memory for records".to_owned()));
        }
        let mut subscriber = null_mut();
        // SAFETY: the callback outlives the process' use of CUPTI: this library is never unloaded.
        let answer = unsafe { (self.subscribe)(&mut subscriber, detach::callback, null_mut()) };
        if answer == ANOTHER_SUBSCRIBER {
            return Err(Trouble::Passing("another profiler has subscribed to CUPTI in this process".to_owned()));
        }
        self.said("cuptiSubscribe", answer).map_err(Trouble::Lasting)?;
        self.start().map(|()| subscriber).map_err(|why| {
            // SAFETY: subscribed above.
            unsafe { (self.unsubscribe)(subscriber) };
            buffers::close();
            Trouble::Lasting(why)
        })
    }

    fn start(&self) -> Result<(), String> {
        let (mut size, mut zeroed) = (1, 1u8);
        // An older CUPTI has no such attribute, and zeroes the buffers itself.
        // SAFETY: a value of one byte, as the header says.
        unsafe { (self.set_attribute)(ZEROED, &mut size, (&raw mut zeroed).cast()) };
        let (requested, completed) = (buffers::requested, buffers::completed);
        self.call("cuptiActivityRegisterCallbacks", |cupti| unsafe {
            (cupti.register_callbacks)(requested, completed)
        })?;
        self.call("cuptiActivityEnable", |cupti| unsafe { (cupti.enable)(KERNELS) })?;
        // What was dropped between windows is no loss of this one.
        self.dropped();
        Ok(())
    }

    /// All that was recorded so far.
    pub fn collect(&self) -> Result<Records, String> {
        self.call("cuptiActivityFlushAll", |cupti| unsafe { (cupti.flush_all)(FORCED) })?;
        let times = buffers::filled().flat_map(|(buffer, length)| self.times(buffer, length)).collect();
        let incomplete = self.dropped() > 0 || buffers::ran_short();
        buffers::close();
        Ok(Records { times, incomplete })
    }

    /// How many records CUPTI dropped since it was asked last.
    fn dropped(&self) -> usize {
        let mut dropped = 0;
        // SAFETY: no context: the records that belong to none, which all do since CUDA 6.
        unsafe { (self.get_dropped)(null_mut(), 0, &mut dropped) };
        dropped
    }

    fn times(&self, buffer: *mut u8, length: usize) -> impl Iterator<Item = (u64, u64)> {
        let mut record = null_mut();
        std::iter::from_fn(move || {
            // SAFETY: a buffer that CUPTI filled up to `length`, and the record before, or none.
            let there = unsafe { (self.get_next_record)(buffer, length, &mut record) } == 0 && !record.is_null();
            let last = length.checked_sub(END + 8)?;
            let offset = (record as usize).wrapping_sub(buffer as usize);
            (there && offset <= last).then_some(record)
        })
        // SAFETY: the record's first 32 bytes lie in the buffer.
        .filter(|record| unsafe { record.cast::<u32>().read_unaligned() } == KERNELS)
        .map(|record| unsafe { (number(record, START), number(record, END)) })
    }

    /// Calls and says what went wrong.
    pub fn call(&self, name: &str, call: impl FnOnce(&Functions) -> c_int) -> Result<(), String> {
        self.said(name, call(self))
    }

    /// What a call answered, in words.
    pub fn said(&self, name: &str, answer: c_int) -> Result<(), String> {
        if answer == 0 {
            return Ok(());
        }
        let mut text = std::ptr::null();
        // SAFETY: CUPTI's strings are constants.
        let known = unsafe { (self.get_result_string)(answer, &mut text) } == 0 && !text.is_null();
        let text = if known { unsafe { CStr::from_ptr(text) }.to_string_lossy() } else { "unknown".into() };
        Err(format!("{name}: {text} ({answer})"))
    }
}

unsafe fn number(record: *const u8, offset: usize) -> u64 {
    // SAFETY: the caller has seen that these 8 bytes are the record's.
    unsafe { record.add(offset).cast::<u64>().read_unaligned() }
}
