//! Calls of NVML that older drivers have in place of those that are used now: memory before driver 510, lists of
//! processes before driver 510 (`_v2`) and before 465. Found in the library that is open already.

use std::ffi::{CStr, CString, c_uint, c_ulonglong, c_void};

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError as Failure;

use crate::model::GpuProcess;

/// `nvmlReturn_t`: done, and the array is too short.
const SUCCESS: c_uint = 0;
const INSUFFICIENT_SIZE: c_uint = 7;
/// Processes that a list has room for at first, and at most.
const PLACES: usize = 64;
const MOST_PLACES: usize = 1 << 16;
/// NVML does not know how much the process holds.
const NOT_AVAILABLE: c_ulonglong = c_ulonglong::MAX;

/// Names of a list's calls, the newer one first.
pub(super) struct Names {
    v2: &'static CStr,
    v1: &'static CStr,
}

/// Names of the calls that list processes which compute.
pub(super) const COMPUTE: Names =
    Names { v2: c"nvmlDeviceGetComputeRunningProcesses_v2", v1: c"nvmlDeviceGetComputeRunningProcesses" };
/// Clients of MPS servers.
pub(super) const MPS: Names =
    Names { v2: c"nvmlDeviceGetMPSComputeRunningProcesses_v2", v1: c"nvmlDeviceGetMPSComputeRunningProcesses" };

/// Device memory in bytes.
pub(super) struct Memory {
    pub total: u64,
    pub used: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct MemoryV1 {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ProcessV1 {
    pid: c_uint,
    used: c_ulonglong,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ProcessV2 {
    pid: c_uint,
    used: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

/// Memory of the device; `None`: the library has no such call.
pub(super) fn memory(device: &Device<'_>, library: &str) -> Option<Result<Memory, Failure>> {
    type Call = unsafe extern "C" fn(*mut c_void, *mut MemoryV1) -> c_uint;
    let open = LegacyLibrary::of(library)?;
    let symbol = open.symbol(c"nvmlDeviceGetMemoryInfo")?;
    // SAFETY: the call has had this form since it is there.
    let call: Call = unsafe { std::mem::transmute(symbol) };
    let mut memory = MemoryV1::default();
    // SAFETY: the device lives as long as its library; the call writes one MemoryV1.
    let code = unsafe { call(device.handle().cast(), &raw mut memory) };
    Some(result(code).map(|()| Memory { total: memory.total, used: memory.used }))
}

/// Processes on the device; `None`: the library has no such call.
pub(super) fn processes(device: &Device<'_>, library: &str, names: Names) -> Option<Result<Vec<GpuProcess>, Failure>> {
    let open = LegacyLibrary::of(library)?;
    if let Some(symbol) = open.symbol(names.v2) {
        let listed = list::<ProcessV2>(device, symbol);
        return Some(listed.map(|all| all.iter().map(|one| process(one.pid, one.used)).collect()));
    }
    let listed = list::<ProcessV1>(device, open.symbol(names.v1)?);
    Some(listed.map(|all| all.iter().map(|one| process(one.pid, one.used)).collect()))
}

fn list<P: Clone + Default>(device: &Device<'_>, symbol: *mut c_void) -> Result<Vec<P>, Failure> {
    // SAFETY: every call of these names has this form, with the structure that belongs to its version.
    let call: unsafe extern "C" fn(*mut c_void, *mut c_uint, *mut P) -> c_uint = unsafe { std::mem::transmute(symbol) };
    let mut places = PLACES;
    loop {
        let mut found = vec![P::default(); places];
        let mut count = places as c_uint;
        // SAFETY: there are `count` places; the device lives as long as its library.
        let code = unsafe { call(device.handle().cast(), &raw mut count, found.as_mut_ptr()) };
        if code == INSUFFICIENT_SIZE && places < MOST_PLACES {
            places *= 2;
            continue;
        }
        result(code)?;
        found.truncate(count as usize);
        return Ok(found);
    }
}

fn process(pid: u32, used: c_ulonglong) -> GpuProcess {
    GpuProcess { pid, memory: (used != NOT_AVAILABLE).then_some(used) }
}

fn result(code: c_uint) -> Result<(), Failure> {
    if code == SUCCESS { Ok(()) } else { Err(Failure::from(code)) }
}

/// The library once more, as long as this lives.
struct LegacyLibrary(*mut c_void);

impl LegacyLibrary {
    /// Only if it is loaded already.
    fn of(library: &str) -> Option<LegacyLibrary> {
        let path = CString::new(library).ok()?;
        // SAFETY: a C string; RTLD_NOLOAD runs no code of the library.
        let handle = unsafe { nix::libc::dlopen(path.as_ptr(), nix::libc::RTLD_NOW | nix::libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(LegacyLibrary(handle))
    }

    fn symbol(&self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: an open library and a C string.
        let symbol = unsafe { nix::libc::dlsym(self.0, name.as_ptr()) };
        (!symbol.is_null()).then_some(symbol)
    }
}

impl Drop for LegacyLibrary {
    fn drop(&mut self) {
        // SAFETY: opened by `of`, closed once.
        unsafe { nix::libc::dlclose(self.0) };
    }
}
