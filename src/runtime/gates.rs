//! The gates of all groups: each is open as long as its group is in force.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::control::{BindError, SocketAtWork};
use crate::decide::Policy;
use crate::decide::policy::StartOrder;
use crate::gate::{self, Starts};
use crate::host::clock;
use crate::host::owners::Owners;
use crate::model::{DomainId, GroupLaunch, GroupName, Moment, Status};

/// Pause before a gate that could not be had is tried again.
const TRIED_AGAIN: Duration = Duration::from_secs(30);

/// A gate that a group is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    group: GroupName,
    starts: Starts,
    /// In a directory that others make, and make anew.
    of_others: bool,
}

/// Those that are open, by their pipe directories.
pub(super) struct Gates {
    statuses: watch::Receiver<Arc<Status>>,
    owners: Owners,
    wanted: BTreeMap<PathBuf, Wanted>,
    open: BTreeMap<PathBuf, (Wanted, SocketAtWork)>,
    /// Why one could not be had, and since when.
    failed: BTreeMap<PathBuf, (String, Moment)>,
}

impl Gates {
    /// Opens those of these groups. They answer from the latest status; the owners hear what engines call themselves.
    pub(super) fn open(
        launches: &[GroupLaunch],
        policy: &Policy,
        statuses: watch::Receiver<Arc<Status>>,
        owners: Owners,
    ) -> Gates {
        let (wanted, open, failed) = Default::default();
        let mut gates = Gates { statuses, owners, wanted, open, failed };
        gates.take_up(launches, policy);
        gates
    }

    /// Opens the gates of these groups, and closes all others. A group whose gate can't be had is watched without it.
    pub(super) fn take_up(&mut self, launches: &[GroupLaunch], policy: &Policy) {
        self.wanted.clear();
        for group in &policy.groups {
            let main = DomainId::main(&group.name);
            let launch = launches.iter().find(|launch| launch.domain == main && launch.control.gate);
            let starts = if group.recovery.start == StartOrder::Parallel { Starts::Together } else { Starts::InTurn };
            let of_others = group.custody.is_others();
            let wanted = Wanted { group: group.name.clone(), starts, of_others };
            self.wanted.extend(launch.map(|launch| (launch.control.pipe_directory.clone(), wanted)));
        }
        self.failed.clear();
        self.mend(clock::now());
    }

    /// Opens those that are wanted and not there: a daemon that others run may come later, or make its directory anew.
    pub(super) fn mend(&mut self, now: Moment) {
        let wanted = &self.wanted;
        self.open.retain(|directory, (is, gate)| wanted.get(directory) == Some(is) && gate.is_in_place());
        for (directory, wanted) in &self.wanted {
            let lately = |(_, at): &(String, Moment)| now.since(*at) < TRIED_AGAIN;
            let waits = wanted.of_others && !directory.is_dir() || self.failed.get(directory).is_some_and(lately);
            if self.open.contains_key(directory) || waits {
                continue;
            }
            let (statuses, owners) = (self.statuses.clone(), self.owners.clone());
            match gate::open(wanted.group.clone(), directory, wanted.starts, statuses, owners) {
                Ok(gate) => {
                    self.failed.remove(directory);
                    self.open.insert(directory.clone(), (wanted.clone(), gate));
                }
                Err(error) => {
                    let why = in_words(&error);
                    let before = self.failed.insert(directory.clone(), (why.clone(), now));
                    if before.is_none_or(|(before, _)| before != why) {
                        tracing::warn!("no gate of {} in {}: {why}", wanted.group, directory.display());
                    }
                }
            }
        }
    }
}

fn in_words(error: &BindError) -> String {
    match error {
        BindError::TooLong(bytes) => format!("its path would have {bytes} bytes"),
        BindError::Live(path) => format!("another process answers at {}", path.display()),
        BindError::Occupied(path) => format!("{} is there and no socket", path.display()),
        BindError::Io { source, .. } => source.to_string(),
    }
}
