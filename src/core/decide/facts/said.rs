//! Error lines of one engine's output in one incarnation. A line is a word: it is kept until a fact confirms it, facts
//! refute it, or a minute has passed. What counts as such a fact is decided in `words`.
//!
//! Lines of one code that come close together are one run, so that a flood of them costs little and pushes none out.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Doubt, Moment};

/// Time after which a line that nothing decided is undecided for good.
pub(crate) const UNDECIDED_AFTER: Duration = Duration::from_secs(60);
/// Lines of one code closer together than this are one run: in a flood each code has one that goes on.
const BURST: Duration = Duration::from_secs(1);
/// Runs that are kept: with some twenty codes, the last few of each.
const MOST: usize = 64;

/// What became of a run of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// No fact has decided yet.
    Open,
    /// A fact agreed.
    Confirmed,
    /// None did.
    Doubted(Doubt),
}

/// Lines of one code in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub code: u32,
    pub first: Moment,
    pub last: Moment,
    pub standing: RunState,
    lines: u64,
    /// Clients of the server that the engine had when the first of them came.
    pub clients: Vec<u32>,
}

/// Lines that were doubted: their code, how, and how many.
pub(crate) type Doubted = (u32, Doubt, u64);

/// One incarnation's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    runs: VecDeque<Run>,
    /// Open ones that had to make room.
    forgotten: Vec<Doubted>,
}

impl Said {
    /// A line named this error. `clients`: the engine's clients of the server, as far as is known. Whether it begins a run.
    pub(crate) fn error(&mut self, code: u32, clients: impl FnOnce() -> Vec<u32>, now: Moment) -> bool {
        let same = |run: &&mut Run| run.code == code && run.standing == RunState::Open && now.since(run.last) <= BURST;
        if let Some(run) = self.runs.iter_mut().rev().find(same) {
            (run.last, run.lines) = (now, run.lines.saturating_add(1));
            return false;
        }
        self.make_room();
        let standing = RunState::Open;
        self.runs.push_back(Run { code, first: now, last: now, standing, lines: 1, clients: clients() });
        true
    }

    /// The oldest that was decided goes first; else the oldest.
    fn make_room(&mut self) {
        if self.runs.len() >= MOST {
            let decided = self.runs.iter().position(|run| run.standing != RunState::Open);
            let oldest = self.runs.remove(decided.unwrap_or(0));
            self.forgotten.extend(oldest.filter(|_| decided.is_none()).map(|mut run| run.undecided()));
        }
    }

    /// Every run that is kept, oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    /// Those that no fact has decided.
    pub(crate) fn open(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter().filter(|run| run.standing == RunState::Open)
    }

    /// A fact agrees with the open runs of which `agrees` says so.
    pub(crate) fn confirm(&mut self, agrees: impl Fn(&Run) -> bool) {
        let open = self.runs.iter_mut().filter(|run| run.standing == RunState::Open);
        open.filter(|run| agrees(run)).for_each(|run| run.standing = RunState::Confirmed);
    }

    /// Facts from `refuted(run)` on, where there are any, show that what was said before them was wrong. Of a run that goes
    /// on, the lines from then on stay open.
    pub(crate) fn refute(&mut self, refuted: impl Fn(&Run) -> Option<Moment>) -> Vec<Doubted> {
        let mut doubted = Vec::new();
        for run in self.runs.iter_mut().filter(|run| run.standing == RunState::Open) {
            let Some(from) = refuted(run).filter(|from| run.first < *from) else { continue };
            if run.last < from {
                run.standing = RunState::Doubted(Doubt::Refuted);
                doubted.push((run.code, Doubt::Refuted, run.lines));
            } else if run.lines > 1 {
                doubted.push((run.code, Doubt::Refuted, run.lines - 1));
                (run.first, run.lines) = (from, 1);
            }
        }
        doubted
    }

    /// Runs that have waited for too long.
    pub(crate) fn give_up(&mut self, now: Moment) -> Vec<Doubted> {
        let old = |run: &&mut Run| run.standing == RunState::Open && now.since(run.last) >= UNDECIDED_AFTER;
        let old: Vec<Doubted> = self.runs.iter_mut().filter(old).map(Run::undecided).collect();
        std::mem::take(&mut self.forgotten).into_iter().chain(old).collect()
    }

    /// The incarnation is over: what was not decided stays so.
    pub(crate) fn end(&mut self) -> Vec<Doubted> {
        let doubted = self.runs.iter_mut().filter(|run| run.standing == RunState::Open).map(Run::undecided).collect();
        self.runs.clear();
        doubted
    }

    /// When the next one has waited for too long.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.open().map(|run| run.last.after(UNDECIDED_AFTER)).min()
    }

    /// Whether lines came in this time that no fact has confirmed.
    pub(crate) fn is_doubtful(&self, from: Moment, to: Moment) -> bool {
        self.runs.iter().any(|run| run.standing != RunState::Confirmed && run.first <= to && run.last >= from)
    }

    /// Whether the last word of this code was refuted.
    #[cfg(test)]
    pub(crate) fn is_refuted(&self, code: u32) -> bool {
        let last = self.runs.iter().rev().find(|run| run.code == code);
        last.is_some_and(|run| run.standing == RunState::Doubted(Doubt::Refuted))
    }
}

impl Run {
    fn undecided(&mut self) -> Doubted {
        self.standing = RunState::Doubted(Doubt::Undecided);
        (self.code, Doubt::Undecided, self.lines)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    fn said(lines: &[(u64, u32)]) -> Said {
        let mut said = Said::default();
        for (millis, code) in lines {
            said.error(*code, Vec::new, at(*millis));
        }
        said
    }

    #[test]
    fn lines_of_one_code_close_together_are_one_run_and_others_are_not() {
        let said = said(&[(0, 700), (50, 700), (60, 719), (120, 700), (1400, 700)]);
        let runs: Vec<_> = said.all().map(|run| (run.code, run.first, run.last)).collect();
        assert_eq!(runs, [(700, at(0), at(120)), (719, at(60), at(60)), (700, at(1400), at(1400))]);
    }

    #[test]
    fn only_facts_from_after_a_line_refute_it() {
        let mut said = said(&[(100, 700), (500, 719)]);
        assert_eq!(said.refute(|_| Some(at(100))), []);
        assert_eq!(said.refute(|_| Some(at(300))), [(700, Doubt::Refuted, 1)]);
        assert_eq!(said.open().count(), 1);
        assert!(said.is_refuted(700) && !said.is_refuted(719));
    }

    #[test]
    fn of_a_flood_that_goes_on_only_what_came_before_the_facts_is_refuted() {
        let lines: Vec<(u64, u32)> = (0..100).map(|n| (n * 50, 700)).collect();
        let mut said = said(&lines);
        assert_eq!(said.refute(|_| Some(at(3000))), [(700, Doubt::Refuted, 99)]);
        let run = said.open().next().unwrap();
        assert_eq!((run.first, run.last), (at(3000), at(4950)));
    }

    #[test]
    fn a_real_error_behind_a_refuted_echo_is_a_run_of_its_own() {
        let mut said = said(&[(0, 700)]);
        said.refute(|_| Some(at(10)));
        assert!(said.error(700, Vec::new, at(40)));
        said.confirm(|run| run.first >= at(40));
        assert!(!said.is_refuted(700));
    }

    #[test]
    fn what_nothing_decided_is_given_up_after_a_minute_and_told_once() {
        let mut said = said(&[(0, 700)]);
        assert_eq!(said.deadline(), Some(at(60_000)));
        assert_eq!(said.give_up(at(59_999)), []);
        assert_eq!(said.give_up(at(60_000)), [(700, Doubt::Undecided, 1)]);
        assert_eq!((said.give_up(at(99_000)), said.end(), said.deadline()), (vec![], vec![], None));
    }

    #[test]
    fn a_flood_of_runs_is_bounded_and_what_was_decided_goes_first() {
        let mut said = said(&[(0, 719)]);
        (1..200).for_each(|n| {
            said.error(700, Vec::new, at(n * 1000));
            said.refute(|run| (run.code == 700).then_some(at(n * 1000 + 1)));
        });
        assert!(said.all().count() <= MOST);
        assert_eq!(said.open().map(|run| run.code).collect::<Vec<_>>(), [719]);
    }

    #[test]
    fn doubt_is_about_lines_of_a_time_that_no_fact_confirmed() {
        let mut said = said(&[(1000, 700)]);
        assert!(said.is_doubtful(at(0), at(5000)) && !said.is_doubtful(at(1001), at(5000)));
        said.confirm(|_| true);
        assert!(!said.is_doubtful(at(0), at(5000)));
    }
}
