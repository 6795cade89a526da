//! Where the processes of a configured engine are that others run: by its unit, its container, its cgroup, a pid file or
//! its command. What is found is proven to be the configured user's; what can't be told apart is refused. Starts, ends and
//! judges nothing.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::clock;
use super::containers::Container;
use super::owners::{Owners, cgroup_path};
use super::procfs::{Procfs, Stat};
use super::supervisor::{Plight, Supervisor, SupervisorError};
use super::systemd::Unit;
use crate::files::{self, Links};
use crate::model::{Bounds, ExternalAt, Found, Moment};
use crate::text::pattern::command_pattern;

/// The largest pid file: a pid, and what else a program may write there.
const LARGEST_PID_FILE: u64 = 4 << 10;
/// Time by which a process may seem to have started after its pid file was written: its start is known to 10 ms, and
/// file systems round.
const ROUNDED: Duration = Duration::from_secs(2);
/// Pids that are named where a command matches several.
const NAMED: usize = 4;

/// Why an engine's processes were not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// It is not there, and its supervisor is about to start it.
    #[error("{0}")]
    Starts(String),
    /// It is not there.
    #[error("{0}")]
    Absent(String),
    /// Something is there that can't be taken for it.
    #[error("{0}")]
    Refused(String),
    /// mpswarden itself could not look.
    #[error("{0}")]
    NotAsked(String),
}

/// Where engines are looked for.
#[derive(Clone, Debug)]
pub struct Externals {
    procfs: Procfs,
    owners: Owners,
}

impl Default for Externals {
    fn default() -> Self {
        Externals { procfs: Procfs::new(Path::new("/proc")), owners: Owners::default() }
    }
}

/// Who starts and ends it, where that is somebody who can be asked.
pub fn supervisor_of(at: &ExternalAt) -> Option<Supervisor> {
    match at {
        ExternalAt::SystemdUnit(unit) => Some(Supervisor::Systemd(Unit(unit.clone()))),
        ExternalAt::Container(name) => Some(Supervisor::Container(Container(name.clone()))),
        ExternalAt::Cgroup(_) | ExternalAt::PidFile(_) | ExternalAt::CommandMatches(_) => None,
    }
}

impl Externals {
    /// Finds an engine. `uid`: of the user that it runs as; `None`: whoever. Asks its supervisor, and reads /proc on a
    /// thread of its own.
    pub async fn find(&self, at: &ExternalAt, uid: Option<u32>) -> Result<Found, NotFound> {
        let plight = match supervisor_of(at) {
            Some(supervisor) => Some(supervisor.plight().await.map_err(not_asked)?),
            None => None,
        };
        let (here, at) = (self.clone(), at.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let found = match plight {
                Some(plight) => here.under_a_supervisor(plight, &at),
                None => here.by_itself(&at, uid),
            }?;
            here.check(&found, &at, uid)?;
            Ok(found)
        });
        looked.await.unwrap_or_else(|error| Err(NotFound::NotAsked(format!("the look broke off: {error}"))))
    }

    fn under_a_supervisor(&self, plight: Plight, at: &ExternalAt) -> Result<Found, NotFound> {
        let (main, cgroup) = match plight {
            Plight::Runs { main, cgroup } => (main, cgroup),
            Plight::Starts(why) | Plight::Ends(why) => return Err(NotFound::Starts(why)),
            Plight::Down(why) | Plight::Failed(why) | Plight::Unknown(why) => return Err(NotFound::Absent(why)),
        };
        let unseen = || {
            let pid = main.map_or_else(String::new, |pid| format!(", {pid}"));
            let why = "its processes can't be seen from here: run mpswarden in the pid namespace of the host (hostPID)";
            NotFound::Refused(format!("{at} runs{pid}, and {why}"))
        };
        let stat = main.map(|pid| self.procfs.stat(pid)).transpose().map_err(unreadable)?.flatten();
        let bounds = match (cgroup, &stat) {
            (Some(path), _) => Bounds::Cgroup(path),
            (None, Some(stat)) => match self.owners.of(stat.id.pid).map_err(unreadable)?.map(|owner| owner.bounds) {
                Some(Bounds::Cgroup(path)) => Bounds::Cgroup(path),
                Some(Bounds::Group { .. } | Bounds::Tree(_)) | None => Bounds::Tree(stat.id),
            },
            (None, None) => return Err(unseen()),
        };
        match stat.map(|stat| stat.id) {
            Some(main) => Ok(Found { main, bounds }),
            None => self.oldest(bounds)?.ok_or_else(unseen),
        }
    }

    fn by_itself(&self, at: &ExternalAt, uid: Option<u32>) -> Result<Found, NotFound> {
        match at {
            ExternalAt::Cgroup(path) => {
                let bounds = Bounds::Cgroup(cgroup_path(path));
                self.oldest(bounds)?.ok_or_else(|| NotFound::Absent(format!("{at} is not there, or holds no process")))
            }
            ExternalAt::PidFile(path) => {
                let main = self.by_pid_file(path, uid)?.id;
                Ok(Found { main, bounds: Bounds::Tree(main) })
            }
            ExternalAt::CommandMatches(pattern) => {
                let main = self.by_command(pattern, uid)?.id;
                Ok(Found { main, bounds: Bounds::Tree(main) })
            }
            ExternalAt::SystemdUnit(_) | ExternalAt::Container(_) => {
                Err(NotFound::NotAsked(format!("{at} is asked for elsewhere")))
            }
        }
    }

    /// The oldest process within these bounds; `None`: there is none.
    fn oldest(&self, bounds: Bounds) -> Result<Option<Found>, NotFound> {
        let members = self.owners.members(&bounds).map_err(unreadable)?;
        let main = members.into_iter().map(|stat| stat.id).min_by_key(|id| (id.started_at, id.pid));
        Ok(main.map(|main| Found { main, bounds }))
    }

    fn by_pid_file(&self, path: &Path, uid: Option<u32>) -> Result<Stat, NotFound> {
        let at = path.display();
        let written = self.written_by_the_right_one(path, uid)?;
        let bytes = files::read(path, Links::Refused, LARGEST_PID_FILE)
            .map_err(|error| NotFound::Absent(format!("pid file {at} can't be read: {error}")))?;
        let text = String::from_utf8_lossy(&bytes);
        let pid: u32 = text.split_whitespace().next().and_then(|word| word.parse().ok()).ok_or_else(|| {
            NotFound::Refused(format!("pid file {at} does not begin with a pid: let its writer write one"))
        })?;
        let stat = self.procfs.stat(pid).map_err(unreadable)?.filter(Stat::lives);
        let stat = stat.ok_or_else(|| NotFound::Absent(format!("pid file {at} is stale: process {pid} is gone")))?;
        let started = clock::wall_of(started(&stat));
        if started > written + ROUNDED {
            let why = "that started after the file was written";
            return Err(NotFound::Absent(format!("pid file {at} is stale: {pid} is another process now, {why}")));
        }
        Ok(stat)
    }

    /// When a pid file was written. It belongs to root or to that user, and nobody else may write it.
    fn written_by_the_right_one(&self, path: &Path, uid: Option<u32>) -> Result<SystemTime, NotFound> {
        let at = path.display();
        let file = files::open(path, Links::Refused)
            .map_err(|error| NotFound::Absent(format!("pid file {at} can't be read: {error}")))?;
        let there = file.metadata().map_err(unreadable)?;
        if there.uid() != 0 && Some(there.uid()) != uid {
            let cure = "it must belong to root or to the engine's `user`";
            return Err(NotFound::Refused(format!("pid file {at} belongs to user {}: {cure}", there.uid())));
        }
        if there.mode() & 0o022 != 0 {
            return Err(NotFound::Refused(format!("pid file {at} can be written by others: chmod go-w {at}")));
        }
        there.modified().map_err(unreadable)
    }

    /// The one process of that user whose command line matches, and that is below no other such process.
    fn by_command(&self, pattern: &str, uid: Option<u32>) -> Result<Stat, NotFound> {
        let regex = command_pattern(pattern)
            .map_err(|why| NotFound::Refused(format!("`{pattern}` is no regular expression: {why}")))?;
        let all = self.procfs.all().map_err(unreadable)?;
        let is_its_users = |pid: u32| uid.is_none_or(|uid| self.procfs.is_of_user(pid, uid));
        let matches = |stat: &&Stat| {
            stat.lives()
                && stat.id.pid != std::process::id()
                && self.procfs.command_line(stat.id.pid).is_some_and(|line| regex.is_match(line.as_bytes()))
                && is_its_users(stat.id.pid)
        };
        let matched: Vec<Stat> = all.iter().filter(matches).copied().collect();
        let below_another = |stat: &Stat| {
            let ancestors = ancestors(&all, stat.id.pid);
            matched.iter().any(|other| ancestors.contains(&other.id.pid))
        };
        let roots: Vec<Stat> = matched.iter().filter(|stat| !below_another(stat)).copied().collect();
        match roots.as_slice() {
            [] => Err(NotFound::Absent(format!("no process of its user has a command that matches `{pattern}`"))),
            [one] => Ok(*one),
            several => {
                let pids: Vec<String> = several.iter().take(NAMED).map(|stat| stat.id.pid.to_string()).collect();
                let (count, pids) = (several.len(), pids.join(", "));
                let cure = "write a command_matches that only one matches";
                Err(NotFound::Refused(format!("{count} processes match `{pattern}`, {pids} among them: {cure}")))
            }
        }
    }

    /// Whether what was found can be taken for the engine: it is its user's, and mpswarden is not in it.
    fn check(&self, found: &Found, at: &ExternalAt, uid: Option<u32>) -> Result<(), NotFound> {
        let pid = found.main.pid;
        if let Some(uid) = uid.filter(|uid| !self.procfs.is_of_user(pid, *uid)) {
            return Err(match self.procfs.stat(pid) {
                Ok(None) => NotFound::Absent(format!("process {pid} of {at} is gone")),
                _ => NotFound::Refused(format!("process {pid} of {at} is not of user {uid}: name the user it runs as")),
            });
        }
        let own = std::process::id();
        let holds_us = match &found.bounds {
            Bounds::Tree(main) => {
                let all = self.procfs.all().map_err(unreadable)?;
                main.pid == own || ancestors(&all, own).contains(&main.pid)
            }
            bounds @ (Bounds::Cgroup(_) | Bounds::Group { .. }) => self.owners.is_within(own, bounds),
        };
        if holds_us {
            return Err(NotFound::Refused(format!("{at} holds mpswarden itself: name what holds the engine alone")));
        }
        Ok(())
    }
}

/// The pids above a process, from its parent on.
fn ancestors(all: &[Stat], pid: u32) -> Vec<u32> {
    let parent = |pid: u32| all.iter().find(|stat| stat.id.pid == pid).map(|stat| stat.parent).filter(|pid| *pid > 0);
    // A list that was read while processes came and went may hold a circle.
    std::iter::successors(parent(pid), |above| parent(*above)).take(all.len()).collect()
}

/// When a process was started.
fn started(stat: &Stat) -> Moment {
    Moment::ZERO.after(super::procfs::since_boot(stat.id.started_at))
}

fn unreadable(error: std::io::Error) -> NotFound {
    NotFound::NotAsked(format!("/proc can't be read: {error}"))
}

fn not_asked(error: SupervisorError) -> NotFound {
    match error {
        SupervisorError::NotAsked(why) => NotFound::NotAsked(why),
        SupervisorError::Failed(why) => NotFound::Refused(why),
    }
}

#[cfg(test)]
#[path = "external_tests.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
