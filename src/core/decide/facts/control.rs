//! What is known of a control daemon: whether it lives, and whether it answers commands.

use std::time::Duration;

use crate::model::{CommandResult, Exit, Known, Moment, ProcessId};

/// Commands in a row without an answer that are too many for chance.
const SILENT_COMMANDS: u32 = 3;
/// Shortest time between two silences that count: the looks give them 5 s apart.
const SILENT_APART: Duration = Duration::from_secs(2);

/// A control daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControlFacts {
    /// The process that was started.
    pub process: Option<ProcessId>,
    /// When it ended, until a new one is started.
    pub died: Option<(Moment, Exit)>,
    /// The watchdog is ending it: that is no fault.
    pub stopping: bool,
    /// When it last answered.
    pub answered: Known<()>,
    /// Commands in a row without an answer, and when the first of them was found so.
    pub silent: u32,
    pub silent_since: Moment,
    silent_last: Moment,
    /// When they became too many for chance: wedged, if the daemon lives.
    pub wedged_at: Option<Moment>,
    /// Time since which commands can't even be given, until one is. It says nothing of the daemon.
    pub not_asked: Option<Moment>,
}

impl ControlFacts {
    /// Whether there is none, as far as is known: not started yet, ended in order, or dead.
    pub(crate) fn is_down(&self) -> bool {
        self.process.is_none() || self.died.is_some()
    }

    /// A command ended.
    pub(crate) fn command(&mut self, result: CommandResult, now: Moment) {
        self.not_asked = (result == CommandResult::NotAsked).then(|| self.not_asked.unwrap_or(now));
        match result {
            CommandResult::Answered => {
                self.answered.saw((), now);
                self.silent = 0;
                self.wedged_at = None;
            }
            CommandResult::Refused | CommandResult::NotAsked => {}
            CommandResult::Timeout | CommandResult::Unreachable => {
                self.unanswered(now);
            }
        }
    }

    fn unanswered(&mut self, now: Moment) {
        if self.silent == 0 {
            self.silent_since = now;
        } else if now.since(self.silent_last) < SILENT_APART {
            return;
        }
        self.silent += 1;
        self.silent_last = now;
        if self.silent >= SILENT_COMMANDS {
            self.wedged_at = self.wedged_at.or(Some(now));
        }
    }

    /// A new daemon answers.
    pub(crate) fn started(&mut self, process: ProcessId, now: Moment) {
        *self = ControlFacts { process: Some(process), ..ControlFacts::default() };
        self.answered.saw((), now);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    #[test]
    fn three_commands_without_an_answer_are_too_many_and_a_burst_counts_once() {
        let mut control = ControlFacts::default();
        for millis in [0, 10, 20, 5000] {
            control.command(CommandResult::Timeout, at(millis));
        }
        assert_eq!((control.silent, control.wedged_at), (2, None));
        control.command(CommandResult::Timeout, at(10_000));
        assert_eq!(control.wedged_at, Some(at(10_000)));
        control.command(CommandResult::Answered, at(10_001));
        assert_eq!((control.silent, control.wedged_at), (0, None));
    }

    #[test]
    fn a_daemon_that_was_never_asked_is_not_silent() {
        let mut control = ControlFacts::default();
        (0..9).for_each(|n| control.command(CommandResult::NotAsked, at(n * 5000)));
        assert_eq!((control.silent, control.wedged_at, control.not_asked), (0, None, Some(at(0))));
        control.command(CommandResult::Timeout, at(50_000));
        assert_eq!((control.silent, control.not_asked), (1, None));
    }

    #[test]
    fn a_daemon_that_serves_another_caller_is_not_silent() {
        let mut control = ControlFacts::default();
        (0..9).for_each(|n| control.command(CommandResult::Refused, at(n * 5000)));
        assert_eq!(control.silent, 0);
    }
}
