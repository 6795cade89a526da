//! A stand-in for libnvidia-ml.so.1: the C functions that mpswarden's NVML adapter calls, answered by the
//! simulated GPU. Names, structures and return codes are nvml.h's. A library of its own: std only.

#![allow(non_snake_case, clippy::missing_safety_doc)]

mod device;
mod events;
mod gpm;
mod script;
mod wire;

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

use wire::ask;

type Return = c_uint;
const SUCCESS: Return = 0;
const INVALID_ARGUMENT: Return = 2;
const NOT_SUPPORTED: Return = 3;
const NOT_FOUND: Return = 6;
const INSUFFICIENT_SIZE: Return = 7;
const DRIVER_NOT_LOADED: Return = 9;
const TIMEOUT: Return = 10;
const GPU_IS_LOST: Return = 15;
const UNKNOWN: Return = 999;

const RECOVERY_ACTION: c_uint = 230;
const VALUE_TYPE_UNSIGNED_INT: c_uint = 1;
/// The first device's handle, and the others' after it; any pointers but null would do.
const DEVICE: usize = 0x48_200;
/// Most devices that a machine has.
const MOST_DEVICES: usize = 64;

type Device = *mut c_void;

#[repr(C)]
pub struct Memory {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[repr(C)]
pub struct MemoryV2 {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

#[repr(C)]
pub struct PciInfo {
    bus_id_legacy: [c_char; 16],
    domain: c_uint,
    bus: c_uint,
    device: c_uint,
    pci_device_id: c_uint,
    pci_subsystem_id: c_uint,
    bus_id: [c_char; 32],
}

#[repr(C)]
pub struct ProcessInfo {
    pid: c_uint,
    used_gpu_memory: c_ulonglong,
    gpu_instance_id: c_uint,
    compute_instance_id: c_uint,
}

#[repr(C)]
pub struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

#[repr(C)]
pub struct FieldValue {
    field_id: c_uint,
    scope_id: c_uint,
    timestamp: i64,
    latency_micros: i64,
    value_type: c_uint,
    result: Return,
    value: c_ulonglong,
}

/// Writes through a pointer that the caller gave, unless it is null.
unsafe fn put<T>(target: *mut T, value: T) -> Return {
    if target.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: not null; by NVML's contract it points to a place for a T.
    unsafe { target.write(value) };
    SUCCESS
}

/// Writes a C string of at most `length` bytes with its end.
unsafe fn put_text(target: *mut c_char, length: c_uint, text: &str) -> Return {
    if target.is_null() {
        return INVALID_ARGUMENT;
    }
    if text.len() >= length as usize {
        return INSUFFICIENT_SIZE;
    }
    // SAFETY: not null, and `length` bytes long by NVML's contract; text and its end are shorter.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), target, text.len());
        target.add(text.len()).write(0);
    }
    SUCCESS
}

/// NVML's index of a device.
fn index_of(device: Device) -> usize {
    (device as usize).wrapping_sub(DEVICE) % MOST_DEVICES
}

/// Asks the driver about one device.
fn ask_of(device: Device, question: &str) -> Result<String, Return> {
    ask(&format!("on {} {question}", index_of(device)))
}

/// Writes the handle of a device that is not lost.
unsafe fn put_handle(target: *mut Device, index: usize) -> Return {
    let device = (DEVICE + index) as Device;
    match ask_of(device, "uuid") {
        // SAFETY: as for `put`.
        Ok(_) => unsafe { put(target, device) },
        Err(code) => code,
    }
}

fn numbers(device: Device, question: &str) -> Result<Vec<u64>, Return> {
    Ok(ask_of(device, question)?.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

/// The UUIDs of all devices, by index; an error where all of them are lost.
fn uuids() -> Result<Vec<String>, Return> {
    Ok(ask("uuids")?.split_whitespace().map(str::to_owned).collect())
}

fn memory(device: Device) -> Result<(u64, u64), Return> {
    match numbers(device, "memory")?[..] {
        [total, used] => Ok((total, used)),
        _ => Err(UNKNOWN),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> Return {
    nvmlInit_v2()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Return {
    if let Some(code) = script::answer("nvmlInit_v2") {
        return code;
    }
    match ask("uuids") {
        Ok(_) => {
            device::open();
            SUCCESS
        }
        Err(GPU_IS_LOST) => DRIVER_NOT_LOADED,
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Return {
    device::close();
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: Return) -> *const c_char {
    let text: &CStr = match code {
        SUCCESS => c"The operation was successful",
        INVALID_ARGUMENT => c"Invalid Argument",
        NOT_SUPPORTED => c"Not Supported",
        NOT_FOUND => c"Not Found",
        INSUFFICIENT_SIZE => c"Insufficient Size",
        DRIVER_NOT_LOADED => c"Driver Not Loaded",
        TIMEOUT => c"Timeout",
        GPU_IS_LOST => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> Return {
    if let Some(code) = script::answer("nvmlSystemGetDriverVersion") {
        return code;
    }
    unsafe { put_text(version, length, &script::value("driver").unwrap_or_else(|| "580.159.04".to_owned())) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) -> Return {
    if let Some(code) = script::answer("nvmlSystemGetNVMLVersion") {
        return code;
    }
    unsafe { put_text(version, length, "13.580.159.04") }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> Return {
    if let Some(code) = script::answer("nvmlSystemGetCudaDriverVersion_v2") {
        return code;
    }
    unsafe { put(version, 13_000) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetCount_v2") {
        return code;
    }
    match uuids() {
        Ok(all) => unsafe { put(count, all.len() as c_uint) },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut Device) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetHandleByIndex_v2") {
        return code;
    }
    match uuids() {
        Ok(all) if (index as usize) < all.len() => unsafe { put_handle(device, index as usize) },
        Ok(_) => INVALID_ARGUMENT,
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut Device) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetHandleByUUID") {
        return code;
    }
    if uuid.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: a C string by NVML's contract.
    let wanted = unsafe { CStr::from_ptr(uuid) };
    match uuids().map(|all| all.iter().position(|ours| wanted.to_bytes() == ours.as_bytes())) {
        Ok(Some(index)) => unsafe { put_handle(device, index) },
        Ok(None) => NOT_FOUND,
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(device: Device, uuid: *mut c_char, length: c_uint) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetUUID") {
        return code;
    }
    match ask_of(device, "uuid") {
        Ok(ours) => unsafe { put_text(uuid, length, &ours) },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetIndex(device: Device, index: *mut c_uint) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetIndex") {
        return code;
    }
    unsafe { put(index, index_of(device) as c_uint) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMinorNumber(device: Device, number: *mut c_uint) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetMinorNumber") {
        return code;
    }
    unsafe { put(number, index_of(device) as c_uint) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(_device: Device, name: *mut c_char, length: c_uint) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetName") {
        return code;
    }
    let like = script::value("name").unwrap_or_else(|| "NVIDIA H200".to_owned());
    // Whoever reads it must not take it for one: mpswarden marks by this what it shows of it.
    unsafe { put_text(name, length, &format!("{like} (simulated)")) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeMode(_device: Device, mode: *mut c_uint) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetComputeMode") {
        return code;
    }
    unsafe { put(mode, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPciInfo_v3(device: Device, info: *mut PciInfo) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetPciInfo_v3") {
        return code;
    }
    let number = index_of(device) as c_uint + 6;
    let mut pci = PciInfo {
        bus_id_legacy: [0; 16],
        domain: 0,
        bus: 0,
        device: number,
        pci_device_id: 0x2335_10de,
        pci_subsystem_id: 0x18be_10de,
        bus_id: [0; 32],
    };
    unsafe {
        put_text(pci.bus_id_legacy.as_mut_ptr(), 16, &format!("0000:00:{number:02x}.0"));
        put_text(pci.bus_id.as_mut_ptr(), 32, &format!("00000000:00:{number:02x}.0"));
        put(info, pci)
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo(device: Device, info: *mut Memory) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetMemoryInfo") {
        return code;
    }
    match memory(device) {
        Ok((total, used)) => unsafe { put(info, Memory { total, free: total - used, used }) },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: Device, info: *mut MemoryV2) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetMemoryInfo_v2") {
        return code;
    }
    let version = (size_of::<MemoryV2>() | 2 << 24) as c_uint;
    match memory(device) {
        Ok((total, used)) => unsafe { put(info, MemoryV2 { version, total, reserved: 0, free: total - used, used }) },
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(device: Device, rates: *mut Utilization) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetUtilizationRates") {
        return code;
    }
    match numbers(device, "busy") {
        Ok(busy) => {
            let gpu = busy.first().copied().unwrap_or(0) as c_uint;
            unsafe { put(rates, Utilization { gpu, memory: 0 }) }
        }
        Err(code) => code,
    }
}

/// Fills the caller's array, or says how large it must be.
unsafe fn processes(device: Device, call: &str, question: &str, count: *mut c_uint, infos: *mut ProcessInfo) -> Return {
    let answer = match ask_of(device, question) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    let others: c_uint = script::value("pids").and_then(|pids| pids.parse().ok()).unwrap_or(0);
    let parse = |word: &str| {
        let (pid, bytes) = word.split_once(':')?;
        Some((pid.parse::<c_uint>().ok()?.wrapping_add(others), bytes.parse().ok()?))
    };
    let listed = answer.split_whitespace().filter(|_| !script::is_empty(call));
    let found: Vec<(c_uint, c_ulonglong)> = listed.filter_map(parse).collect();
    if count.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: not null; NVML's contract: it holds the number of places at `infos`.
    let places = unsafe { count.replace(found.len() as c_uint) } as usize;
    if found.len() > places {
        return INSUFFICIENT_SIZE;
    }
    for (place, (pid, used_gpu_memory)) in found.into_iter().enumerate() {
        let info = ProcessInfo { pid, used_gpu_memory, gpu_instance_id: u32::MAX, compute_instance_id: u32::MAX };
        // SAFETY: place < places.
        unsafe { put(infos.add(place), info) };
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: Device,
    count: *mut c_uint,
    infos: *mut ProcessInfo,
) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetComputeRunningProcesses_v3") {
        return code;
    }
    unsafe { processes(device, "nvmlDeviceGetComputeRunningProcesses_v3", "compute", count, infos) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v2(
    device: Device,
    count: *mut c_uint,
    infos: *mut ProcessInfo,
) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetComputeRunningProcesses_v2") {
        return code;
    }
    unsafe { processes(device, "nvmlDeviceGetComputeRunningProcesses_v2", "compute", count, infos) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
    device: Device,
    count: *mut c_uint,
    infos: *mut ProcessInfo,
) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetMPSComputeRunningProcesses_v3") {
        return code;
    }
    unsafe { processes(device, "nvmlDeviceGetMPSComputeRunningProcesses_v3", "mps", count, infos) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(device: Device, count: c_int, values: *mut FieldValue) -> Return {
    if let Some(code) = script::answer("nvmlDeviceGetFieldValues") {
        return code;
    }
    if values.is_null() || count < 0 {
        return INVALID_ARGUMENT;
    }
    let told = script::value("action").and_then(|action| action.parse().ok());
    let action = match numbers(device, "action") {
        Ok(action) => told.unwrap_or(action.first().copied().unwrap_or(0)),
        Err(code) => return code,
    };
    // SAFETY: `count` fields by NVML's contract.
    for field in unsafe { std::slice::from_raw_parts_mut(values, count as usize) } {
        field.result = if field.field_id == RECOVERY_ACTION { SUCCESS } else { NOT_SUPPORTED };
        field.value_type = VALUE_TYPE_UNSIGNED_INT;
        field.value = action;
    }
    SUCCESS
}
