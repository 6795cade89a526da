//! Makes observations of the kernel log's Xid lines and the OOM killer's, on a thread that ends with the core loop.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use tokio::sync::mpsc::UnboundedSender;

use super::reports::Reports;
use crate::host::kernel_log::{Heard, KernelLine, KernelLog, PciAddress};
use crate::model::{Blindness, GpuIdentity, GpuUuid, Observation, Report, Source, SourceScope, XidVia};

/// Follows the kernel log at `path` from its present end. Where it can't be read or is not understood, a `Blind` of
/// kmsg says why, with the cure: Xids come by NVML then.
pub fn follow(path: &Path, gpus: &[GpuIdentity], reports: UnboundedSender<Report>) {
    let reports = Reports(reports);
    let places = gpus
        .iter()
        .filter_map(|gpu| Some((PciAddress::parse(gpu.pci_bus_id.as_deref()?)?, gpu.uuid.clone())))
        .collect();
    let started = KernelLog::open(path).map_err(|error| error.to_string()).and_then(|log| {
        let reports = reports.clone();
        let thread = thread::Builder::new().name("kmsg".into()).spawn(move || follow_open(log, places, &reports));
        thread.map_err(|error| format!("no thread to read the kernel log on: {error}"))
    });
    if let Err(why) = started {
        reports.blind(scope(), Blindness::not_asked(why));
    }
}

fn scope() -> SourceScope {
    SourceScope::whole(Source::Kmsg)
}

fn follow_open(log: KernelLog, places: Vec<(PciAddress, GpuUuid)>, reports: &Reports) {
    let our_pids = log.speaks_of_our_pids();
    if let Some(instead) = log.instead() {
        tracing::info!("the kernel log is read by {instead}, once a second: its device is not open to mpswarden");
    }
    let followed = log.follow(|heard| {
        match heard {
            Heard::Line(KernelLine::OomKill { .. }) if !our_pids => {}
            Heard::Line(line) => observe(line, &places, reports),
            Heard::Silent(why) => reports.blind(scope(), Blindness::not_asked(why)),
            Heard::NotUnderstood(why) => reports.blind(scope(), Blindness::not_understood(why)),
            Heard::Answers => reports.observed(Observation::Heard { scope: scope() }),
            Heard::Quiet => {}
        }
        if reports.closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Err(error) = followed {
        reports.blind(scope(), Blindness::silent(error.to_string()));
    }
}

fn observe(line: KernelLine, places: &[(PciAddress, GpuUuid)], reports: &Reports) {
    match line {
        KernelLine::Xid { pci, xid, pid, action } => {
            let gpu = places.iter().find(|(place, _)| *place == pci).map(|(_, uuid)| uuid.clone());
            reports.observed(Observation::Xid { gpu: gpu.clone(), xid, pid, via: XidVia::Kmsg });
            if let (Some(gpu), Some(action)) = (gpu, action) {
                reports.observed(Observation::RecoveryAction { gpu, action });
            }
        }
        KernelLine::OomKill { pid, text } => reports.observed(Observation::OomKill { pid, line: text }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::io::Write;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::model::gpu::{ComputeMode, RecoveryAction};

    fn gpu() -> GpuIdentity {
        GpuIdentity {
            uuid: "GPU-1".into(),
            index: Some(0),
            pci_bus_id: Some("00000000:00:06.0".into()),
            name: Some("NVIDIA H200".into()),
            memory_total: Some(0),
            compute_mode: ComputeMode::Default,
            driver_version: Some("580.159.04".to_owned()),
            absent: false,
        }
    }

    #[test]
    fn an_xid_of_a_known_gpu_names_it_and_of_another_does_not() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let (sender, mut reports) = unbounded_channel();
        follow(file.path(), &[gpu()], sender);
        writeln!(file, "6,1,1,-;NVRM: Xid (PCI:0000:00:06): 31, pid=635, name=client").unwrap();
        writeln!(file, "6,2,2,-;NVRM: Xid (PCI:0000:00:07): 79, GPU has fallen off the bus.").unwrap();
        writeln!(file, "3,3,3,-;Out of memory: Killed process 635 (client) total-vm:1kB").unwrap();
        let xid = |gpu, xid, pid| Report::Observed(Observation::Xid { gpu, xid, pid, via: XidVia::Kmsg });
        assert_eq!(reports.blocking_recv(), Some(xid(Some("GPU-1".into()), 31, Some(635))));
        assert_eq!(reports.blocking_recv(), Some(xid(None, 79, None)));
        let line = "Out of memory: Killed process 635 (client) total-vm:1kB".to_owned();
        assert_eq!(reports.blocking_recv(), Some(Report::Observed(Observation::OomKill { pid: 635, line })));
        let changed = "154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)";
        writeln!(file, "6,3,3,-;NVRM: Xid (PCI:0000:00:06): {changed}").unwrap();
        assert_eq!(reports.blocking_recv(), Some(xid(Some("GPU-1".into()), 154, None)));
        let (gpu, action) = ("GPU-1".into(), RecoveryAction::GpuReset);
        let announced = Report::Observed(Observation::RecoveryAction { gpu, action });
        assert_eq!(reports.blocking_recv(), Some(announced));
    }

    #[test]
    fn a_kernel_log_that_is_not_there_is_told_once_with_the_cure() {
        let (sender, mut reports) = unbounded_channel();
        follow(Path::new("/no/such/kmsg"), &[gpu()], sender);
        let Some(Report::Observed(Observation::Blind { why, .. })) = reports.blocking_recv() else {
            panic!("not blind");
        };
        assert!(why.contains("/no/such/kmsg") && why.contains("--device"), "{why}");
    }
}
