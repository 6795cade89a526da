//! The kernel probe's own library, which CUDA loads into an engine (`CUDA_INJECTION64_PATH`). Starts one thread,
//! which talks to the watchdog and records kernels when it is asked to; no thread of the engine ever waits for it.

use std::env;
use std::ffi::c_int;
use std::panic::{self, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

mod clock;
mod closing;
mod conversation;
mod cover;
mod cupti;
mod driver;
mod find;
mod launches;
mod system;
mod window;
#[path = "../wire.rs"]
#[allow(dead_code)]
mod wire;

/// Where the watchdog listens. Unset: the library does nothing.
const SOCKET: &str = "MPSWARDEN_PROBE_SOCKET";
/// Virtual memory, of which little is touched; CUPTI attaches on this stack.
const STACK: usize = 1 << 20;

/// CUDA calls this once it has loaded the library, on the thread that initializes CUDA. Returns at once, and
/// always 1: whatever goes wrong here is no reason for CUDA to fail.
#[unsafe(no_mangle)]
pub extern "C" fn InitializeInjection() -> c_int {
    let _ = catch_unwind(start);
    1
}

/// Starts the thread, at most one in a process; a child that was forked without one may start its own.
fn start() {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let process = std::process::id();
    let Some(socket) = env::var_os(SOCKET).filter(|path| !path.is_empty()).map(PathBuf::from) else { return };
    if STARTED.swap(process, Ordering::SeqCst) == process {
        return;
    }
    let hints = find::Hints::of_environment();
    closing::begin(process);
    // The thread and those that CUPTI starts from it inherit the mask: the engine's signals find the engine's threads.
    let mask = system::block_signals();
    let name = "mpswarden-probe".to_owned();
    let _ = thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
        // This library's own copy of std: the engine's panics, if it is Rust, are not touched. Ours are silent.
        panic::set_hook(Box::new(|_| ()));
        let _ = catch_unwind(|| conversation::hold(&socket, hints));
    });
    system::restore_signals(&mask);
}
