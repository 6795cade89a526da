//! Reads GPUs through NVIDIA's management library. Changes nothing on them and decides nothing.
//! Every call may block for as long as the driver does: callers give it a thread of its own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::ComputeMode as NvmlComputeMode;
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError as Failure;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;
use nvml_wrapper::{Device, Nvml};

use super::gpm::Gpm;
use super::nvml_session::Session;
use crate::model::gpu::{ComputeMode, RecoveryAction};
use crate::model::{GpuActivity, GpuIdentity, GpuProcess, GpuReading, GpuUuid};

/// How often a list is fetched anew when processes came between its count and its content.
const LIST_ATTEMPTS: usize = 8;

/// How long one wait for an event lasts before the follower is asked whether to go on.
const EVENT_WAIT_MS: u32 = 1000;

/// The number that NVML has for an Xid it does not know.
const XID_UNKNOWN: u32 = 999;

/// What went wrong with the library, the driver or a GPU, and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvmlError {
    /// The library is not there or is not NVML.
    #[error(
        "cannot load the NVML library {library}: {why}; install the NVIDIA driver, or set nvml_library to the \
         library's path; in a container, start it with the NVIDIA runtime (--gpus)"
    )]
    Library {
        /// As configured.
        library: String,
        /// The loader's words.
        why: String,
    },
    /// The library is there, the driver does not serve it.
    #[error("NVML ({library}) has no driver to talk to: {why}; see whether `nvidia-smi` works and what `dmesg` says")]
    Driver {
        /// As configured.
        library: String,
        /// NVML's words.
        why: String,
    },
    /// A call never came back.
    #[error(
        "NVML ({library}) did not answer within {within:?}: the driver hangs; look for Xids in `dmesg` and for \
         processes in state D, and reset the GPU or reboot"
    )]
    Hangs {
        /// As configured.
        library: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// A GPU is off the bus. Any other error says nothing about the GPU.
    #[error("NVML says that {gpu} is lost: {why}")]
    Lost {
        /// Which.
        gpu: GpuUuid,
        /// NVML's words.
        why: String,
    },
    /// One GPU could not be read.
    #[error("NVML cannot {call} of {gpu}: {why}")]
    Gpu {
        /// Which.
        gpu: GpuUuid,
        /// What was asked for.
        call: &'static str,
        /// NVML's words.
        why: String,
    },
}

/// The library. Clones share it. It is let go of while a GPU is to be reset, and opened anew after a GPU was lost.
#[derive(Clone)]
pub struct Driver {
    session: Arc<Session>,
    gpm: Arc<Mutex<BTreeMap<GpuUuid, Gpm>>>,
}

impl Driver {
    /// Loads `path` (a path, or a name that the loader finds) and initializes it. May block.
    pub fn open(path: &str) -> Result<Driver, NvmlError> {
        Ok(Driver { session: Arc::new(Session::open(path)?), gpm: Arc::default() })
    }

    /// `open` and `identities` with a bound: a thread that hangs in the driver is left behind.
    pub fn open_within(path: &str, within: Duration) -> Result<(Driver, Vec<GpuIdentity>), NvmlError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let library = path.to_owned();
        let opening = thread::Builder::new().name("nvml-open".into()).spawn(move || {
            let opened = Driver::open(&library).map(|driver| (driver.clone(), driver.identities()));
            // The asker may have given up; nobody else wants it.
            let _ = answer.send(opened);
        });
        let library = path.to_owned();
        if let Err(error) = opening {
            return Err(NvmlError::Library { library, why: format!("no thread to load it on: {error}") });
        }
        match answered.recv_timeout(within) {
            Ok(opened) => opened,
            Err(RecvTimeoutError::Timeout) => Err(NvmlError::Hangs { library, within }),
            Err(RecvTimeoutError::Disconnected) => Err(NvmlError::Driver { library, why: "it crashed".into() }),
        }
    }

    /// Every GPU that can be read, by index. One that can't is left out and logged: the others work on.
    pub fn identities(&self) -> Vec<GpuIdentity> {
        let nvml = match self.session.nvml() {
            Ok(nvml) => nvml,
            Err(error) => {
                tracing::warn!(%error, "NVML cannot be opened");
                return Vec::new();
            }
        };
        let count = nvml.device_count().unwrap_or_else(|error| {
            tracing::warn!(%error, "NVML cannot count the GPUs");
            0
        });
        (0..count).filter_map(|index| identity(&nvml, index)).collect()
    }

    /// Reads one GPU. Memory and both process lists make a reading; what else fails is `None`. Where a person is to
    /// reset the GPU, the library is let go of until the next reading: a reset wants nobody on it, not even this.
    pub fn read(&self, gpu: &GpuUuid) -> Result<GpuReading, NvmlError> {
        let nvml = self.session.nvml()?;
        let reading = self.read_with(&nvml, gpu);
        let let_go = match &reading {
            Ok(reading) if wants_reset(reading) => {
                self.session.let_go();
                true
            }
            Ok(_) => false,
            Err(_) => self.session.renew(),
        };
        if let_go {
            self.gpm.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        reading
    }

    fn read_with(&self, nvml: &Arc<Nvml>, gpu: &GpuUuid) -> Result<GpuReading, NvmlError> {
        let device = device(nvml, gpu)?;
        let memory = device.memory_info().map_err(failed(gpu, "read the memory"))?;
        let compute = list(|| device.running_compute_processes());
        let mps = list(|| device.mps_running_compute_processes());
        Ok(GpuReading {
            activity: self.activity(nvml, gpu),
            memory_used: memory.used,
            memory_total: memory.total,
            busy: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
            compute: compute.map_err(failed(gpu, "list the compute processes"))?,
            mps: mps.map_err(failed(gpu, "list the MPS clients"))?,
            recovery_action: recovery_action(&device),
        })
    }

    /// The lock is not held while the driver works: one GPU that hangs must not stop another's reading.
    fn activity(&self, nvml: &Arc<Nvml>, gpu: &GpuUuid) -> Option<GpuActivity> {
        let all = || self.gpm.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gpm = all().remove(gpu).unwrap_or_default();
        let activity = gpm.read(nvml, gpu);
        all().insert(gpu.clone(), gpm);
        activity
    }

    /// Calls `seen` with the number of each Xid on `gpu`, and with `None` at least once a second,
    /// until it breaks (`Ok`) or NVML fails (`Err`). Of several at once NVML tells the last.
    pub fn follow_xids(
        &self,
        gpu: &GpuUuid,
        mut seen: impl FnMut(Option<u32>) -> ControlFlow<()>,
    ) -> Result<(), NvmlError> {
        // Not opened for this: whoever follows must not hold a GPU that is to be reset.
        let nvml = self.session.opened().ok_or_else(|| let_go(gpu))?;
        let device = device(&nvml, gpu)?;
        let set = nvml.create_event_set().map_err(failed(gpu, "make an event set"))?;
        let set = device
            .register_events(EventTypes::CRITICAL_XID_ERROR, set)
            .map_err(|failure| failed(gpu, "register for Xid events")(failure.error))?;
        loop {
            let xid = match set.wait(EVENT_WAIT_MS) {
                Ok(event) => event.event_data.map(xid_number),
                Err(Failure::Timeout) => None,
                Err(error) => return Err(failed(gpu, "wait for Xid events")(error)),
            };
            if seen(xid).is_break() {
                return Ok(());
            }
            if self.session.opened().is_none_or(|opened| !Arc::ptr_eq(&opened, &nvml)) {
                return Err(let_go(gpu));
            }
        }
    }
}

/// By UUID each time: indexes move when a GPU falls off the bus.
fn device<'a>(nvml: &'a Nvml, gpu: &GpuUuid) -> Result<Device<'a>, NvmlError> {
    nvml.device_by_uuid(gpu.as_str()).map_err(failed(gpu, "find the device"))
}

fn identity(nvml: &Nvml, index: u32) -> Option<GpuIdentity> {
    let read = nvml.device_by_index(index).and_then(|device| identity_of(&device, index));
    read.inspect_err(|error| tracing::warn!(index, %error, "NVML cannot identify a GPU")).ok()
}

fn wants_reset(reading: &GpuReading) -> bool {
    matches!(reading.recovery_action, Some(RecoveryAction::GpuReset | RecoveryAction::DrainAndReset))
}

fn let_go(gpu: &GpuUuid) -> NvmlError {
    let why = "NVML was let go of, for a GPU that is lost or to be reset; it is opened again".to_owned();
    NvmlError::Gpu { gpu: gpu.clone(), call: "follow Xid events", why }
}

pub(super) fn open_error(path: &str, error: Failure) -> NvmlError {
    let (library, why) = (path.to_owned(), error.to_string());
    match error {
        Failure::LibloadingError(cause) => NvmlError::Library { library, why: cause.to_string() },
        Failure::FailedToLoadSymbol(symbol) => NvmlError::Library { library, why: symbol },
        Failure::LibraryNotFound | Failure::FunctionNotFound => NvmlError::Library { library, why },
        _ => NvmlError::Driver { library, why },
    }
}

fn failed(gpu: &GpuUuid, call: &'static str) -> impl Fn(Failure) -> NvmlError {
    move |error| match error {
        Failure::GpuLost => NvmlError::Lost { gpu: gpu.clone(), why: error.to_string() },
        _ => NvmlError::Gpu { gpu: gpu.clone(), call, why: error.to_string() },
    }
}

fn identity_of(device: &Device<'_>, index: u32) -> Result<GpuIdentity, Failure> {
    Ok(GpuIdentity {
        uuid: device.uuid()?.into(),
        index,
        pci_bus_id: device.pci_info()?.bus_id,
        name: device.name()?,
        memory_total: device.memory_info()?.total,
        compute_mode: device.compute_mode().map_or(ComputeMode::Unknown, compute_mode),
    })
}

/// Fetches a list again for as long as it grows between its count and its content.
fn list(mut fetch: impl FnMut() -> Result<Vec<ProcessInfo>, Failure>) -> Result<Vec<GpuProcess>, Failure> {
    let mut fetched = fetch();
    for _ in 1..LIST_ATTEMPTS {
        if !matches!(fetched, Err(Failure::InsufficientSize(_))) {
            break;
        }
        fetched = fetch();
    }
    Ok(fetched?.iter().map(process).collect())
}

fn process(info: &ProcessInfo) -> GpuProcess {
    let memory = match info.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    GpuProcess { pid: info.pid, memory }
}

fn recovery_action(device: &Device<'_>) -> Option<RecoveryAction> {
    let samples = device.field_values_for(&[FieldId(NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)]).ok()?;
    let sample = samples.into_iter().next()?.ok()?;
    Some(recovery_action_of(&sample.value.ok()?))
}

fn recovery_action_of(value: &SampleValue) -> RecoveryAction {
    match value {
        SampleValue::U32(number) => RecoveryAction::of_number((*number).into()),
        SampleValue::U64(number) => RecoveryAction::of_number(*number),
        _ => RecoveryAction::Unknown,
    }
}

fn compute_mode(mode: NvmlComputeMode) -> ComputeMode {
    match mode {
        NvmlComputeMode::Default => ComputeMode::Default,
        NvmlComputeMode::ExclusiveProcess => ComputeMode::ExclusiveProcess,
        NvmlComputeMode::Prohibited => ComputeMode::Prohibited,
        NvmlComputeMode::ExclusiveThread => ComputeMode::Unknown,
    }
}

fn xid_number(xid: XidError) -> u32 {
    match xid {
        XidError::Value(number) => u32::try_from(number).unwrap_or(XID_UNKNOWN),
        XidError::Unknown => XID_UNKNOWN,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn info(pid: u32, used_gpu_memory: UsedGpuMemory) -> ProcessInfo {
        ProcessInfo { pid, used_gpu_memory, gpu_instance_id: None, compute_instance_id: None }
    }

    #[test]
    fn a_library_that_is_not_there_is_named_with_the_cure() {
        let error = Driver::open("/no/such/libnvidia-ml.so.1").err().unwrap();
        assert!(matches!(error, NvmlError::Library { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("/no/such/libnvidia-ml.so.1") && text.contains("nvml_library"), "{text}");
    }

    #[test]
    fn opening_within_a_bound_tells_the_same() {
        let error = Driver::open_within("/no/such/libnvidia-ml.so.1", Duration::from_secs(60)).err().unwrap();
        assert!(matches!(error, NvmlError::Library { .. }), "{error:?}");
    }

    #[test]
    fn a_library_without_a_driver_is_told_from_a_missing_one() {
        let error = open_error("libnvidia-ml.so.1", Failure::DriverNotLoaded);
        assert!(matches!(error, NvmlError::Driver { .. }), "{error:?}");
    }

    #[test]
    fn a_list_that_grew_is_fetched_again() {
        let mut answers = vec![Ok(vec![info(7, UsedGpuMemory::Used(5))]), Err(Failure::InsufficientSize(None))];
        let listed = list(|| answers.pop().unwrap()).unwrap();
        assert_eq!(listed, [GpuProcess { pid: 7, memory: Some(5) }]);
    }

    #[test]
    fn a_list_that_grows_for_ever_is_given_up() {
        let mut fetches = 0;
        let listed = list(|| {
            fetches += 1;
            Err(Failure::InsufficientSize(None))
        });
        assert!(listed.is_err());
        assert_eq!(fetches, LIST_ATTEMPTS);
    }

    #[test]
    fn memory_that_nvml_does_not_know_is_unknown() {
        assert_eq!(process(&info(7, UsedGpuMemory::Unavailable)), GpuProcess { pid: 7, memory: None });
    }

    #[test]
    fn a_recovery_action_of_a_later_driver_is_unknown() {
        assert_eq!(recovery_action_of(&SampleValue::U32(0)), RecoveryAction::None);
        assert_eq!(recovery_action_of(&SampleValue::U64(1)), RecoveryAction::GpuReset);
        assert_eq!(recovery_action_of(&SampleValue::U32(77)), RecoveryAction::Unknown);
    }
}
