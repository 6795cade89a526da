//! Reads GPUs through NVIDIA's management library. Changes nothing on them and decides nothing.
//! Every call may block for as long as the driver does: callers give it a thread of its own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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
pub use super::nvml_error::NvmlError;
use super::nvml_error::{failed, is_missing, is_of_the_gpu, not_found};
use super::nvml_legacy::{self as legacy, Memory};
use super::nvml_session::Session;
use crate::model::gpu::{ComputeMode, RecoveryAction};
use crate::model::{GpuActivity, GpuIdentity, GpuProcess, GpuReading, GpuUuid};

/// How often a list is fetched anew when processes came between its count and its content.
const LIST_ATTEMPTS: usize = 8;

/// Upper bound for the driver to answer at first: it loads for seconds where no persistence daemon keeps it.
pub const START_BOUND: Duration = Duration::from_secs(30);

/// How long one wait for an event lasts before the follower is asked whether to go on.
const EVENT_WAIT_MS: u32 = 1000;

/// The number that NVML has for an Xid it does not know.
const XID_UNKNOWN: u32 = 999;

/// The library. Clones share it. It is closed while a GPU is to be reset, and opened anew after a GPU was lost.
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
            let opened = Driver::open(&library).map(|driver| (driver.clone(), driver.identities_within(within / 2)));
            // The asker may have given up; nothing else wants it.
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

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.session.opened().is_some()
    }

    /// Closes it until the next reading, and waits until nobody uses it any more, for so long at most. Whether that is
    /// so. May block.
    pub fn let_go(&self, within: Duration) -> bool {
        self.gpm.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.session.let_go();
        self.session.is_dropped(within)
    }

    /// Every GPU that can be read, by index; none while it is closed. One that can't, or that hangs the driver for so long, is left out and
    /// logged: the others work on. A thread that hangs in the driver is left behind.
    pub fn identities_within(&self, within: Duration) -> Vec<GpuIdentity> {
        // Not opened for this: who let go of the driver, or waits for a reset, must not be undone.
        let Some(nvml) = self.session.opened() else { return Vec::new() };
        let count = nvml.device_count().unwrap_or_else(|error| {
            tracing::warn!(%error, "NVML cannot count the GPUs");
            0
        });
        let version = nvml.sys_driver_version().ok();
        let (answer, answers) = mpsc::channel();
        for index in 0..count {
            let (nvml, version, answer) = (nvml.clone(), version.clone(), answer.clone());
            let read = move || {
                // The asker may have given up.
                let _ = answer.send((index, identity(&nvml, index, version.as_deref())));
            };
            if let Err(error) = thread::Builder::new().name("nvml-identity".into()).spawn(read) {
                tracing::warn!(index, %error, "no thread to identify a GPU on");
            }
        }
        drop(answer);
        let deadline = Instant::now() + within;
        let mut found = BTreeMap::new();
        while let Ok((index, read)) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            found.insert(index, read);
        }
        for index in (0..count).filter(|index| !found.contains_key(index)) {
            tracing::warn!(index, "NVML does not answer for a GPU within {within:?}: the driver hangs on it");
        }
        found.into_values().flatten().collect()
    }

    /// Reads one GPU. A figure that this GPU or driver does not have is `None`; it fails where nothing can be read, and
    /// where the GPU is lost or needs a reset. Where a person is to reset it, the library is closed until the next
    /// reading: a reset wants no process on it, not even this.
    pub fn read(&self, gpu: &GpuUuid) -> Result<GpuReading, NvmlError> {
        let nvml = self.session.nvml()?;
        let reading = self.read_with(&nvml, gpu);
        let to_be_reset = match &reading {
            Ok(reading) => wants_reset(reading),
            Err(error) => matches!(error, NvmlError::ResetNeeded { .. }),
        };
        if to_be_reset {
            self.session.let_go();
        }
        if to_be_reset || reading.is_err() && self.session.renew() {
            self.gpm.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        reading
    }

    /// The same with a bound; `None`: no answer. A thread that hangs in the driver is left behind.
    pub fn read_within(&self, gpu: &GpuUuid, within: Duration) -> Option<Result<GpuReading, NvmlError>> {
        let (answer, answered) = mpsc::sync_channel(1);
        let (driver, gpu) = (self.clone(), gpu.clone());
        let read = move || {
            // The asker may have given up.
            let _ = answer.send(driver.read(&gpu));
        };
        thread::Builder::new().name("nvml-ask".into()).spawn(read).ok()?;
        answered.recv_timeout(within).ok()
    }

    fn read_with(&self, nvml: &Arc<Nvml>, gpu: &GpuUuid) -> Result<GpuReading, NvmlError> {
        let device = device(nvml, gpu)?;
        let mut figures = Figures::of(gpu);
        let memory = figures.take("read the memory", memory(&device, self.session.library()))?;
        let compute = figures.take("list the compute processes", compute_processes(&device, self.session.library()))?;
        let mps = figures.take("list the MPS clients", mps_processes(&device, self.session.library()))?;
        let busy = figures.take("read the utilization", device.utilization_rates())?;
        let recovery_action = figures.take("read the recovery action", recovery_action(&device))?.flatten();
        figures.some_were_read()?;
        Ok(GpuReading {
            activity: self.activity(nvml, gpu),
            memory_used: memory.as_ref().map(|memory| memory.used),
            memory_total: memory.as_ref().map(|memory| memory.total),
            busy: busy.map(|rates| f64::from(rates.gpu) / 100.0),
            compute,
            mps,
            recovery_action,
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
        // Not opened for this: a follower must not hold a GPU that is to be reset.
        let nvml = self.session.opened().ok_or(NvmlError::LetGo)?;
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
                return Err(NvmlError::LetGo);
            }
        }
    }
}

/// Finds a GPU by its UUID each time: indexes move when a GPU falls off the bus. By its index only where the UUID is
/// not known.
fn device<'a>(nvml: &'a Nvml, gpu: &GpuUuid) -> Result<Device<'a>, NvmlError> {
    let device = match gpu.as_index() {
        Some(index) => nvml.device_by_index(index),
        None => nvml.device_by_uuid(gpu.as_str()),
    };
    device.map_err(not_found(gpu))
}

fn identity(nvml: &Nvml, index: u32, driver_version: Option<&str>) -> Option<GpuIdentity> {
    let read = nvml.device_by_index(index).and_then(|device| identity_of(&device, index, driver_version));
    read.inspect_err(|error| tracing::warn!(index, %error, "NVML cannot identify a GPU")).ok()
}

fn wants_reset(reading: &GpuReading) -> bool {
    use RecoveryAction::{BusReset, DrainAndReset, GpuReset};
    matches!(reading.recovery_action, Some(GpuReset | DrainAndReset | BusReset))
}

/// A GPU is known by its UUID; what else NVML does not say of it is unknown.
fn identity_of(device: &Device<'_>, index: u32, driver_version: Option<&str>) -> Result<GpuIdentity, Failure> {
    Ok(GpuIdentity {
        uuid: device.uuid()?.into(),
        index: Some(index),
        pci_bus_id: device.pci_info().ok().map(|pci| pci.bus_id),
        name: device.name().ok(),
        memory_total: device.memory_info().ok().map(|memory| memory.total),
        compute_mode: device.compute_mode().map_or(ComputeMode::Unknown, compute_mode),
        driver_version: driver_version.map(ToOwned::to_owned),
        absent: false,
    })
}

/// What was read of a GPU in one go: each call that fails takes away its own figure.
struct Figures<'a> {
    gpu: &'a GpuUuid,
    some: bool,
    /// The first failure that is not permanent.
    failure: Option<NvmlError>,
}

impl<'a> Figures<'a> {
    fn of(gpu: &'a GpuUuid) -> Self {
        Figures { gpu, some: false, failure: None }
    }

    /// The figure, where there is one; fails where the answer is a fact about the GPU.
    fn take<T>(&mut self, call: &'static str, answer: Result<T, Failure>) -> Result<Option<T>, NvmlError> {
        match answer {
            Ok(figure) => {
                self.some = true;
                Ok(Some(figure))
            }
            Err(error) if is_of_the_gpu(&error) => Err(failed(self.gpu, call)(error)),
            Err(error) => {
                let passing = !is_missing(&error);
                let error = failed(self.gpu, call)(error);
                self.failure = self.failure.take().or(passing.then_some(error));
                Ok(None)
            }
        }
    }

    /// Where every call failed the GPU was not read.
    fn some_were_read(self) -> Result<(), NvmlError> {
        match self.failure {
            Some(failure) if !self.some => Err(failure),
            _ => Ok(()),
        }
    }
}

fn memory(device: &Device<'_>, library: &str) -> Result<Memory, Failure> {
    match device.memory_info() {
        Ok(memory) => Ok(Memory { used: memory.used, total: memory.total }),
        Err(error) if is_missing(&error) => legacy::memory(device, library).unwrap_or(Err(error)),
        Err(error) => Err(error),
    }
}

fn compute_processes(device: &Device<'_>, library: &str) -> Result<Vec<GpuProcess>, Failure> {
    match list(|| device.running_compute_processes()) {
        Err(error) if is_missing(&error) => legacy::processes(device, library, legacy::COMPUTE).unwrap_or(Err(error)),
        listed => listed,
    }
}

fn mps_processes(device: &Device<'_>, library: &str) -> Result<Vec<GpuProcess>, Failure> {
    match list(|| device.mps_running_compute_processes()) {
        Err(error) if is_missing(&error) => legacy::processes(device, library, legacy::MPS).unwrap_or(Err(error)),
        listed => listed,
    }
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

/// `None` where the driver has no such field.
fn recovery_action(device: &Device<'_>) -> Result<Option<RecoveryAction>, Failure> {
    let samples = device.field_values_for(&[FieldId(NVML_FI_DEV_GET_GPU_RECOVERY_ACTION)])?;
    let value = samples.into_iter().next().map(|sample| sample.and_then(|sample| sample.value));
    match value {
        Some(Err(error)) if is_of_the_gpu(&error) => Err(error),
        Some(Ok(value)) => Ok(Some(recovery_action_of(&value))),
        Some(Err(_)) | None => Ok(None),
    }
}

fn recovery_action_of(value: &SampleValue) -> RecoveryAction {
    match value {
        SampleValue::U32(number) => RecoveryAction::of_number((*number).into()),
        SampleValue::U64(number) => RecoveryAction::of_number(*number),
        SampleValue::F64(_) | SampleValue::I64(_) => RecoveryAction::NotUnderstood,
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
    fn a_recovery_action_of_a_later_driver_is_not_understood() {
        assert_eq!(recovery_action_of(&SampleValue::U32(0)), RecoveryAction::None);
        assert_eq!(recovery_action_of(&SampleValue::U64(1)), RecoveryAction::GpuReset);
        assert_eq!(recovery_action_of(&SampleValue::U32(77)), RecoveryAction::NotUnderstood);
    }
}
