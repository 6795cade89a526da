//! What is followed for as long as its group or GPU is supervised: outputs of daemons and engines, Xid
//! events. It comes to the core loop by itself, as reports.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{AbortHandle, spawn_local};

use crate::host::follow::{self, Start};
use crate::model::{EngineKey, GpuUuid, GroupLaunch, GroupName, Moment, Observation, Report};
use crate::observe::gpus::{Gpus, XidFollower};
use crate::observe::{engines, gpus, mps};

/// Whose output a file is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Writer {
    Daemon(GroupName),
    Engine(EngineKey),
}

/// All followers.
pub(super) struct Followers {
    driver: Arc<dyn Gpus>,
    reports: UnboundedSender<Report>,
    outputs: BTreeMap<Writer, Output>,
    xids: BTreeMap<GpuUuid, XidFollower>,
}

/// One followed file; ends with its handle.
struct Output(AbortHandle);

impl Drop for Output {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Followers {
    /// Nobody is followed yet.
    pub fn new(driver: Arc<dyn Gpus>, reports: UnboundedSender<Report>) -> Self {
        Followers { driver, reports, outputs: BTreeMap::new(), xids: BTreeMap::new() }
    }

    /// Follows, from now on, whatever of these groups is not followed yet; what earlier runs wrote is of no
    /// interest. Their log directories must be there. Fails only where no thread can be started.
    pub fn take_up(&mut self, launches: &[GroupLaunch]) -> io::Result<()> {
        for launch in launches {
            if !self.xids.contains_key(&launch.gpu) {
                let follower = gpus::follow_xids(self.driver.clone(), launch.gpu.clone(), self.reports.clone())?;
                self.xids.insert(launch.gpu.clone(), follower);
            }
            for writer in writers(launch) {
                let path = launch.control.log_directory.join(file_of(&writer));
                let reports = &self.reports;
                self.outputs.entry(writer).or_insert_with_key(|writer| output(writer.clone(), path, reports.clone()));
            }
        }
        Ok(())
    }

    /// Ends what belongs to none of these groups.
    pub fn keep(&mut self, launches: &[GroupLaunch]) {
        let wanted: Vec<Writer> = launches.iter().flat_map(writers).collect();
        self.outputs.retain(|writer, _| wanted.contains(writer));
        self.xids.retain(|gpu, _| launches.iter().any(|launch| launch.gpu == *gpu));
    }
}

fn writers(launch: &GroupLaunch) -> impl Iterator<Item = Writer> {
    let engines = launch.engines.iter().map(|engine| Writer::Engine(engine.key.clone()));
    std::iter::once(Writer::Daemon(launch.name.clone())).chain(engines)
}

fn file_of(writer: &Writer) -> String {
    match writer {
        Writer::Daemon(_) => "daemon.log".to_owned(),
        Writer::Engine(key) => format!("{}.log", key.engine),
    }
}

/// One file, one task. Without it the daemon's answers, the pidfds and NVML still tell; it is said once.
fn output(writer: Writer, path: PathBuf, reports: UnboundedSender<Report>) -> Output {
    let task = spawn_local(async move {
        let on_line = |line: &str, read_at: Moment| {
            if let Some(observation) = observation(&writer, line, read_at) {
                // The receiver is gone only when the watchdog ends.
                let _ = reports.send(Report::Observed(observation));
            }
        };
        let error = follow::follow(&path, Start::End, follow::DEFAULT_LIMIT, on_line).await;
        tracing::error!("{} is not followed any more: {error}", path.display());
    });
    Output(task.abort_handle())
}

fn observation(writer: &Writer, line: &str, read_at: Moment) -> Option<Observation> {
    match writer {
        Writer::Daemon(group) => mps::log_line(group, line, read_at),
        Writer::Engine(key) => engines::output_line(key, line),
    }
}
