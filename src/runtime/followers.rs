//! What is followed for as long as its group or GPU is supervised: outputs of daemons and engines, Xid
//! events. It comes to the core loop by itself, as reports.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use super::outputs::Outputs;
use crate::host::follow::{self, Length, Start};
use crate::model::{
    DomainId, GpuUuid, GroupLaunch, Member, Moment, Observation, Report, Source, SourceScope, SourceState,
};
use crate::observe::daemon_log::DaemonLog;
use crate::observe::gpus;
use crate::observe::gpus::{Gpus, XidFollower};

/// Pause after a log could not be followed. What is written meanwhile to a file that comes is read once it is.
const FOLLOWED_AGAIN: Duration = Duration::from_secs(1);
/// Logs of a control daemon that others run: it writes to them by itself.
const LOGS_OF_OTHERS: [&str; 2] = ["control.log", "server.log"];
/// The log of one of ours: its output.
const LOG_OF_OURS: [&str; 1] = ["daemon.log"];

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

/// The followed logs of a daemon; their tasks end with it.
struct Log(Vec<AbortHandle>);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
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
            for gpu in launch.gpus.iter().filter(|gpu| !self.xids.contains_key(*gpu)).cloned().collect::<Vec<_>>() {
                let follower = gpus::follow_xids(self.driver.clone(), gpu.clone(), self.reports.clone())?;
                self.xids.insert(gpu, follower);
            }
            let reports = &self.reports;
            self.logs.entry(launch.domain.clone()).or_insert_with(|| follow_logs(launch, reports));
            self.engines.take_up(launch, reports)?;
        }
        Ok(())
    }

    /// Ends what belongs to none of these groups.
    pub(super) fn keep(&mut self, launches: &[GroupLaunch]) {
        self.logs.retain(|domain, _| launches.iter().any(|launch| launch.domain == *domain));
        self.engines.keep(launches);
        self.xids.retain(|gpu, _| launches.iter().any(|launch| launch.gpus.contains(gpu)));
    }
}

impl Engines {
    fn take_up(&mut self, launch: &GroupLaunch, reports: &UnboundedSender<Report>) -> io::Result<()> {
        let outputs = match &mut self.outputs {
            Some(outputs) => outputs,
            none => none.insert(Outputs::start(reports.clone())?),
        };
        // What others run writes where they want it.
        for engine in launch.engines.iter().filter(|engine| engine.found.is_none()) {
            if self.followed.insert(engine.member.clone()) {
                let path = launch.outputs.join(format!("{}.log", engine.member.engine));
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

fn follow_logs(launch: &GroupLaunch, reports: &UnboundedSender<Report>) -> Log {
    let (names, length): (&[&str], Length) = match launch.control.custody.is_others() {
        true => (&LOGS_OF_OTHERS, Length::OfOthers(follow::DEFAULT_LIMIT)),
        false => (&LOG_OF_OURS, Length::Truncated(follow::DEFAULT_LIMIT)),
    };
    let unread = Unread::of(names.len());
    let tasks = names.iter().enumerate().map(|(index, name)| {
        let path = launch.control.log_directory.join(name);
        log(launch.domain.clone(), (path, length), (unread.clone(), index), reports.clone())
    });
    Log(tasks.collect())
}

/// Which logs of one daemon are not read: it is heard while all of them are.
#[derive(Clone)]
struct Unread(Rc<RefCell<Vec<bool>>>);

impl Unread {
    fn of(count: usize) -> Self {
        Unread(Rc::new(RefCell::new(vec![true; count])))
    }

    /// Notes whether a log is read; whether all are then.
    fn note(&self, index: usize, unread: bool) -> bool {
        let mut all = self.0.borrow_mut();
        all[index] = unread;
        !all.contains(&true)
    }
}

/// One log, one task, with the core: a server's fatal line waits for nothing. Where it can't be followed the daemon's
/// answers, the pidfds and NVML still show it; it is a blind source then, and tried again.
fn log(
    domain: DomainId,
    (path, length): (PathBuf, Length),
    (unread, index): (Unread, usize),
    reports: UnboundedSender<Report>,
) -> AbortHandle {
    let task = spawn_local(async move {
        // The receiver is gone only when the watchdog ends.
        let report = |observation| drop(reports.send(Report::Observed(observation)));
        let mut known = DaemonLog::of(domain.clone());
        let mut on_line = |line: &str, read_at: Moment| known.line(line, read_at).into_iter().for_each(&report);
        let heard = || {
            if unread.note(index, false) {
                report(Observation::Heard { scope: SourceScope::of_domain(Source::Log, &domain) });
            }
        };
        // What was written before is of no interest; all of a file whose directory comes later is.
        let mut start = Start::End;
        loop {
            let error = follow::follow(&path, start, length, heard, &mut on_line).await;
            unread.note(index, true);
            start = if error.kind() == io::ErrorKind::NotFound { Start::Beginning } else { Start::End };
            report(unfollowed(&domain, &path, &error));
            sleep(FOLLOWED_AGAIN).await;
        }
    });
    task.abort_handle()
}

fn unfollowed(domain: &DomainId, path: &Path, error: &io::Error) -> Observation {
    let why = format!("{} can't be followed: {error}", path.display());
    Observation::Blind { scope: SourceScope::of_domain(Source::Log, domain), state: SourceState::NotAsked, why }
}
