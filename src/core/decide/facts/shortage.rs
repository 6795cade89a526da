//! Word that an engine ran out of memory, in one incarnation: its output's for the device, the kernel's for the
//! host. Says whether an end is explained by it; what follows is decided elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::facts::died::Died;
use crate::model::{Exit, ExitCause, Fault, Known, Moment};

/// Time after the word of it within which an end is of it, and for which an engine that lives on is watched for its
/// end.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// CUDA's error for an allocation that failed: the caller's alone.
pub(crate) const OUT_OF_MEMORY: u32 = 2;

/// Signals that come from outside, or from an engine's front end that ends its own tree.
const FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

/// What was said, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub at: Moment,
    /// Text for people.
    pub words: String,
}

/// One engine's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shortage {
    /// An allocation of device memory failed: the last time.
    pub device: Option<Word>,
    /// It was seen at work after that: so it did not end by it, unless it says so by the way it ends.
    device_refuted: bool,
    /// NVML agreed with such a word: the last time.
    at_limit: Option<Moment>,
    /// The kernel's OOM killer took a process of it.
    pub host: Option<Word>,
    /// That process was a client of the server, and not the main one: without it the engine can't serve.
    pub took_a_client: bool,
    /// Number of processes that were taken, by its cgroup.
    pub oom_kills: Known<u64>,
    /// Its processes of late, and when they were last seen: word of an end comes after it.
    seen: BTreeMap<u32, Moment>,
}

/// A process that the OOM killer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decide) enum Victim {
    /// A client of the server, and not the engine's main process.
    Client,
    /// Another process of the engine.
    Other,
}

impl Shortage {
    /// A look at its processes.
    pub(crate) fn lives(&mut self, pids: impl Iterator<Item = u32>, now: Moment) {
        self.seen.retain(|_, at| now.since(*at) <= SOON);
        self.seen.extend(pids.map(|pid| (pid, now)));
    }

    /// Whether the process is, or was a moment ago, one of its own.
    pub(crate) fn knows(&self, pid: u32) -> bool {
        self.seen.contains_key(&pid)
    }

    /// The kernel log names a process that was taken.
    pub(crate) fn process_taken(&mut self, pid: u32, line: &str, victim: Victim, now: Moment) {
        let words = format!("the kernel's OOM killer took its process {pid} (\"{line}\")");
        self.host = Some(Word { at: now, words });
        self.took_a_client |= victim == Victim::Client;
    }

    /// The engine went on after it said that device memory ran out.
    pub(crate) fn refuted(&mut self) {
        self.device_refuted = true;
    }

    /// Its output says that an allocation of device memory failed.
    pub(crate) fn allocation_failed(&mut self, word: Word) {
        self.device = Some(word);
        self.device_refuted = false;
    }

    /// NVML shows it at its limit, beside that word.
    pub(crate) fn at_its_limit(&mut self, now: Moment) {
        self.at_limit = Some(now);
    }

    /// The word that device memory ran out, if NVML agreed with it and both are not old.
    pub(crate) fn short_of_device_memory(&self, now: Moment) -> Option<&Word> {
        let agreed = self.at_limit.is_some_and(|at| now.since(at) < SOON);
        self.device.as_ref().filter(|word| agreed && now.since(word.at) < SOON)
    }

    /// Its cgroup counts so many since its start. Who they were says the kernel log, where it can be read.
    pub(crate) fn counted(&mut self, oom_kills: u64, now: Moment) {
        let before = self.oom_kills.last().copied().unwrap_or(0);
        let more = oom_kills.saturating_sub(before);
        self.oom_kills.saw(oom_kills.max(before), now);
        let known = self.host.as_ref().is_some_and(|word| now.since(word.at) <= SOON);
        if more > 0 && !known {
            let words = format!("the kernel's OOM killer took {more} of its processes, by its cgroup's memory.events");
            self.host = Some(Word { at: now, words });
        }
    }

    /// Whether its cgroup counts something else than was known.
    pub(crate) fn is_news(&self, oom_kills: u64) -> bool {
        self.oom_kills.last() != Some(&oom_kills)
    }

    /// When each word is old.
    pub(crate) fn until(&self) -> impl Iterator<Item = Moment> {
        let words = [&self.device, &self.host].into_iter().flatten().map(|word| word.at);
        words.chain(self.at_limit).map(|at| at.after(SOON))
    }

    /// Why an engine ended as it did; `None`: not for want of memory.
    pub(crate) fn cause_of(&self, at: Moment, exit: Exit) -> Option<ExitCause> {
        self.explanation(at, Some(exit)).map(|(cause, _)| cause)
    }

    /// The same death, with its reason where it was want of memory. `exit`: how it ended, where it did.
    pub(crate) fn explain(&self, died: Died, exit: Option<Exit>) -> Died {
        if died.fault != Fault::EngineDied {
            return died;
        }
        match self.explanation(died.at, exit) {
            Some((ExitCause::HostOom, word)) => died.of(Fault::HostOom, word),
            Some((_, word)) => died.of(Fault::DeviceOom, word),
            None => died,
        }
    }

    fn explanation(&self, at: Moment, exit: Option<Exit>) -> Option<(ExitCause, &Word)> {
        let of_it = |word: &&Word| at.since(word.at) <= SOON;
        if let Some(word) = self.host.as_ref().filter(of_it) {
            return Some((ExitCause::HostOom, word));
        }
        // A front end may end after it in any way: with status 0, or its whole tree and itself by signal 9.
        let says_nothing = match exit {
            Some(Exit::Status(status)) => status == 0,
            Some(Exit::Signal(number)) => FROM_OUTSIDE.contains(&number),
            Some(Exit::Unknown) | None => false,
        };
        let went_on = says_nothing && self.device_refuted;
        let word = self.device.as_ref().filter(of_it).filter(|word| !went_on && word.at <= at)?;
        Some((ExitCause::DeviceOom, word))
    }
}

impl Died {
    fn of(self, fault: Fault, word: &Word) -> Died {
        let before = self.at.since(word.at).as_secs_f64();
        let before = if before < 0.1 { String::new() } else { format!("{before:.1} s before, ") };
        Died { fault, because: format!("{}; {before}{}", self.because, word.words), ..self }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::ZERO.after(Duration::from_secs(secs))
    }

    fn device(secs: u64) -> Shortage {
        Shortage { device: Some(Word { at: at(secs), words: "CUDA out of memory".into() }), ..Shortage::default() }
    }

    fn taken(secs: u64) -> Shortage {
        let mut shortage = Shortage::default();
        shortage.process_taken(7, "Out of memory: Killed process 7 (x)", Victim::Client, at(secs));
        shortage
    }

    fn died(secs: u64) -> Died {
        Died { at: at(secs), fault: Fault::EngineDied, because: "it ended".into() }
    }

    #[test]
    fn an_end_soon_after_the_word_is_of_it_and_a_late_one_is_not() {
        for (secs, cause) in [(100, Some(ExitCause::DeviceOom)), (160, Some(ExitCause::DeviceOom)), (161, None)] {
            assert_eq!(device(100).cause_of(at(secs), Exit::Status(1)), cause, "{secs}");
        }
        assert_eq!(taken(100).cause_of(at(161), Exit::Signal(9)), None);
    }

    #[test]
    fn after_the_word_every_end_is_of_it_unless_the_engine_went_on_and_was_ended_from_outside() {
        for exit in
            [Exit::Signal(9), Exit::Signal(15), Exit::Status(0), Exit::Status(1), Exit::Signal(6), Exit::Unknown]
        {
            assert_eq!(device(100).cause_of(at(101), exit), Some(ExitCause::DeviceOom), "{exit}");
            let mut went_on = device(100);
            went_on.refuted();
            let own = !matches!(exit, Exit::Signal(9 | 15) | Exit::Status(0));
            assert_eq!(went_on.cause_of(at(101), exit), own.then_some(ExitCause::DeviceOom), "{exit}");
        }
        assert_eq!(taken(100).cause_of(at(101), Exit::Status(0)), Some(ExitCause::HostOom));
    }

    #[test]
    fn the_kernels_word_goes_before_the_outputs_and_may_come_after_the_end() {
        let mut both = device(99);
        both.process_taken(7, "line", Victim::Client, at(102));
        let explained = both.explain(died(101), Some(Exit::Signal(9)));
        assert_eq!(explained.fault, Fault::HostOom);
        assert!(explained.because.contains("took its process 7"), "{}", explained.because);
    }

    #[test]
    fn another_fault_keeps_its_name() {
        let hang = Died { fault: Fault::Hang, ..died(101) };
        assert_eq!(taken(100).explain(hang.clone(), None), hang);
    }

    #[test]
    fn a_count_that_does_not_grow_says_nothing_and_the_kernel_log_says_it_better() {
        let mut shortage = Shortage::default();
        shortage.counted(0, at(1));
        assert_eq!(shortage.host, None);
        shortage.counted(2, at(2));
        assert!(shortage.host.as_ref().unwrap().words.contains("took 2 of its processes"));
        let mut told = taken(100);
        told.counted(1, at(101));
        assert!(told.host.unwrap().words.contains("process 7"));
    }

    #[test]
    fn processes_of_late_are_known_and_bounded() {
        let mut shortage = Shortage::default();
        for second in 0..1000u32 {
            shortage.lives(std::iter::once(second), at(second.into()));
        }
        assert!(shortage.knows(999) && shortage.knows(940) && !shortage.knows(900));
        assert!(shortage.seen.len() <= 61);
    }
}
