//! Which processes that no engine owns are of interest: those that compute on the GPU (`foreign`) and those that wait for
//! the MPS server (`kept_out`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::domain::phase::Phase;
use crate::decide::domain::state::Domain;
use crate::decide::facts::scene::Scene;
use crate::decide::facts::strangers::NAMED_WITHIN;
use crate::model::{CommandLine, Moment};

impl Scene {
    /// /proc answered. Who waits for the server and is gone, or whose pid is another's by now, waits no more.
    pub(crate) fn strangers_seen(&mut self, asked: &[u32], found: Vec<CommandLine>, now: Moment) {
        let reused = |command: &CommandLine| {
            let was = self.around.strangers.0.get(&command.process.pid).and_then(|(_, was)| was.as_ref());
            was.is_some_and(|was| was.process != command.process)
        };
        let reused: BTreeSet<u32> = found.iter().filter(|one| reused(one)).map(|one| one.process.pid).collect();
        self.around.strangers.saw(asked, found, now);
        let strangers = &self.around.strangers;
        self.server.kept_out.retain(|pid, since| !reused.contains(&pid) && !strangers.gone_since(pid, since));
        self.forget_strangers();
    }

    /// What was said of pids that are no longer asked about may be about other processes by the time that they are
    /// again.
    pub(crate) fn forget_strangers(&mut self) {
        if !self.around.strangers.0.is_empty() {
            let of_interest: BTreeSet<u32> = self.around.foreign.pids().chain(self.server.kept_out.pids()).collect();
            self.around.strangers.0.retain(|pid, _| of_interest.contains(pid));
        }
    }

    fn latest_unowned(&self) -> Option<Moment> {
        if self.server.kept_out.is_empty() {
            return None;
        }
        let owned = self.pids();
        self.server.kept_out.pids_since().filter(|(pid, _)| !owned.contains(pid)).map(|(_, since)| since).max()
    }
}

impl Scene {
    /// The oldest last look at the engines' processes; `None`: one was never looked at.
    pub(crate) fn trees_at(&self, now: Moment) -> Option<Moment> {
        self.engines.iter().try_fold(now, |oldest, engine| Some(oldest.min(engine.instance.tree.all.at()?)))
    }
}

impl Domain {
    /// The oldest last look at its engines' processes; `None`: one was never looked at. Of a group that was
    /// stopped in order all processes were proven gone.
    pub(crate) fn trees_at(&self, now: Moment) -> Option<Moment> {
        if matches!(self.phase, Phase::Stopped) && !self.down.left_behind {
            return Some(now);
        }
        self.scene.trees_at(now)
    }

    /// Whether an unknown process may be an engine's child that was born after the last look at the engines' processes.
    pub(crate) fn may_own_a_stranger(&self, now: Moment) -> bool {
        let latest = self.scene.around.foreign.latest().max(self.scene.latest_unowned());
        latest.is_some_and(|latest| self.trees_at(now).is_none_or(|at| at <= latest))
    }

    /// Whose command lines are to be read now.
    pub(crate) fn nameless(&self, now: Moment) -> Vec<u32> {
        if self.scene.around.foreign.is_empty() && self.scene.server.kept_out.is_empty() {
            return Vec::new();
        }
        let Some(trees) = self.trees_at(now) else { return Vec::new() };
        let foreign = self.scene.around.foreign.pids_since().filter(|(pid, since)| {
            *since < trees && !self.scene.around.strangers.answered(*pid) && now.since(*since) < NAMED_WITHIN
        });
        let owned = self.scene.pids();
        let waiting = self.scene.server.kept_out.pids_since().filter(|(pid, since)| {
            *since < trees && !owned.contains(pid) && !self.scene.around.strangers.asked_within(*pid, ASK_AGAIN, now)
        });
        let pids: BTreeSet<u32> = foreign.chain(waiting).map(|(pid, _)| pid).collect();
        pids.into_iter().collect()
    }
}

/// Pause between two questions whether one that waits is still there.
const ASK_AGAIN: Duration = Duration::from_secs(10);
