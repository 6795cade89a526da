//! What all verbs share: the launches, the trees, the command workers, the record of what was started.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::sync::mpsc::UnboundedSender;

use super::find_control::Attached;
use super::launches::Launches;
use crate::files::{self, Holds};
use crate::host::cgroup::Cgroups;
use crate::host::child::Child;
use crate::host::control::{CommandOutcome, ControlClient};
use crate::host::leftovers::{self, Record, Recorded};
use crate::host::own_limits;
use crate::host::pidfd::Pidfd;
use crate::host::probe_place::ProbePlace;
use crate::host::supervisor::Supervisor;
use crate::host::trees::Trees;
use crate::model::{
    ActionId, DomainId, EngineLaunch, EngineName, GroupLaunch, Member, Observation, Outcome, Owner, Report,
};

/// Whose the started processes are: they carry it in their environment.
#[derive(Clone, Debug)]
pub struct OwnerMark {
    /// The watchdog's state directory, locked by it.
    pub state_directory: PathBuf,
}

/// A directory that can't be made ready.
#[derive(Debug, thiserror::Error)]
#[error("can't use {what} `{path}`: {error}{cure}")]
pub struct PrepareError {
    /// Which one, in the configuration's words.
    pub what: &'static str,
    /// File or directory that could not be prepared.
    pub path: PathBuf,
    /// The system's reason.
    #[source]
    pub error: io::Error,
    cure: &'static str,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub owner: OwnerMark,
    pub probe: ProbePlace,
    pub trees: Trees,
    pub cgroups: Result<Cgroups, String>,
    pub launches: Launches,
    running: Mutex<Running>,
    reports: UnboundedSender<Report>,
}

/// What runs of the groups beside their engines, and all that was started.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub daemons: BTreeMap<DomainId, Arc<Pidfd>>,
    pub servers: BTreeMap<DomainId, Arc<Pidfd>>,
    /// Control daemons that others run.
    pub attached: BTreeMap<DomainId, Attached>,
    record: Record,
    /// Starts that wait for their environment file.
    begun: BTreeMap<Member, ActionId>,
    /// Engines of others whose start is asked for: set where they are to end instead.
    asked: BTreeMap<Member, Arc<AtomicBool>>,
    /// Who runs the control daemons of others, as they were last found.
    pub supervisors: BTreeMap<DomainId, Supervisor>,
}

impl Shared {
    pub(super) fn new(
        launches: Vec<GroupLaunch>,
        owner: OwnerMark,
        reports: UnboundedSender<Report>,
        cgroups: Result<Cgroups, String>,
    ) -> Result<Shared, PrepareError> {
        make_directory("state_directory", &owner.state_directory, 0o700, Holds::Files)?;
        let owner = OwnerMark { state_directory: leftovers::mark_of(&owner.state_directory) };
        launches.iter().try_for_each(make_directories)?;
        Ok(Shared {
            trees: Trees::new(engines_of(&launches)),
            cgroups,
            running: Mutex::default(),
            probe: ProbePlace::of(&owner.state_directory),
            owner,
            launches: Launches::new(launches),
            reports,
        })
    }

    /// The end of an order. Nobody listens any more only when the watchdog ends.
    pub(super) fn finish(&self, id: ActionId, outcome: Outcome) {
        let _ = self.reports.send(Report::Finished(id, outcome));
    }

    /// The start of an engine waits for its file; no other of it does any more.
    pub(super) fn begin(&self, engine: &Member, id: ActionId) {
        self.running().begun.insert(engine.clone(), id);
    }

    /// Whether a start that waited is still to be made.
    pub(super) fn is_begun(&self, engine: &Member, id: ActionId) -> bool {
        let mut running = self.running();
        let same = running.begun.get(engine) == Some(&id);
        if same {
            running.begun.remove(engine);
        }
        same
    }

    /// An engine of others is asked for from now on. What is given is set once it is to end instead.
    pub(super) fn ask_for(&self, engine: &Member) -> Arc<AtomicBool> {
        let given_up = Arc::new(AtomicBool::new(false));
        self.running().asked.insert(engine.clone(), given_up.clone());
        given_up
    }

    /// Starts of these engines that still wait are not made: they are to end.
    pub(super) fn give_up(&self, domain: &DomainId, engines: &[EngineName]) {
        let ends = |key: &Member| key.domain == *domain && engines.contains(&key.engine);
        let mut running = self.running();
        running.asked.iter().filter(|(key, _)| ends(key)).for_each(|(_, asked)| asked.store(true, Ordering::Relaxed));
        let begun = std::mem::take(&mut running.begun);
        let (given_up, others): (BTreeMap<_, _>, _) = begun.into_iter().partition(|(key, _)| ends(key));
        running.begun = others;
        drop(running);
        for (key, id) in given_up {
            self.finish(id, failed(format!("engine `{key}` was to end before it was started")));
        }
    }

    pub(super) fn observed(&self, observation: Observation) {
        let _ = self.reports.send(Report::Observed(observation));
    }

    pub(super) fn launch(&self, domain: &DomainId) -> Result<Arc<GroupLaunch>, Outcome> {
        self.launches.launch(domain).ok_or_else(|| failed(format!("no group `{domain}`")))
    }

    /// Whether others run its control daemon.
    pub(super) fn has_a_control_of_others(&self, domain: &DomainId) -> bool {
        self.launch(domain).is_ok_and(|launch| launch.control.custody.is_others())
    }

    pub(super) fn engine(&self, key: &Member) -> Result<(Arc<GroupLaunch>, EngineLaunch), Outcome> {
        let group = self.launch(&key.domain)?;
        let engine = group.engines.iter().find(|engine| &engine.member == key).cloned();
        Ok((group, engine.ok_or_else(|| failed(format!("no engine `{key}`")))?))
    }

    pub(super) fn control(&self, domain: &DomainId) -> Option<ControlClient> {
        self.launches.control(domain)
    }

    /// One control command, counted as an observation.
    pub(super) async fn command(&self, domain: &DomainId, text: &str, limit: Duration) -> CommandOutcome {
        let Some(control) = self.control(domain) else {
            return CommandOutcome::NotAsked(format!("no group `{domain}`"));
        };
        let outcome = control.command(text, limit).await;
        self.observed(Observation::ControlReply { domain: domain.clone(), result: outcome.result() });
        outcome
    }

    pub(super) fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the record of what was started. One that can't be written loses nothing while the mark in
    /// the environment is there; it is no reason to leave engines down.
    pub(super) fn note(&self, owner: Owner, held: &Pidfd, cgroup: Option<PathBuf>) {
        let recorded = Recorded { owner, process: held.id, cgroup };
        if let Err(error) = self.running().record.note(&self.owner.state_directory, recorded) {
            tracing::warn!("can't record a started process in {}: {error}", self.owner.state_directory.display());
        }
    }
}

/// A started process whose end is to be reported.
pub(super) struct Watch {
    pub child: Child,
    pub owner: Owner,
}

impl Watch {
    pub(super) fn spawn(mut self, shared: &Arc<Shared>) {
        let shared = shared.clone();
        tokio::spawn(async move {
            let process = self.child.id();
            let exit = self.child.wait().await;
            shared.observed(Observation::Ended { owner: self.owner, process, exit });
        });
    }
}

pub(super) fn engines_of(launches: &[GroupLaunch]) -> impl Iterator<Item = Member> {
    launches.iter().flat_map(|group| group.engines.iter().map(|engine| engine.member.clone()))
}

pub(super) fn failed(why: impl Into<String>) -> Outcome {
    Outcome::Failed { why: why.into() }
}

/// Outcome of what the system refused: for our own sake, or for the other's.
pub(super) fn refused(error: &io::Error, why: String) -> Outcome {
    if own_limits::is_ours(error) { Outcome::NotAsked { why } } else { failed(why) }
}

/// The directories of the state and of all groups, so that what can't be had is reported before anything is ended.
pub fn prepare(state_directory: &Path, launches: &[GroupLaunch]) -> Result<(), PrepareError> {
    make_directory("state_directory", state_directory, 0o700, Holds::Files)?;
    launches.iter().try_for_each(make_directories)
}

/// The directories of a group. Engines of other users must reach the daemon's sockets.
pub(super) fn make_directories(group: &GroupLaunch) -> Result<(), PrepareError> {
    if group.control.custody.is_others() {
        return make_directory("the directory of engines' outputs", &group.outputs, 0o755, Holds::Files);
    }
    let has_users = group.engines.iter().any(|engine| engine.user.is_some());
    let pipe_mode = if has_users { 0o755 } else { 0o700 };
    make_directory("pipe_directory", &group.control.pipe_directory, pipe_mode, Holds::Sockets)?;
    make_directory("log_directory", &group.control.log_directory, 0o755, Holds::Files)
}

/// Makes a directory, if it isn't there, and sees that we may write in it. One of ours that is there gets
/// what its mode lacks: a server of another user ends at once where it can't enter the pipe directory.
fn make_directory(what: &'static str, path: &Path, mode: u32, holds: Holds) -> Result<(), PrepareError> {
    let failed = |error, cure| PrepareError { what, path: path.to_owned(), error, cure };
    files::check_directory(what, path, holds).map_err(|why| failed(why.into(), ""))?;
    let make = || {
        files::make_directory(path, mode)?;
        // Somebody may have made it, or one above it, meanwhile.
        files::check_directory(what, path, holds).map_err(io::Error::from)?;
        let there = fs::metadata(path)?;
        if there.uid() == geteuid().as_raw() && there.mode() & mode != mode {
            fs::set_permissions(path, fs::Permissions::from_mode(there.mode() & 0o7777 | mode))?;
        }
        Ok(nix::unistd::access(path, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)?)
    };
    make().map_err(|error| failed(error, "; make it writable for the watchdog's user, or name another"))
}
