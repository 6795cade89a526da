//! The gates of all groups: each is open as long as its group is in force.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::control::{BindError, SocketAtWork};
use crate::decide::Policy;
use crate::decide::policy::StartOrder;
use crate::gate::{self, Starts};
use crate::model::{DomainId, GroupLaunch, Status};

/// Those that are open, by their pipe directories.
pub(super) struct Gates {
    statuses: watch::Receiver<Arc<Status>>,
    open: BTreeMap<PathBuf, (Starts, SocketAtWork)>,
}

impl Gates {
    /// Opens those of these groups. They answer from the latest status.
    pub(super) fn open(launches: &[GroupLaunch], policy: &Policy, statuses: watch::Receiver<Arc<Status>>) -> Gates {
        let mut gates = Gates { statuses, open: BTreeMap::new() };
        gates.take_up(launches, policy);
        gates
    }

    /// Opens the gates of these groups, and closes all others. A group whose gate can't be had is watched without it,
    /// and so is one whose daemon others run: their directory gets nothing of ours.
    pub(super) fn take_up(&mut self, launches: &[GroupLaunch], policy: &Policy) {
        let mut wanted = BTreeMap::new();
        for group in &policy.groups {
            let main = DomainId::main(&group.name);
            let launch = launches.iter().find(|launch| launch.domain == main && !launch.control.custody.is_others());
            let starts = if group.recovery.start == StartOrder::Parallel { Starts::Together } else { Starts::InTurn };
            wanted.extend(launch.map(|launch| (launch.control.pipe_directory.clone(), (group.name.clone(), starts))));
        }
        self.open.retain(|directory, (starts, _)| wanted.get(directory).is_some_and(|(_, wanted)| wanted == starts));
        for (directory, (group, starts)) in wanted {
            if self.open.contains_key(&directory) {
                continue;
            }
            match gate::open(group.clone(), &directory, starts, self.statuses.clone()) {
                Ok(gate) => drop(self.open.insert(directory, (starts, gate))),
                Err(error) => tracing::warn!("no gate of {group} in {}: {}", directory.display(), in_words(&error)),
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
