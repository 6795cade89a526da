//! Word that an engine ran out of memory, in one incarnation: its output's for the device, the kernel's for the
//! host. Says whether an end is explained by it; what follows is decided elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{EngineKey, EngineName, Exit, ExitCause, Fault, Known, LinePlace, Moment};

use super::detect::gib;
use super::domain::Domain;
use super::engine::{Died, Engine, Stage};
use super::reading::Reading;
use super::turn::Turn;
use crate::decide::facts::reading::READING_FRESH;

/// An end so soon after the word of it is of it; and so long an engine that lives on is watched for its end.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// The count of an engine's cgroup comes with the next look at its processes, which its end makes due. No
/// restart waits longer for it.
const COUNT_BOUND: Duration = Duration::from_millis(20);
/// CUDA's error for an allocation that failed: the caller's alone.
pub(super) const OUT_OF_MEMORY: u32 = 2;
/// Signals that come from outside, or from an engine's front end that ends its own tree.
const FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];
/// An engine with less room than this share of its limit is at it: allocators take memory in large pieces.
const AT_ITS_LIMIT: f64 = 0.05;

/// What was said, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub at: Moment,
    /// For people.
    pub words: String,
}

/// One engine's.
#[derive(Clone, Debug, Default)]
pub(super) struct Shortage {
    /// An allocation of device memory failed: the last time.
    pub device: Option<Word>,
    /// It was seen at work after that: so it did not end by it, unless it says so by the way it ends.
    device_refuted: bool,
    /// NVML agreed with such a word: the last time.
    at_limit: Option<Moment>,
    /// The kernel's OOM killer took a process of it.
    pub host: Option<Word>,
    /// That process was a client of the server, and not the main one: without it the engine serves nobody.
    pub took_a_client: bool,
    /// By its cgroup, so many were taken.
    oom_kills: Known<u64>,
    /// Its processes of late, and when they were last seen: word of an end comes after it.
    seen: BTreeMap<u32, Moment>,
}

impl Shortage {
    /// A look at its processes.
    pub fn lives(&mut self, pids: impl Iterator<Item = u32>, now: Moment) {
        self.seen.retain(|_, at| now.since(*at) <= SOON);
        self.seen.extend(pids.map(|pid| (pid, now)));
    }

    /// Whether the process is, or was a moment ago, one of its own.
    pub fn knows(&self, pid: u32) -> bool {
        self.seen.contains_key(&pid)
    }

    /// The kernel log names a process that was taken.
    pub fn process_taken(&mut self, pid: u32, line: &str, is_client: bool, now: Moment) {
        let words = format!("the kernel's OOM killer took its process {pid} (\"{line}\")");
        self.host = Some(Word { at: now, words });
        self.took_a_client |= is_client;
    }

    /// The engine went on after it said that device memory ran out.
    pub fn refuted(&mut self) {
        self.device_refuted = true;
    }

    /// Its output says that an allocation of device memory failed.
    pub fn allocation_failed(&mut self, word: Word) {
        self.device = Some(word);
        self.device_refuted = false;
    }

    /// NVML shows it at its limit, beside that word.
    pub fn at_its_limit(&mut self, now: Moment) {
        self.at_limit = Some(now);
    }

    /// The word that device memory ran out, if NVML agreed with it and both are not old.
    pub fn short_of_device_memory(&self, now: Moment) -> Option<&Word> {
        let agreed = self.at_limit.is_some_and(|at| now.since(at) < SOON);
        self.device.as_ref().filter(|word| agreed && now.since(word.at) < SOON)
    }

    /// Its cgroup counts so many since its start. Who they were says the kernel log, where it can be read.
    pub fn counted(&mut self, oom_kills: u64, now: Moment) {
        let before = self.oom_kills.last().copied().unwrap_or(0);
        let more = oom_kills.saturating_sub(before);
        self.oom_kills.saw(oom_kills.max(before), now);
        let told = self.host.as_ref().is_some_and(|word| now.since(word.at) <= SOON);
        if more > 0 && !told {
            let words = format!("the kernel's OOM killer took {more} of its processes, by its cgroup's memory.events");
            self.host = Some(Word { at: now, words });
        }
    }

    /// Whether its cgroup counts something else than was known.
    pub fn is_news(&self, oom_kills: u64) -> bool {
        self.oom_kills.last() != Some(&oom_kills)
    }

    /// When each word is old.
    pub fn until(&self) -> impl Iterator<Item = Moment> {
        let words = [&self.device, &self.host].into_iter().flatten().map(|word| word.at);
        words.chain(self.at_limit).map(|at| at.after(SOON))
    }

    /// Why an engine ended as it did; `None`: not for want of memory.
    pub fn cause_of(&self, at: Moment, exit: Exit) -> Option<ExitCause> {
        self.explanation(at, Some(exit)).map(|(cause, _)| cause)
    }

    /// The same death, with its reason where it was want of memory. `exit`: how it ended, where it did.
    pub fn explain(&self, died: Died, exit: Option<Exit>) -> Died {
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

impl Domain {
    /// The engine that has, or had a moment ago, a process of that pid.
    pub fn owner_of(&self, pid: u32) -> Option<&EngineName> {
        self.engines.iter().find(|engine| engine.instance.shortage.knows(pid)).map(Engine::name)
    }

    /// The kernel log names a process that the OOM killer took.
    pub fn oom_kill(&mut self, pid: u32, line: &str, turn: &Turn<'_>) {
        let is_client = self.server.clients.last().is_some_and(|clients| clients.contains(&pid));
        let Some(place) = self.owner_of(pid).cloned().and_then(|name| self.place_of(&name)) else { return };
        let engine = &mut self.engines[place];
        // The end of a main process is seen by itself, a moment later.
        let is_client = is_client && engine.instance.process.id.is_none_or(|main| main.pid != pid);
        engine.instance.shortage.process_taken(pid, line, is_client, turn.now);
        engine.explain_its_end();
    }

    /// An engine's cgroup says how many the OOM killer took of it.
    pub fn memory_events(&mut self, key: &EngineKey, oom_kills: u64, now: Moment) {
        // Until the new one is there, the count is still the old one's.
        let launched = |engine: &&mut Engine| !matches!(engine.stage, Stage::Launching(_));
        if let Some(engine) = self.engine_mut(&key.engine).filter(launched) {
            engine.instance.shortage.counted(oom_kills, now);
            engine.explain_its_end();
        }
    }

    /// An engine's output says that device memory ran out.
    pub fn ran_out(&mut self, key: &EngineKey, place: &LinePlace, turn: &Turn<'_>) {
        let reading = turn.gpu.reading.fresh(READING_FRESH, turn.now);
        let Some(engine) = self.engine_mut(&key.engine).filter(|engine| engine.instance.process.id.is_some()) else {
            return;
        };
        let room = reading.and_then(|reading| engine.device_memory_and_end(reading));
        let room = room.map_or_else(
            || "how much it held is not known".to_owned(),
            |(held, end)| format!("it held {} and its end is at {}", gib(held), gib(end)),
        );
        let words = format!("it ran out of device memory ({place}; {room})");
        engine.instance.shortage.allocation_failed(Word { at: turn.now, words });
    }
}

impl Engine {
    /// Whether NVML shows it at the end of the device memory that it may have.
    pub fn is_out_of_memory(&self, reading: &Reading) -> bool {
        let room = self.device_memory_and_end(reading).filter(|(held, _)| *held > 0);
        room.is_some_and(|(held, end)| end.saturating_sub(held) as f64 <= AT_ITS_LIMIT * end as f64)
    }

    /// It ended, and its cgroup has not been asked yet whether the OOM killer took it: until then.
    pub fn count_due(&self) -> Option<Moment> {
        let (at, _) = self
            .instance
            .process
            .ended
            .filter(|_| matches!(self.stage, Stage::Starting | Stage::Serving | Stage::Failing))?;
        let counts = &self.instance.shortage.oom_kills;
        (counts.last().is_some() && counts.since(at).is_none()).then(|| at.after(COUNT_BOUND))
    }

    /// Word that came after its end may be the reason for it.
    fn explain_its_end(&mut self) {
        let Some((_, exit)) = self.instance.process.ended else { return };
        if let Some(died) = self.died.take() {
            let died = self.instance.shortage.explain(died, Some(exit));
            self.instance.note = Some(died.because.clone());
            self.died = Some(died);
        }
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
        shortage.process_taken(7, "Out of memory: Killed process 7 (x)", true, at(secs));
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
        both.process_taken(7, "line", true, at(102));
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
