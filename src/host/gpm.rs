//! How busy the parts of one GPU are, by NVML's performance monitoring (GPM, Hopper and later). Where that is
//! missing or fails there is no figure, and nothing else suffers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError as Failure;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::{GpmSample, Nvml};

use crate::model::{GpuActivity, GpuUuid};

/// Shortest time between two samples: GPUs are read every few milliseconds while a group restarts.
const SPAN: Duration = Duration::from_millis(900);

const METRICS: [GpmMetricId; 4] =
    [GpmMetricId::SmUtil, GpmMetricId::SmOccupancy, GpmMetricId::DramBwUtil, GpmMetricId::AnyTensorUtil];

/// One GPU's monitoring.
#[derive(Default)]
pub(super) struct Gpm {
    /// When a sample was last taken, or failed to be.
    tried: Option<Instant>,
    since: Option<Sample>,
    last: Option<GpuActivity>,
    /// Never will be there: an older GPU or driver.
    missing: bool,
    logged: bool,
}

/// A sample and the library that must outlive it; dropped in this order.
struct Sample {
    sample: GpmSample<'static>,
    nvml: Arc<Nvml>,
}

impl Gpm {
    /// The activity between the last two samples; a new one is taken if the last is old enough.
    pub(super) fn read(&mut self, nvml: &Arc<Nvml>, gpu: &GpuUuid) -> Option<GpuActivity> {
        if !self.missing && self.tried.is_none_or(|tried| tried.elapsed() >= SPAN) {
            self.tried = Some(Instant::now());
            let measured = self.measure(nvml, gpu);
            if let Err(error) = &measured {
                self.note(gpu, error);
            }
            self.last = measured.ok().flatten();
        }
        self.last
    }

    /// Activity from the last sample to now; `None`: this is the first.
    fn measure(&mut self, nvml: &Arc<Nvml>, gpu: &GpuUuid) -> Result<Option<GpuActivity>, Failure> {
        // A sample of a library that was closed since can't be compared.
        let since = self.since.take().filter(|since| Arc::ptr_eq(&since.nvml, nvml));
        let now = self.since.insert(Sample::take(nvml, gpu)?);
        since.map(|since| since.activity_until(now)).transpose()
    }

    fn note(&mut self, gpu: &GpuUuid, error: &Failure) {
        use Failure::{FailedToLoadSymbol, FunctionNotFound, NotSupported};
        self.missing = matches!(error, NotSupported | FunctionNotFound | FailedToLoadSymbol(_));
        if !self.logged {
            self.logged = true;
            tracing::debug!(%gpu, %error, "no GPM: the activity of this GPU's parts is not known");
        }
    }
}

impl Sample {
    fn take(nvml: &Arc<Nvml>, gpu: &GpuUuid) -> Result<Sample, Failure> {
        // SAFETY: the Arc that is kept beside the sample keeps the library, which has a fixed place, for
        // longer than the sample.
        let library: &'static Nvml = unsafe { &*Arc::as_ptr(nvml) };
        let device = library.device_by_uuid(gpu.as_str())?;
        if !device.gpm_support()? {
            return Err(Failure::NotSupported);
        }
        Ok(Sample { sample: device.gpm_sample()?, nvml: nvml.clone() })
    }

    fn activity_until(&self, later: &Sample) -> Result<GpuActivity, Failure> {
        let results = gpm_metrics_get(&self.nvml, &self.sample, &later.sample, &METRICS)?;
        let mut shares = results.into_iter().map(|result| share(result.ok()?.value));
        let mut next = || shares.next().flatten();
        Ok(GpuActivity { sm_active: next(), sm_occupancy: next(), dram_active: next(), tensor_active: next() })
    }
}

/// A percentage as a share; `None`: it is none.
fn share(percent: f64) -> Option<f64> {
    (percent.is_finite() && percent >= 0.0).then(|| (percent / 100.0).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_between_none_and_all() {
        assert_eq!(share(12.5), Some(0.125));
        assert_eq!(share(100.4), Some(1.0));
        assert_eq!((share(f64::NAN), share(-1.0), share(f64::INFINITY)), (None, None, None));
    }
}
