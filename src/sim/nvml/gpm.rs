//! Performance monitoring (GPM): a sample is how long every SM was busy so far, and figures follow from the
//! difference of two. Which part of a GPU a kernel keeps busy is made up, and the same for all.

use std::ffi::{c_char, c_uint};
use std::time::Instant;

use super::{Device, INVALID_ARGUMENT, NOT_SUPPORTED, Return, SUCCESS, numbers, put, script};

/// Metric numbers of nvml.h, with the percentage that every SM busy all along would show.
const METRICS: [(c_uint, f64); 5] = [
    (1, 300.0), // GRAPHICS_UTIL: a third of the SMs keeps the engine busy
    (2, 100.0), // SM_UTIL
    (3, 40.0), // SM_OCCUPANCY
    (5, 27.0),  // ANY_TENSOR_UTIL
    (10, 80.0), // DRAM_BW_UTIL
];

#[repr(C)]
pub struct Support {
    version: c_uint,
    is_supported: c_uint,
}

#[repr(C)]
pub struct Metric {
    id: c_uint,
    result: Return,
    value: f64,
    short_name: *mut c_char,
    long_name: *mut c_char,
    unit: *mut c_char,
}

/// The array is longer; its length is given by `count`, and by nvml.h of the caller's version.
#[repr(C)]
pub struct MetricsGet {
    version: c_uint,
    count: c_uint,
    samples: [*const Sample; 2],
    metrics: [Metric; 1],
}

/// What was counted, once a device was asked.
#[derive(Default)]
pub struct Sample(Option<Taken>);

struct Taken {
    at: Instant,
    sm_nanos: u64,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmQueryDeviceSupport(_device: Device, support: *mut Support) -> Return {
    if let Some(code) = script::answer("nvmlGpmQueryDeviceSupport") {
        return code;
    }
    // SAFETY: null, or the caller's structure.
    let Some(support) = (unsafe { support.as_mut() }) else { return INVALID_ARGUMENT };
    support.is_supported = 1;
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleAlloc(sample: *mut *mut Sample) -> Return {
    if let Some(code) = script::answer("nvmlGpmSampleAlloc") {
        return code;
    }
    unsafe { put(sample, Box::into_raw(Box::default())) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleFree(sample: *mut Sample) -> Return {
    if sample.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: made by nvmlGpmSampleAlloc, freed once by NVML's contract.
    drop(unsafe { Box::from_raw(sample) });
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmSampleGet(device: Device, sample: *mut Sample) -> Return {
    if let Some(code) = script::answer("nvmlGpmSampleGet") {
        return code;
    }
    match numbers(device, "sm-time") {
        Ok(counted) => {
            let sm_nanos = counted.first().copied().unwrap_or(0);
            unsafe { put(sample, Sample(Some(Taken { at: Instant::now(), sm_nanos }))) }
        }
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlGpmMetricsGet(request: *mut MetricsGet) -> Return {
    if let Some(code) = script::answer("nvmlGpmMetricsGet") {
        return code;
    }
    // SAFETY: null, or the caller's structure.
    let Some(header) = (unsafe { request.as_ref() }) else { return INVALID_ARGUMENT };
    let count = header.count as usize;
    // SAFETY: null, or samples that were made here.
    let [first, second] = header.samples.map(|sample| unsafe { sample.as_ref() }.and_then(|sample| sample.0.as_ref()));
    let (Some(first), Some(second)) = (first, second) else { return INVALID_ARGUMENT };
    let span = second.at.saturating_duration_since(first.at).as_nanos() as f64;
    let busy = second.sm_nanos.saturating_sub(first.sm_nanos) as f64 / span.max(1.0);
    // SAFETY: by NVML's contract `count` metrics begin there.
    let metrics = unsafe { std::slice::from_raw_parts_mut((&raw mut (*request).metrics).cast::<Metric>(), count) };
    for metric in metrics {
        let known = METRICS.iter().find(|(id, _)| *id == metric.id);
        metric.result = if known.is_some() { SUCCESS } else { NOT_SUPPORTED };
        metric.value = known.map_or(0.0, |(_, percent)| (percent * busy).min(100.0));
    }
    SUCCESS
}
