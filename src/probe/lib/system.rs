//! What the C library offers and std does not: libraries by name, signal masks, exit hooks.
//! Declared by hand, as std links libc anyway.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::mem::{MaybeUninit, transmute_copy};

const RTLD_NOW: c_int = 2;
const RTLD_NOLOAD: c_int = 4;
const SIG_SETMASK: c_int = 2;
/// Faults of a thread itself: blocked, they would hide from the engine's crash handler.
const FAULTS: [c_int; 5] =
    [4 /* SIGILL */, 5 /* SIGTRAP */, 7 /* SIGBUS */, 8 /* SIGFPE */, 11 /* SIGSEGV */];

/// `sigset_t`, 128 bytes in glibc and musl.
pub type SignalMask = [u64; 16];

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
    fn pthread_self() -> c_ulong;
    fn atexit(hook: extern "C" fn()) -> c_int;
    fn pthread_sigmask(how: c_int, set: *const SignalMask, old: *mut SignalMask) -> c_int;
    fn sigfillset(set: *mut SignalMask) -> c_int;
    fn sigdelset(set: *mut SignalMask, signal: c_int) -> c_int;
}

/// A loaded library. It stays loaded.
#[derive(Clone, Copy)]
pub struct Library(*mut c_void);

impl Library {
    /// Loads it, or says why it can't be.
    pub fn open(path: &CStr) -> Result<Library, String> {
        // SAFETY: a C string; what the library's constructors do is CUPTI's affair.
        let library = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
        if library.is_null() { Err(trouble()) } else { Ok(Library(library)) }
    }

    /// One that the process has loaded already, by its soname or path.
    pub fn loaded(name: &CStr) -> Option<Library> {
        // SAFETY: a C string; nothing is loaded.
        let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW | RTLD_NOLOAD) };
        (!library.is_null()).then_some(Library(library))
    }

    /// A function of it.
    ///
    /// # Safety
    /// `F` is the function's own type: an `extern "C"` function pointer.
    pub unsafe fn function<F: Copy>(self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: an open library and a C string; that `F` fits is the caller's promise.
        let found = unsafe { dlsym(self.0, name.as_ptr()) };
        (!found.is_null()).then(|| unsafe { transmute_copy(&found) })
    }
}

fn trouble() -> String {
    // SAFETY: dlerror's string is the calling thread's own until its next dl call.
    let said = unsafe { dlerror() };
    let unknown = || "it can't be loaded".to_owned();
    if said.is_null() { unknown() } else { unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned() }
}

/// The calling thread, as long as it lives.
pub fn this_thread() -> usize {
    // SAFETY: has no conditions.
    unsafe { pthread_self() as usize }
}

/// Has `hook` called when the process ends by `exit`, before the hooks that were there already.
pub fn at_exit(hook: extern "C" fn()) {
    // SAFETY: the hook's code stays: this library is never unloaded (-z nodelete).
    unsafe { atexit(hook) };
}

/// Blocks all signals but a thread's own faults in the calling thread; returns the mask before.
pub fn block_signals() -> SignalMask {
    let (mut mask, mut before) = (SignalMask::default(), SignalMask::default());
    // SAFETY: both are as large as the C library's own.
    unsafe {
        sigfillset(&mut mask);
        for fault in FAULTS {
            sigdelset(&mut mask, fault);
        }
        pthread_sigmask(SIG_SETMASK, &mask, &mut before);
    }
    before
}

/// The mask as `block_signals` found it.
pub fn restore_signals(mask: &SignalMask) {
    let mut before = MaybeUninit::uninit();
    // SAFETY: a mask that pthread_sigmask filled.
    unsafe { pthread_sigmask(SIG_SETMASK, mask, before.as_mut_ptr()) };
}
