//! Processes that no engine owns and that are of interest: those that compute on the GPU (`foreign`) and those
//! that wait for the MPS server (`kept_out`). Here is what /proc says of them, and when it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{CommandLine, Moment, ProcessId};

use super::domain::{Domain, Phase};

/// A process that does not let its command line be read is named without it after this.
pub(super) const NAMED_WITHIN: Duration = Duration::from_secs(10);
/// So often it is asked whether one that waits is still there.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// What /proc said of pids, when it was asked last; `None`: no process of that pid is in sight.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(BTreeMap<u32, (Moment, Option<CommandLine>)>);

impl Strangers {
    /// Takes up an answer.
    pub fn saw(&mut self, asked: &[u32], found: Vec<CommandLine>, now: Moment) {
        for pid in asked {
            self.0.insert(*pid, (now, None));
        }
        for command in found {
            self.0.insert(command.process.pid, (now, Some(command)));
        }
    }

    /// The process, if it was there when it was asked for after `moment`.
    pub fn there_since(&self, pid: u32, moment: Moment) -> Option<ProcessId> {
        let (at, command) = self.0.get(&pid)?;
        command.as_ref().filter(|_| *at >= moment).map(|command| command.process)
    }

    /// Nobody of that pid was in sight when it was asked for after `moment`.
    pub fn gone_since(&self, pid: u32, moment: Moment) -> bool {
        self.0.get(&pid).is_some_and(|(at, command)| command.is_none() && *at >= moment)
    }

    /// An answer came, whatever it was.
    pub fn answered(&self, pid: u32) -> bool {
        self.0.contains_key(&pid)
    }

    /// `901 (python3 train.py)`.
    pub fn name(&self, pid: u32) -> String {
        match self.0.get(&pid) {
            Some((_, Some(command))) => format!("{pid} ({})", command.text),
            Some((_, None)) => format!("{pid} (not in sight in /proc: just ended, or of another pid namespace)"),
            None => format!("{pid} (its command line can't be read)"),
        }
    }

    fn asked_within(&self, pid: u32, time: Duration, now: Moment) -> bool {
        self.0.get(&pid).is_some_and(|(at, _)| now.since(*at) < time)
    }
}

impl Domain {
    /// /proc answered. Who waits for the server and is gone, or whose pid is another's by now, waits no more.
    pub fn strangers_seen(&mut self, asked: &[u32], found: Vec<CommandLine>, now: Moment) {
        let reused = |command: &CommandLine| {
            let was = self.strangers.0.get(&command.process.pid).and_then(|(_, was)| was.as_ref());
            was.is_some_and(|was| was.process != command.process)
        };
        let reused: BTreeSet<u32> = found.iter().filter(|one| reused(one)).map(|one| one.process.pid).collect();
        self.strangers.saw(asked, found, now);
        let strangers = &self.strangers;
        self.server.kept_out.retain(|pid, since| !reused.contains(&pid) && !strangers.gone_since(pid, since));
        self.forget_strangers();
    }

    /// What was said of pids that nobody asks about any more may be about others by the time that somebody does.
    pub fn forget_strangers(&mut self) {
        if !self.strangers.0.is_empty() {
            let of_interest: BTreeSet<u32> = self.foreign.pids().chain(self.server.kept_out.pids()).collect();
            self.strangers.0.retain(|pid, _| of_interest.contains(pid));
        }
    }

    /// The oldest last look at its engines' processes; `None`: one was never looked at. Of a group that was
    /// stopped in order all processes were proven gone.
    pub fn trees_at(&self, now: Moment) -> Option<Moment> {
        if matches!(self.phase, Phase::Stopped) && !self.left_behind {
            return Some(now);
        }
        self.engines.iter().try_fold(now, |oldest, engine| Some(oldest.min(engine.instance.tree.all.at()?)))
    }

    /// Whether somebody may be an engine's child that was born after the last look at the engines' processes.
    pub fn may_own_a_stranger(&self, now: Moment) -> bool {
        let latest = self.foreign.latest().max(self.latest_unowned());
        latest.is_some_and(|latest| self.trees_at(now).is_none_or(|at| at <= latest))
    }

    /// Whose command lines are to be read now.
    pub fn nameless(&self, now: Moment) -> Vec<u32> {
        if self.foreign.is_empty() && self.server.kept_out.is_empty() {
            return Vec::new();
        }
        let Some(trees) = self.trees_at(now) else { return Vec::new() };
        let foreign = self.foreign.pids_since().filter(|(pid, since)| {
            *since < trees && !self.strangers.answered(*pid) && now.since(*since) < NAMED_WITHIN
        });
        let owned = self.pids();
        let waiting = self.server.kept_out.pids_since().filter(|(pid, since)| {
            *since < trees && !owned.contains(pid) && !self.strangers.asked_within(*pid, ASK_AGAIN, now)
        });
        let pids: BTreeSet<u32> = foreign.chain(waiting).map(|(pid, _)| pid).collect();
        pids.into_iter().collect()
    }

    fn latest_unowned(&self) -> Option<Moment> {
        if self.server.kept_out.is_empty() {
            return None;
        }
        let owned = self.pids();
        self.server.kept_out.pids_since().filter(|(pid, _)| !owned.contains(pid)).map(|(_, since)| since).max()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    fn told() -> Strangers {
        let mut strangers = Strangers::default();
        let process = ProcessId { pid: 901, started_at: 1 };
        strangers.saw(&[901, 902], vec![CommandLine { process, text: "train".to_owned() }], at(5));
        strangers
    }

    #[test]
    fn an_answer_says_nothing_of_what_came_after_it() {
        let strangers = told();
        assert_eq!(strangers.there_since(901, at(5)).map(|process| process.pid), Some(901));
        assert_eq!((strangers.there_since(901, at(6)), strangers.gone_since(902, at(6))), (None, false));
        assert!(strangers.gone_since(902, at(5)) && !strangers.gone_since(901, at(5)));
    }

    #[test]
    fn a_process_is_named_with_what_is_known_of_it() {
        let names = [901, 902, 903].map(|pid| told().name(pid));
        assert_eq!(names[0], "901 (train)");
        assert!(names[1].contains("not in sight") && names[2].contains("can't be read"), "{names:?}");
    }
}
