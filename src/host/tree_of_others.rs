//! The tree of an engine that others started: what its bounds hold, and where it ends and the next one begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clock;
use super::pidfd::Pidfd;
use super::procfs::{Stat, ticks_since_boot};
use crate::model::{Bounds, Moment, ProcessId};

/// The tree of an engine that others started.
#[derive(Debug)]
pub(super) struct TreeOfOthers {
    bounds: Bounds,
    main: Arc<Pidfd>,
    /// Clock ticks since boot at which its main process was seen gone. What starts within the same bounds after that is the
    /// next one's: its supervisor may start it at once.
    over: Option<u64>,
}

impl TreeOfOthers {
    /// What these bounds hold, with this main process.
    pub(super) fn new(bounds: Bounds, main: Arc<Pidfd>) -> Self {
        TreeOfOthers { bounds, main, over: None }
    }

    /// What holds it together.
    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Notes the end of its main process.
    pub(super) fn note_the_end(&mut self) {
        if self.over.is_none() && self.main.is_gone() {
            self.over = Some(ticks_since_boot(clock::now().since(Moment::ZERO)));
        }
    }

    /// Whether a process within its bounds is of this tree, and not of the one that came after it. `members`: those that are
    /// known of it.
    pub(super) fn has<'a>(&self, stat: &Stat, members: impl IntoIterator<Item = &'a ProcessId>) -> bool {
        let before = self.over.is_none_or(|over| stat.id.started_at < over);
        before || members.into_iter().any(|member| *member == stat.id || member.pid == stat.parent)
    }
}

/// A process with its descendants, and what is in its session where it leads one.
pub(super) fn below(all: &[Stat], main: ProcessId) -> Vec<Stat> {
    let leads = all.iter().any(|stat| stat.id == main && stat.session == main.pid);
    let first = |stat: &&Stat| stat.id == main || leads && stat.session == main.pid;
    let mut found: BTreeMap<u32, Stat> = all.iter().filter(first).map(|stat| (stat.id.pid, *stat)).collect();
    loop {
        let new = |stat: &&Stat| found.contains_key(&stat.parent) && !found.contains_key(&stat.id.pid);
        let new: Vec<Stat> = all.iter().filter(new).copied().collect();
        if new.is_empty() {
            return found.into_values().collect();
        }
        found.extend(new.into_iter().map(|stat| (stat.id.pid, stat)));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use super::super::child::{Launch, start};
    use super::super::procfs::{Procfs, Taken};
    use super::*;

    fn stat(pid: u32, parent: u32, session: u32) -> Stat {
        let id = ProcessId { pid, started_at: 1 };
        Stat { id, state: 'S', parent, group: session, session, threads: 1, taken: Taken::default() }
    }

    #[test]
    fn a_tree_is_a_process_with_all_below_it_and_its_session_where_it_leads_one() {
        let all =
            [stat(10, 1, 10), stat(11, 10, 11), stat(12, 11, 11), stat(13, 1, 10), stat(20, 1, 20), stat(21, 1, 9)];
        let pids = |main| below(&all, ProcessId { pid: main, started_at: 1 }).iter().map(|stat| stat.id.pid).collect();
        let (of_10, of_11, of_21): (Vec<u32>, Vec<u32>, Vec<u32>) = (pids(10), pids(11), pids(21));
        assert_eq!((of_10, of_11, of_21), (vec![10, 11, 12, 13], vec![11, 12], vec![21]));
        assert!(below(&all, ProcessId { pid: 10, started_at: 2 }).is_empty(), "the pid is another's now");
    }

    #[tokio::test]
    async fn what_starts_after_the_main_process_ended_is_the_next_ones() {
        let sleep = |time: &str| Launch { program: "sleep".into(), arguments: vec![time.into()], ..Launch::default() };
        let child = start(&sleep("1000")).unwrap();
        let known = child.id();
        let mut tree = TreeOfOthers::new(Bounds::Cgroup("/a".to_owned()), child.pidfd());
        let procfs = Procfs::new(Path::new("/proc"));
        tree.note_the_end();
        let next = Stat { id: ProcessId { pid: 1_000_000, started_at: u64::MAX }, ..procfs.stat(1).unwrap().unwrap() };
        assert!(tree.has(&next, [&known]), "its main process lives: what it forks is its own");
        child.pidfd().signal(nix::sys::signal::Signal::SIGKILL).unwrap();
        child.pidfd().gone().await;
        tree.note_the_end();
        assert!(!tree.has(&next, [&known]));
        let orphans = Stat { parent: known.pid, ..next };
        assert!(tree.has(&orphans, [&known]) && tree.has(&next, [&next.id]));
    }
}
