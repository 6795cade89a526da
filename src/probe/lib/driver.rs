//! The CUDA driver's functions that a window needs, as cuda.h has them: events, a stream of the probe's own, and
//! the primary context of the engine's GPU. Calls them; when is `window`'s to decide.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr::null_mut;

use super::system::Library;

/// `CUcontext`, `CUstream` and `CUevent`.
pub type Handle = *mut c_void;

const NOT_READY: c_int = 600;
const NON_BLOCKING: c_uint = 1;
const RELAXED: c_int = 2;

/// Later drivers kept the names of the first versions for old programs.
macro_rules! driver {
    ($($field:ident = [$($name:literal),+]: fn($($argument:ty),*);)*) => {
        /// The functions; each returns a `CUresult`.
        pub struct Driver {
            $($field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Driver {
            fn of(library: Library) -> Result<Driver, String> {
                Ok(Driver {
                    // SAFETY: the types are those of the header.
                    $($field: [$($name),+].into_iter().find_map(|name| unsafe { library.function(name) })
                        .ok_or_else(|| format!("the CUDA driver has no {}", stringify!($field)))?,)*
                })
            }
        }
    };
}

driver! {
    get_version = [c"cuDriverGetVersion"]: fn(*mut c_int);
    get_state = [c"cuDevicePrimaryCtxGetState"]: fn(c_int, *mut c_uint, *mut c_int);
    retain = [c"cuDevicePrimaryCtxRetain"]: fn(*mut Handle, c_int);
    release = [c"cuDevicePrimaryCtxRelease_v2"]: fn(c_int);
    set_current = [c"cuCtxSetCurrent"]: fn(Handle);
    exchange_mode = [c"cuThreadExchangeStreamCaptureMode"]: fn(*mut c_int);
    is_capturing = [c"cuStreamIsCapturing"]: fn(Handle, *mut c_int);
    get_id = [c"cuCtxGetId"]: fn(Handle, *mut u64);
    get_priorities = [c"cuCtxGetStreamPriorityRange"]: fn(*mut c_int, *mut c_int);
    create_stream = [c"cuStreamCreateWithPriority"]: fn(*mut Handle, c_uint, c_int);
    create_event = [c"cuEventCreate"]: fn(*mut Handle, c_uint);
    destroy_event = [c"cuEventDestroy_v2"]: fn(Handle);
    record_event = [c"cuEventRecord"]: fn(Handle, Handle);
    query_event = [c"cuEventQuery"]: fn(Handle);
    elapsed = [c"cuEventElapsedTime_v2", c"cuEventElapsedTime"]: fn(*mut f32, Handle, Handle);
}

impl Driver {
    /// The one that the engine has loaded, or else one that came with `cupti`, as in a simulation.
    pub fn load(cupti: Library) -> Result<Driver, String> {
        const NAME: &CStr = c"libcuda.so.1";
        Driver::of(Library::loaded(NAME).unwrap_or(cupti))
    }

    /// A call that does nothing, for whom CUPTI calls back on this thread.
    pub fn knock(&self) {
        let mut version = 0;
        // SAFETY: a place for the answer.
        unsafe { (self.get_version)(&mut version) };
    }

    /// Whether the primary context of device 0 is in use: an engine in an MPS group sees one GPU.
    pub fn is_active(&self) -> bool {
        let (mut flags, mut active) = (0, 0);
        // SAFETY: places for the answers.
        let answer = unsafe { (self.get_state)(0, &mut flags, &mut active) };
        answer == 0 && active != 0
    }

    /// That context, held and current on this thread, whose calls disturb no capture of a graph.
    pub fn enter(&self) -> Result<Handle, String> {
        let (mut context, mut mode) = (null_mut(), RELAXED);
        // SAFETY: places for the answers; the context is held until `leave`.
        unsafe {
            said("cuThreadExchangeStreamCaptureMode", (self.exchange_mode)(&mut mode))?;
            said("cuDevicePrimaryCtxRetain", (self.retain)(&mut context, 0))?;
            let entered = said("cuCtxSetCurrent", (self.set_current)(context));
            entered.inspect_err(|_| _ = (self.release)(0))?;
        }
        Ok(context)
    }

    /// Undoes `enter`.
    pub fn leave(&self) {
        // SAFETY: held by `enter`, on this thread.
        unsafe {
            (self.set_current)(null_mut());
            (self.release)(0);
        }
    }

    /// What tells a context from all others that the process ever had. Its handle does not.
    pub fn id(&self, context: Handle) -> Result<u64, String> {
        let mut id = 0;
        // SAFETY: a live context and a place for the answer.
        said("cuCtxGetId", unsafe { (self.get_id)(context, &mut id) })?;
        Ok(id)
    }

    /// A stream that waits for no other one. It has the greatest priority, which gives it a hardware channel that
    /// the engine's streams, of the usual priority, are not in.
    pub fn stream(&self) -> Result<Handle, String> {
        let (mut stream, mut least, mut greatest) = (null_mut(), 0, 0);
        // SAFETY: places for the answers.
        unsafe {
            said("cuCtxGetStreamPriorityRange", (self.get_priorities)(&mut least, &mut greatest))?;
            said("cuStreamCreateWithPriority", (self.create_stream)(&mut stream, NON_BLOCKING, greatest))?;
        }
        Ok(stream)
    }

    /// An event that takes the time.
    pub fn event(&self) -> Result<Handle, String> {
        let mut event = null_mut();
        // SAFETY: a place for the answer.
        said("cuEventCreate", unsafe { (self.create_event)(&mut event, 0) })?;
        Ok(event)
    }

    /// Destroys a handle of `event`.
    pub fn end_event(&self, event: Handle) {
        // SAFETY: made by `event`, ended once.
        unsafe { (self.destroy_event)(event) };
    }

    /// Whether a stream takes launches down for a graph; `None`: it can't say. Nothing may be recorded in it but
    /// after a no.
    pub fn is_capturing(&self, stream: Handle) -> Option<bool> {
        let mut status = 1;
        // SAFETY: a stream that its engine launches in right now.
        let answer = unsafe { (self.is_capturing)(stream, &mut status) };
        (answer == 0).then_some(status != 0)
    }

    /// Has the event take the time when the stream gets there; false: it won't.
    pub fn record(&self, event: Handle, stream: Handle) -> bool {
        // SAFETY: a live event and a stream of the same context.
        unsafe { (self.record_event)(event, stream) == 0 }
    }

    /// Whether the event has taken the time. An error is no time.
    pub fn is_past(&self, event: Handle) -> Option<bool> {
        // SAFETY: a live event that was recorded.
        match unsafe { (self.query_event)(event) } {
            0 => Some(true),
            NOT_READY => Some(false),
            _ => None,
        }
    }

    /// Nanoseconds from one event to another, both past.
    pub fn nanos_between(&self, first: Handle, second: Handle) -> Option<f64> {
        let mut millis = 0.0;
        // SAFETY: live events and a place for the answer.
        let answer = unsafe { (self.elapsed)(&mut millis, first, second) };
        (answer == 0).then_some(f64::from(millis) * 1e6)
    }
}

fn said(name: &str, answer: c_int) -> Result<(), String> {
    if answer == 0 { Ok(()) } else { Err(format!("{name}: CUDA error {answer}")) }
}
