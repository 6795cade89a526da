//! A CUDA context as its process sees it: a client of the MPS server where a control daemon is there,
//! and silently outside MPS where none is.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::libc;

use super::args;
use super::cuda::CudaError;
use super::injection::{self, Profiler};
use super::wire::Link;

/// A client that is to be taken for another user's says so in this variable: a test has one user only.
pub const AS_USER: &str = "MPSWARDEN_SIM_UID";
/// Time from the first context to the second, and from the second to the first call's return.
const SECOND_CONTEXT: Duration = Duration::from_millis(35);
const CONTEXT_READY: Duration = Duration::from_millis(80);

/// One process's context.
#[derive(Debug)]
pub(crate) struct Context {
    gpu: Link,
    /// Bytes that it may allocate (CUDA_MPS_PINNED_DEVICE_MEM_LIMIT); `None`: no limit.
    limit: Option<u64>,
    allocated: u64,
    profiler: Profiler,
}

impl Context {
    /// Makes a context, as the first CUDA call of a process does. `name` is what others see it by.
    pub(crate) fn create(gpu: &Path, name: &str) -> Result<Context, CudaError> {
        injection::load();
        let mut link = Link::connect(gpu).map_err(|_| CudaError::NO_DEVICE)?;
        check_visible(&mut link)?;
        let mut link = Link::connect(gpu).map_err(|_| CudaError::NO_DEVICE)?;
        let_the_driver_hold_us();
        let watched = gpu.to_owned();
        thread::spawn(move || end_with_the_gpu(&watched));
        link.ask(&format!("client {name}")).map_err(|_| CudaError::NO_DEVICE)?;
        let mut context = Context { gpu: link, limit: None, allocated: 0, profiler: Profiler::of_environment() };
        let control = pipe_directory().join("control");
        if Link::knock(&control).is_err() {
            context.call("outside")?;
            return Ok(context);
        }
        join(&control, 0)?;
        thread::sleep(SECOND_CONTEXT);
        join(&control, 1)?;
        thread::sleep(CONTEXT_READY);
        context.limit = memory_limit();
        if let Ok(percent) = env::var("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE") {
            context.call(&format!("percentage {percent}"))?;
        }
        Ok(context)
    }

    /// Device memory, in bytes.
    pub(crate) fn allocate(&mut self, bytes: u64) -> Result<(), CudaError> {
        if self.limit.is_some_and(|limit| self.allocated.saturating_add(bytes) > limit) {
            return Err(CudaError::OUT_OF_MEMORY);
        }
        self.call(&format!("alloc {bytes}"))?;
        self.allocated += bytes;
        Ok(())
    }

    /// Runs a kernel that takes so long alone and can use this share of the SMs, and waits for it; how long
    /// it ran beside others.
    pub(crate) fn launch(&mut self, alone: Duration, demand: f64) -> Result<Duration, CudaError> {
        self.profiler.launched();
        let answer = self.call(&format!("launch {} {demand}", alone.as_micros()))?;
        let mut times = answer.split_whitespace().skip(1).map_while(|time| time.parse().ok());
        let (Some(begin), Some(end)) = (times.next(), times.next()) else { return Err(CudaError::UNKNOWN) };
        self.profiler.ran(begin, end);
        Ok(Duration::from_nanos(end.saturating_sub(begin)))
    }

    /// Runs a kernel that never ends; comes back only with an error.
    pub(crate) fn hang(&mut self) -> Result<(), CudaError> {
        self.call("hang").map(drop)
    }

    /// Makes its kernels wait for the GPU from now on.
    pub(crate) fn starve(&mut self) -> Result<(), CudaError> {
        self.call("starve").map(drop)
    }

    /// Runs a kernel that faults: `illegal-address` or `trap`.
    pub(crate) fn fault(&mut self, kind: &str) -> Result<(), CudaError> {
        self.call(&format!("fault {kind}")).map(drop)
    }

    /// What the GPU answers, unless it is an error.
    fn call(&mut self, line: &str) -> Result<String, CudaError> {
        let answer = self.gpu.ask(line).map_err(|_| CudaError::UNKNOWN)?;
        match answer.strip_prefix("error ") {
            Some(code) => Err(CudaError(code.parse().unwrap_or(CudaError::UNKNOWN.0))),
            None => Ok(answer),
        }
    }
}

/// Where the control daemon is looked for.
pub(crate) fn pipe_directory() -> PathBuf {
    PathBuf::from(env::var_os("CUDA_MPS_PIPE_DIRECTORY").unwrap_or("/tmp/nvidia-mps".into()))
}

/// Asks the control daemon for a context of its server; waits while the server starts. The first
/// request opens a connection of its own beforehand, with nothing to say.
fn join(control: &Path, context: u8) -> Result<(), CudaError> {
    let answer = ask_control(control, context).map_err(|_| CudaError::MPS_RPC_FAILURE)?;
    match answer.strip_prefix("error ") {
        Some(code) => Err(CudaError(code.parse().unwrap_or(CudaError::UNKNOWN.0))),
        None => Ok(()),
    }
}

fn ask_control(control: &Path, context: u8) -> io::Result<String> {
    let user = env::var(AS_USER).map_or_else(|_| String::new(), |uid| format!(" as {uid}"));
    Link::connect(control)?.ask(&format!("client {context}{user}"))
}

/// CUDA_VISIBLE_DEVICES: unset, an index, or UUIDs of which one must be ours.
fn check_visible(gpu: &mut Link) -> Result<(), CudaError> {
    let Ok(visible) = env::var("CUDA_VISIBLE_DEVICES") else { return Ok(()) };
    gpu.ask("reader").map_err(|_| CudaError::NO_DEVICE)?;
    let uuid = gpu.ask("uuid").map_err(|_| CudaError::NO_DEVICE)?;
    let ours = |device: &str| device == "0" || (device.starts_with("GPU-") && uuid.starts_with(device));
    if visible.split(',').any(|device| ours(device.trim())) { Ok(()) } else { Err(CudaError::NO_DEVICE) }
}

/// `0=40960M`, as the documentation has it: device ordinals with their limits.
fn memory_limit() -> Option<u64> {
    let limits = env::var("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT").ok()?;
    limits.split(',').find_map(|limit| args::size(limit.trim().strip_prefix("0=")?))
}

/// The simulated driver may trace this process, so that its teardown takes as long as a real one.
fn let_the_driver_hold_us() {
    // SAFETY: PR_SET_PTRACER takes a number and touches no memory of ours; a refusal is harmless.
    unsafe {
        libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0);
    }
}

/// Nothing of a stage outlives its GPU, not even an idle client that would not notice.
fn end_with_the_gpu(gpu: &Path) {
    let gone = Link::connect(gpu).and_then(|mut link| link.ask("reader").and_then(|_| link.receive()));
    if gone.is_err() {
        std::process::exit(1);
    }
}
