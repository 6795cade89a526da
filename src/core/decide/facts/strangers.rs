//! What /proc says of processes that no engine owns and that are of interest.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{CommandLine, Moment, ProcessId};

/// Time after which a process that does not let its command line be read is named without it.
pub(crate) const NAMED_WITHIN: Duration = Duration::from_secs(10);

/// What /proc said of pids, when it was asked last; `None`: no process of that pid is in sight.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers(pub(crate) BTreeMap<u32, (Moment, Option<CommandLine>)>);

impl Strangers {
    /// Takes up an answer.
    pub(crate) fn saw(&mut self, asked: &[u32], found: Vec<CommandLine>, now: Moment) {
        for pid in asked {
            self.0.insert(*pid, (now, None));
        }
        for command in found {
            self.0.insert(command.process.pid, (now, Some(command)));
        }
    }

    /// The process, if it was there when it was asked for after `moment`.
    pub(crate) fn there_since(&self, pid: u32, moment: Moment) -> Option<ProcessId> {
        let (at, command) = self.0.get(&pid)?;
        command.as_ref().filter(|_| *at >= moment).map(|command| command.process)
    }

    /// Nobody of that pid was in sight when it was asked for after `moment`.
    pub(crate) fn gone_since(&self, pid: u32, moment: Moment) -> bool {
        self.0.get(&pid).is_some_and(|(at, command)| command.is_none() && *at >= moment)
    }

    /// An answer came, whatever it was.
    pub(crate) fn answered(&self, pid: u32) -> bool {
        self.0.contains_key(&pid)
    }

    /// `901 (python3 train.py)`.
    pub(crate) fn name(&self, pid: u32) -> String {
        match self.0.get(&pid) {
            Some((_, Some(command))) => format!("{pid} ({})", command.text),
            Some((_, None)) => format!("{pid} (not in sight in /proc: just ended, or of another pid namespace)"),
            None => format!("{pid} (its command line can't be read)"),
        }
    }

    pub(crate) fn asked_within(&self, pid: u32, time: Duration, now: Moment) -> bool {
        self.0.get(&pid).is_some_and(|(at, _)| now.since(*at) < time)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(seconds))
    }

    pub(super) fn told() -> Strangers {
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
