//! The CUDA driver's part: one primary context, events, streams. Where a driver is loaded beside this library, the
//! probe takes that one; in a simulation there is none.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::dangling_mut;

use super::{Answer, GET_VERSION, INVALID_PARAMETER, SUCCESS, call_back, put, state};

const INVALID_HANDLE: Answer = 400;
const NOT_READY: Answer = 600;
/// The one stream that is made; nothing runs in it.
const OTHER_STREAM: usize = 0x200;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Answer {
    // SAFETY: null, or the caller's place.
    let answer = unsafe { put(version, 13_000) };
    if !state().mode.deaf {
        call_back(GET_VERSION);
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxGetState(_: c_int, flags: *mut c_uint, active: *mut c_int) -> Answer {
    // SAFETY: null, or the caller's places.
    unsafe { put(flags, 0) | put(active, c_int::from(!state().mode.idle)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, _: c_int) -> Answer {
    // SAFETY: null, or the caller's place.
    unsafe { put(context, dangling_mut()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_: c_int) -> Answer {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(_: *mut c_void) -> Answer {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuThreadExchangeStreamCaptureMode(_: *mut c_int) -> Answer {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamIsCapturing(_: usize, status: *mut c_int) -> Answer {
    // SAFETY: null, or the caller's place.
    unsafe { put(status, c_int::from(state().mode.captures)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetId(_: *mut c_void, id: *mut u64) -> Answer {
    // SAFETY: null, or the caller's place.
    unsafe { put(id, 1) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> Answer {
    // SAFETY: null, or the caller's places.
    unsafe { put(least, 0) | put(greatest, -5) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut usize, _: c_uint, _: c_int) -> Answer {
    // SAFETY: null, or the caller's place.
    unsafe { put(stream, OTHER_STREAM) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut usize, _: c_uint) -> Answer {
    // SAFETY: null, or the caller's place.
    unsafe { put(event, state().work.make_event()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: usize) -> Answer {
    if state().work.end_event(event) { SUCCESS } else { INVALID_HANDLE }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: usize, stream: usize) -> Answer {
    let mut state = state();
    let refused = state.mode.refuses_events && stream != OTHER_STREAM;
    if !refused && state.work.record(event, stream) { SUCCESS } else { INVALID_HANDLE }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: usize) -> Answer {
    match state().work.time(event) {
        Some(Some(_)) => SUCCESS,
        Some(None) => NOT_READY,
        None => INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime_v2(millis: *mut f32, from: usize, to: usize) -> Answer {
    let state = state();
    let (Some(Some(from)), Some(Some(to))) = (state.work.time(from), state.work.time(to)) else {
        return INVALID_PARAMETER;
    };
    let nanos = to as i64 - from as i64;
    // SAFETY: null, or the caller's place.
    unsafe { put(millis, (nanos as f64 / 1e6) as f32) }
}
