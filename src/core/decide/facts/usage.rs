//! CPU time of one engine's whole tree, from what its processes say. It only informs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ProcessId, ProcessUsage};

/// Looks that may miss a process (it could not be read) before it is taken for gone.
const MISSED: u8 = 3;

/// What an engine used since the watchdog's start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of its processes when last seen, and how many looks have missed them since.
    seen: BTreeMap<ProcessId, (Duration, u8)>,
    looked: bool,
    /// CPU time of all its processes that were seen. It never shrinks, whatever they say.
    pub cpu: Duration,
}

impl Usage {
    /// Takes up a look at all its living processes.
    ///
    /// A process counts by what it grew since it was last seen. One that was there at the first look may have
    /// run long before the watchdog: only its growth counts. One that came later counts whole. What a process
    /// used between the last look at it and its end is not known.
    pub(crate) fn saw(&mut self, processes: &[ProcessUsage]) {
        self.seen.values_mut().for_each(|(_, missed)| *missed += 1);
        for process in processes {
            let before = self.seen.insert(process.process, (process.cpu, 0)).map(|(cpu, _)| cpu);
            let before = before.unwrap_or(if self.looked { Duration::ZERO } else { process.cpu });
            self.cpu = self.cpu.saturating_add(process.cpu.saturating_sub(before));
        }
        self.seen.retain(|_, (_, missed)| *missed < MISSED);
        self.looked = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, resident: u64, cpu: u64) -> ProcessUsage {
        let process = ProcessId { pid, started_at: 1 };
        ProcessUsage { process, resident, cpu: Duration::from_secs(cpu), state: 'S' }
    }

    fn after(looks: &[&[ProcessUsage]]) -> Usage {
        let mut usage = Usage::default();
        looks.iter().for_each(|look| usage.saw(look));
        usage
    }

    fn cpu(looks: &[&[ProcessUsage]]) -> u64 {
        after(looks).cpu.as_secs()
    }

    #[test]
    fn what_ran_before_the_watchdog_counts_by_its_growth() {
        assert_eq!(cpu(&[&[process(1, 0, 100)], &[process(1, 0, 103)]]), 3);
    }

    #[test]
    fn a_process_that_came_later_counts_whole_and_stays_counted_when_it_is_gone() {
        assert_eq!(cpu(&[&[], &[process(1, 0, 4)], &[process(1, 0, 6)], &[], &[]]), 6);
    }

    #[test]
    fn a_pid_that_is_used_again_is_another_process() {
        let again = ProcessUsage { process: ProcessId { pid: 1, started_at: 2 }, ..process(1, 0, 1) };
        assert_eq!(cpu(&[&[], &[process(1, 0, 50)], &[again]]), 51);
    }

    #[test]
    fn a_process_that_one_look_missed_is_not_counted_twice() {
        assert_eq!(cpu(&[&[], &[process(1, 0, 50)], &[], &[process(1, 0, 51)]]), 51);
    }

    #[test]
    fn a_figure_that_shrinks_counts_as_nothing() {
        assert_eq!(cpu(&[&[], &[process(1, 0, 50)], &[process(1, 0, 20)], &[process(1, 0, 21)]]), 51);
    }

    #[test]
    fn processes_that_are_gone_are_forgotten() {
        let mut usage = Usage::default();
        for pid in 0..1000 {
            usage.saw(&[process(pid, 0, 1)]);
        }
        assert!(usage.seen.len() <= usize::from(MISSED));
        assert_eq!(usage.cpu, Duration::from_secs(999));
    }
}
