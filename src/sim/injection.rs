//! Libraries that a CUDA process loads because its environment names them: an injection, as the driver does, and the
//! stand-in CUPTI, which is called for every kernel that ran.

use std::env;
use std::ffi::{CString, OsStr, c_int, c_void};
use std::os::unix::ffi::OsStrExt;

use nix::libc;

/// `CUDA_INJECTION64_PATH`: loaded at CUDA's start-up. One that can't be loaded, has no entry point or fails does no
/// harm, as measured.
pub(crate) fn load() {
    let Some(entry) = symbol("CUDA_INJECTION64_PATH", "InitializeInjection") else { return };
    // SAFETY: the entry point of an injection takes nothing and returns an int.
    let initialize = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(entry) };
    // SAFETY: it is called once, by the thread that starts CUDA.
    unsafe { initialize() };
}

/// The stand-in CUPTI, which is called for kernels, if it is loaded.
#[derive(Debug)]
pub(crate) struct Profiler {
    launched: Option<unsafe extern "C" fn() -> c_int>,
    ran: Option<unsafe extern "C" fn(u64, u64)>,
}

impl Profiler {
    /// The library that `MPSWARDEN_CUPTI` names.
    pub(crate) fn of_environment() -> Profiler {
        let entry = |name| symbol("MPSWARDEN_CUPTI", name);
        // SAFETY: the stand-in's entry points have these types.
        unsafe {
            Profiler {
                launched: entry("simulated_launch").map(|entry| std::mem::transmute(entry)),
                ran: entry("simulated_kernel").map(|entry| std::mem::transmute(entry)),
            }
        }
    }

    /// A kernel is about to be launched.
    pub(crate) fn launched(&self) {
        if let Some(tell) = self.launched {
            // SAFETY: the library is never unloaded.
            unsafe { tell() };
        }
    }

    /// The kernel launched last ran, in nanoseconds of CLOCK_REALTIME.
    pub(crate) fn ran(&self, begin: u64, end: u64) {
        if let Some(tell) = self.ran {
            // SAFETY: the library is never unloaded.
            unsafe { tell(begin, end) };
        }
    }
}

/// A symbol of the library that a variable names, which stays loaded.
fn symbol(variable: &str, name: &str) -> Option<*mut c_void> {
    let path = CString::new(OsStr::as_bytes(&env::var_os(variable)?)).ok()?;
    let name = CString::new(name).ok()?;
    // SAFETY: both are strings that end; a null handle is not asked.
    let found = unsafe {
        let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if library.is_null() { return None } else { libc::dlsym(library, name.as_ptr()) }
    };
    (!found.is_null()).then_some(found)
}
