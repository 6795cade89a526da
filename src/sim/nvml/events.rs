//! Event sets: Xids as they come. Each set is a conversation of its own with the simulated GPU.

use std::ffi::{c_uint, c_ulonglong};
use std::time::Duration;

use super::wire::Conversation;
use super::{Device, GPU_IS_LOST, INVALID_ARGUMENT, NOT_SUPPORTED, Return, SUCCESS, TIMEOUT, index_of, put, script};

const XID_CRITICAL_ERROR: c_ulonglong = 8;

#[repr(C)]
pub struct EventData {
    device: Device,
    event_type: c_ulonglong,
    event_data: c_ulonglong,
    gpu_instance_id: c_uint,
    compute_instance_id: c_uint,
}

/// An event set: a conversation that is opened when a device is registered, and that device. A second device takes the
/// first one's place.
#[derive(Default)]
pub struct EventSet(Option<(Conversation, usize)>);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetSupportedEventTypes(_device: Device, types: *mut c_ulonglong) -> Return {
    unsafe { put(types, XID_CRITICAL_ERROR) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(set: *mut *mut EventSet) -> Return {
    if let Some(code) = script::answer("nvmlEventSetCreate") {
        return code;
    }
    unsafe { put(set, Box::into_raw(Box::default())) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceRegisterEvents(device: Device, types: c_ulonglong, set: *mut EventSet) -> Return {
    if let Some(code) = script::answer("nvmlDeviceRegisterEvents") {
        return code;
    }
    if types & !XID_CRITICAL_ERROR != 0 {
        return NOT_SUPPORTED;
    }
    // SAFETY: null, or a set that was created here.
    let Some(set) = (unsafe { set.as_mut() }) else { return INVALID_ARGUMENT };
    let question = format!("on {} events", index_of(device));
    match Conversation::open().and_then(|mut conversation| conversation.ask(&question).map(|_| conversation)) {
        Ok(conversation) => {
            set.0 = Some((conversation, device as usize));
            SUCCESS
        }
        Err(_) => GPU_IS_LOST,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(set: *mut EventSet, data: *mut EventData, millis: c_uint) -> Return {
    if let Some(code) = script::answer("nvmlEventSetWait_v2") {
        return code;
    }
    // SAFETY: null, or a set that was created here.
    let Some(set) = (unsafe { set.as_mut() }) else { return INVALID_ARGUMENT };
    let limit = Duration::from_millis(u64::from(millis).max(1));
    let Some((conversation, device)) = set.0.as_mut() else {
        std::thread::sleep(limit);
        return TIMEOUT;
    };
    match conversation.listen(limit) {
        Ok(Some(line)) => {
            let xid = line.strip_prefix("xid ").and_then(|xid| xid.parse().ok()).unwrap_or(0);
            let event = EventData {
                device: *device as Device,
                event_type: XID_CRITICAL_ERROR,
                event_data: xid,
                gpu_instance_id: u32::MAX,
                compute_instance_id: u32::MAX,
            };
            unsafe { put(data, event) }
        }
        Ok(None) => TIMEOUT,
        Err(_) => GPU_IS_LOST,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetFree(set: *mut EventSet) -> Return {
    if set.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: created by nvmlEventSetCreate, freed once by NVML's contract.
    drop(unsafe { Box::from_raw(set) });
    SUCCESS
}
