//! What may be started, group by group, and the command worker of each. A changed configuration replaces
//! it while everything runs; starts and stops nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::host::control::ControlClient;
use crate::model::{ControlLaunch, DomainId, GroupLaunch};

/// The groups. Clones share them.
#[derive(Clone, Debug)]
pub struct Launches(Arc<Mutex<BTreeMap<DomainId, Entry>>>);

#[derive(Debug)]
struct Entry {
    launch: Arc<GroupLaunch>,
    control: ControlClient,
}

impl Entry {
    fn new(launch: GroupLaunch) -> Self {
        let control = ControlClient::new(&launch.control.binary, &launch.control.pipe_directory);
        Entry { launch: Arc::new(launch), control }
    }
}

impl Launches {
    /// The launches of these groups.
    pub(super) fn new(launches: impl IntoIterator<Item = GroupLaunch>) -> Self {
        let entries = launches.into_iter().map(|launch| (launch.domain.clone(), Entry::new(launch)));
        Launches(Arc::new(Mutex::new(entries.collect())))
    }

    /// Takes up new and changed ones. Those that are not named stay, for their stop; a control daemon that
    /// runs keeps its command worker, so that two commands never go to it at once.
    pub(super) fn take_up(&self, launches: &[GroupLaunch]) {
        let mut entries = self.lock();
        for launch in launches {
            match entries.get_mut(&launch.domain) {
                Some(entry) if is_the_same(&entry.launch.control, &launch.control) => {
                    entry.launch = Arc::new(launch.clone())
                }
                _ => drop(entries.insert(launch.domain.clone(), Entry::new(launch.clone()))),
            }
        }
    }

    /// Forgets every group for which this does not hold.
    pub(super) fn retain(&self, stays: impl Fn(&DomainId) -> bool) {
        self.lock().retain(|domain, _| stays(domain));
    }

    /// What is started of a group.
    pub(super) fn launch(&self, domain: &DomainId) -> Option<Arc<GroupLaunch>> {
        self.lock().get(domain).map(|entry| entry.launch.clone())
    }

    /// The pipe directory of a group.
    pub fn pipe_directory(&self, domain: &DomainId) -> Option<PathBuf> {
        self.launch(domain).map(|launch| launch.control.pipe_directory.clone())
    }

    /// A group's command worker.
    pub fn control(&self, domain: &DomainId) -> Option<ControlClient> {
        self.lock().get(domain).map(|entry| entry.control.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DomainId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether commands go to the same daemon.
fn is_the_same(one: &ControlLaunch, other: &ControlLaunch) -> bool {
    one.binary == other.binary && one.pipe_directory == other.pipe_directory
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use super::super::testing::group;
    use super::*;

    #[test]
    fn a_changed_launch_counts_at_once_and_one_that_is_not_named_stays_until_it_is_let_go() {
        let (old, new) = (group(Path::new("/old"), &["true"]), group(Path::new("/new"), &["true"]));
        let launches = Launches::new([old.clone()]);
        let mut changed = old.clone();
        changed.engines[0].command = vec!["false".to_owned()];
        launches.take_up(&[changed.clone()]);
        assert_eq!(*launches.launch(&old.domain).unwrap(), changed);
        launches.take_up(std::slice::from_ref(&new));
        assert!(launches.control(&old.domain).is_some() && launches.control(&new.domain).is_some());
        launches.retain(|name| name == &new.domain);
        assert!(launches.launch(&old.domain).is_none() && launches.launch(&new.domain).is_some());
    }
}
