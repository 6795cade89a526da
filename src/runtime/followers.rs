//! What is followed for as long as its group or GPU is supervised: outputs of daemons and engines, Xid
//! events. It comes to the core loop by itself, as reports.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use super::outputs::Outputs;
use crate::host::follow::{self, Start};
use crate::model::{
    DomainId, GpuUuid, GroupLaunch, Member, Moment, Observation, Report, Source, SourceScope, SourceState,
};
use crate::observe::daemon_log::DaemonLog;
use crate::observe::gpus;
use crate::observe::gpus::{Gpus, XidFollower};

/// Pause after a log could not be followed.
const FOLLOWED_AGAIN: Duration = Duration::from_secs(5);

/// All followers.
pub(super) struct Followers {
    driver: Arc<dyn Gpus>,
    reports: UnboundedSender<Report>,
    logs: BTreeMap<DomainId, Log>,
    engines: Engines,
    xids: BTreeMap<GpuUuid, XidFollower>,
}

/// The engines whose outputs are followed, and the thread that does.
#[derive(Default)]
struct Engines {
    outputs: Option<Outputs>,
    followed: BTreeSet<Member>,
}

/// One followed log of a daemon; ends with its handle.
struct Log(AbortHandle);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Followers {
    /// Nobody is followed yet.
    pub(super) fn new(driver: Arc<dyn Gpus>, reports: UnboundedSender<Report>) -> Self {
        Followers { driver, reports, logs: BTreeMap::new(), engines: Engines::default(), xids: BTreeMap::new() }
    }

    /// Follows, from now on, whatever of these groups is not followed yet; what earlier runs wrote is of no
    /// interest. Their log directories must be there. Fails only where no thread can be started.
    pub(super) fn take_up(&mut self, launches: &[GroupLaunch]) -> io::Result<()> {
        for launch in launches {
            if !self.xids.contains_key(&launch.gpu) {
                let follower = gpus::follow_xids(self.driver.clone(), launch.gpu.clone(), self.reports.clone())?;
                self.xids.insert(launch.gpu.clone(), follower);
            }
            let path = launch.control.log_directory.join("daemon.log");
            let reports = &self.reports;
            self.logs
                .entry(launch.domain.clone())
                .or_insert_with_key(|domain| log(domain.clone(), path, reports.clone()));
            self.engines.take_up(launch, reports)?;
        }
        Ok(())
    }

    /// Ends what belongs to none of these groups.
    pub(super) fn keep(&mut self, launches: &[GroupLaunch]) {
        self.logs.retain(|domain, _| launches.iter().any(|launch| launch.domain == *domain));
        self.engines.keep(launches);
        self.xids.retain(|gpu, _| launches.iter().any(|launch| launch.gpu == *gpu));
    }
}

impl Engines {
    fn take_up(&mut self, launch: &GroupLaunch, reports: &UnboundedSender<Report>) -> io::Result<()> {
        let outputs = match &mut self.outputs {
            Some(outputs) => outputs,
            none => none.insert(Outputs::start(reports.clone())?),
        };
        for engine in &launch.engines {
            if self.followed.insert(engine.member.clone()) {
                let path = launch.control.log_directory.join(format!("{}.log", engine.member.engine));
                outputs.follow(engine.member.clone(), path);
            }
        }
        Ok(())
    }

    fn keep(&mut self, launches: &[GroupLaunch]) {
        let wanted: BTreeSet<&Member> =
            launches.iter().flat_map(|launch| &launch.engines).map(|engine| &engine.member).collect();
        let Some(outputs) = &self.outputs else { return };
        self.followed.retain(|engine| {
            let kept = wanted.contains(engine);
            if !kept {
                outputs.leave(engine.clone());
            }
            kept
        });
    }
}

/// One log, one task, with the core: a server's fatal line waits for nothing. Where it can't be followed the daemon's
/// answers, the pidfds and NVML still show it; it is a blind source then, and tried again.
fn log(domain: DomainId, path: PathBuf, reports: UnboundedSender<Report>) -> Log {
    let task = spawn_local(async move {
        // The receiver is gone only when the watchdog ends.
        let report = |observation| drop(reports.send(Report::Observed(observation)));
        let mut known = DaemonLog::of(domain.clone());
        let mut on_line = |line: &str, read_at: Moment| known.line(line, read_at).into_iter().for_each(&report);
        let heard = || report(Observation::Heard { scope: SourceScope::of_domain(Source::Log, &domain) });
        loop {
            let error = follow::follow(&path, Start::End, follow::DEFAULT_LIMIT, heard, &mut on_line).await;
            report(unfollowed(&domain, &path, &error));
            sleep(FOLLOWED_AGAIN).await;
        }
    });
    Log(task.abort_handle())
}

fn unfollowed(domain: &DomainId, path: &Path, error: &io::Error) -> Observation {
    let why = format!("{} can't be followed: {error}", path.display());
    Observation::Blind { scope: SourceScope::of_domain(Source::Log, domain), state: SourceState::NotAsked, why }
}
