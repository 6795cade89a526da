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
use super::visible::{self, Gpu};
use super::wire::Link;

/// A client that is to be taken for another user's says so in this variable: a test has one user only.
pub const AS_USER: &str = "MPSWARDEN_SIM_UID";
/// File in the pipe directory: NVML's indexes of the GPUs that the control daemon serves, where it is not the first alone.
pub(crate) const GPUS: &str = "gpus";
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
    /// Makes a context on the first GPU, as the first CUDA call of a process does. `name` is what others see it by.
    pub(crate) fn create(gpu: &Path, name: &str) -> Result<Context, CudaError> {
        Context::create_on(gpu, name, &[0])?.pop().ok_or(CudaError::NO_DEVICE)
    }

    /// A context on each GPU that CUDA_VISIBLE_DEVICES names, as an engine has that is given several; without it on the
    /// first one.
    pub(crate) fn create_on_named(gpu: &Path, name: &str) -> Result<Vec<Context>, CudaError> {
        let count = if env::var_os("CUDA_VISIBLE_DEVICES").is_some() { seen(gpu)?.len() } else { 1 };
        Context::create_on(gpu, name, &(0..count.max(1)).collect::<Vec<_>>())
    }

    /// A context on each of these GPUs, by the ordinals that this process has for them.
    pub(crate) fn create_on(gpu: &Path, name: &str, ordinals: &[usize]) -> Result<Vec<Context>, CudaError> {
        injection::load();
        let devices = devices(gpu, ordinals)?;
        let links = || devices.iter().map(|_| Link::connect(gpu)).collect::<Result<Vec<Link>, _>>();
        let links = links().map_err(|_| CudaError::NO_DEVICE)?;
        let_the_driver_hold_us();
        let watched = gpu.to_owned();
        thread::spawn(move || end_with_the_gpu(&watched));
        let mut contexts = Vec::new();
        for (mut link, device) in links.into_iter().zip(&devices) {
            link.ask(&format!("client {name} {device}")).map_err(|_| CudaError::NO_DEVICE)?;
            let profiler = Profiler::of_environment();
            contexts.push(Context { gpu: link, limit: None, allocated: 0, profiler });
        }
        let control = pipe_directory().join("control");
        if Link::knock(&control).is_err() {
            contexts.iter_mut().try_for_each(|context| context.call("outside").map(drop))?;
            return Ok(contexts);
        }
        join(&control, None)?;
        thread::sleep(SECOND_CONTEXT);
        for (device, number) in devices.iter().zip(1..) {
            join(&control, Some((number, *device)))?;
        }
        thread::sleep(CONTEXT_READY);
        for (context, ordinal) in contexts.iter_mut().zip(ordinals) {
            context.limit = memory_limit(*ordinal);
            if let Ok(percent) = env::var("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE") {
                context.call(&format!("percentage {percent}"))?;
            }
        }
        Ok(contexts)
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
fn join(control: &Path, context: Option<(u32, usize)>) -> Result<(), CudaError> {
    let answer = ask_control(control, context).map_err(|_| CudaError::MPS_RPC_FAILURE)?;
    match answer.strip_prefix("error ") {
        Some(code) => Err(CudaError(code.parse().unwrap_or(CudaError::UNKNOWN.0))),
        None => Ok(()),
    }
}

fn ask_control(control: &Path, context: Option<(u32, usize)>) -> io::Result<String> {
    let context = context.map_or("0".to_owned(), |(number, device)| format!("{number} {device}"));
    let user = env::var(AS_USER).map_or_else(|_| String::new(), |uid| format!(" as {uid}"));
    Link::connect(control)?.ask(&format!("client {context}{user}"))
}

/// NVML's indexes of the GPUs that this process calls so.
fn devices(gpu: &Path, ordinals: &[usize]) -> Result<Vec<usize>, CudaError> {
    let seen = seen(gpu)?;
    let found = ordinals.iter().map(|ordinal| seen.get(*ordinal).map(|gpu| gpu.index));
    found.collect::<Option<Vec<usize>>>().ok_or(CudaError::NO_DEVICE)
}

/// The GPUs that this process sees: by CUDA_VISIBLE_DEVICES, over those of its control daemon.
fn seen(gpu: &Path) -> Result<Vec<Gpu>, CudaError> {
    let ask = || -> io::Result<String> {
        let mut link = Link::connect(gpu)?;
        link.ask("reader")?;
        link.ask("uuids")
    };
    let machine = visible::all(&ask().map_err(|_| CudaError::NO_DEVICE)?);
    let control = pipe_directory();
    let Ok(served) = std::fs::read_to_string(control.join(GPUS)) else {
        let count = if control.join("control").exists() { 1 } else { machine.len() };
        return Ok(visible::to_us(&machine[..count.min(machine.len())]));
    };
    let served = served.split_whitespace().filter_map(|index| machine.get(index.parse::<usize>().ok()?).cloned());
    Ok(visible::to_us(&served.collect::<Vec<_>>()))
}

/// `0=40960M,1=20480M`, as the documentation has it: device ordinals with their limits.
fn memory_limit(ordinal: usize) -> Option<u64> {
    let limits = env::var("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT").ok()?;
    let of = format!("{ordinal}=");
    limits.split(',').find_map(|limit| args::size(limit.trim().strip_prefix(&of)?))
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
