//! Kernels in flight and how they share the SMs: side by side among the clients of one server, by time slices
//! between servers and processes outside MPS. Pure arithmetic over moments; decides nothing.
//!
//! It is exact: rates change only when a kernel begins or ends, so the work that is left is known at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Domain;

/// What a kernel asks of the GPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Its length with the GPU to itself; `None`: it never ends.
    pub alone: Option<Duration>,
    /// The share of the SMs that it can use, 0 to 1. One of 0 takes nothing from anybody.
    pub demand: f64,
    /// Whose clients it runs beside.
    pub domain: Domain,
}

/// A kernel in flight.
#[derive(Debug)]
struct Kernel {
    work: Work,
    began: Instant,
    /// Seconds alone that are still to be done; `None`: it never ends.
    left: Option<f64>,
}

/// All kernels in flight, by their serial numbers.
#[derive(Debug)]
pub(super) struct Kernels {
    running: BTreeMap<u64, Kernel>,
    made: u64,
    /// What is left is right for this moment.
    reached: Instant,
    /// Seconds of the whole GPU that kernels have used.
    used: f64,
}

impl Kernels {
    /// Kernels of an idle GPU.
    pub(super) fn new(now: Instant) -> Kernels {
        Kernels { running: BTreeMap::new(), made: 0, reached: now, used: 0.0 }
    }

    /// A kernel begins; its serial number, which no other has.
    pub(super) fn begin(&mut self, work: Work, now: Instant) -> u64 {
        self.advance(now);
        self.made += 1;
        let left = work.alone.map(|alone| alone.as_secs_f64());
        self.running.insert(self.made, Kernel { work, began: self.reached, left });
        self.made
    }

    /// A kernel ends, done or not; when it ran.
    pub(super) fn end(&mut self, serial: u64, now: Instant) -> Option<(Instant, Instant)> {
        self.advance(now);
        self.running.remove(&serial).map(|kernel| (kernel.began, self.reached))
    }

    /// A kernel will never end by itself.
    pub(super) fn stall(&mut self, serial: u64) {
        if let Some(kernel) = self.running.get_mut(&serial) {
            kernel.left = None;
        }
    }

    /// The next end, if no kernel begins or is stopped before.
    pub(super) fn next_end(&self) -> Option<(Instant, u64)> {
        self.running.iter().filter_map(|(serial, kernel)| Some((self.end_of(kernel)?, *serial))).min()
    }

    /// Whether more than `span` of a kernel remains, as things are.
    pub(super) fn outlasts(&self, serial: u64, span: Duration, now: Instant) -> bool {
        let Some(kernel) = self.running.get(&serial) else { return false };
        self.end_of(kernel).is_none_or(|end| end.saturating_duration_since(now) > span)
    }

    /// When those in flight began.
    pub(super) fn begins(&self) -> impl Iterator<Item = Instant> {
        self.running.values().map(|kernel| kernel.began)
    }

    /// Time for which all SMs together were used so far.
    pub(super) fn used(&self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.reached).as_secs_f64();
        let rate: f64 = self.running.values().map(|kernel| self.rate(kernel.work) * kernel.work.demand).sum();
        Duration::try_from_secs_f64(self.used + since * rate).unwrap_or_default()
    }

    fn end_of(&self, kernel: &Kernel) -> Option<Instant> {
        let wait = Duration::try_from_secs_f64(kernel.left?.max(0.0) / self.rate(kernel.work)).ok()?;
        self.reached.checked_add(wait)
    }

    /// Does the work of the time up to a moment.
    fn advance(&mut self, to: Instant) {
        let span = to.saturating_duration_since(self.reached).as_secs_f64();
        self.used = self.used(to).as_secs_f64();
        self.reached = self.reached.max(to);
        let rates: Vec<f64> = self.running.values().map(|kernel| self.rate(kernel.work)).collect();
        for (kernel, rate) in self.running.values_mut().zip(rates) {
            kernel.left = kernel.left.map(|left| left - span * rate);
        }
    }

    /// How fast a kernel runs, against alone: each domain has its slices of the time, and in them kernels that ask
    /// for more than the whole GPU are all slowed down alike.
    fn rate(&self, work: Work) -> f64 {
        let asking = || self.running.values().map(|kernel| kernel.work).filter(|work| work.demand > 0.0);
        let domains: BTreeSet<Domain> = asking().map(|work| work.domain).collect();
        let demand: f64 = asking().filter(|other| other.domain == work.domain).map(|other| other.demand).sum();
        1.0 / demand.max(1.0) / domains.len().max(1) as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const SERVER: Domain = Domain::Server(7);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// When these kernels end, in milliseconds: each begins at a time, takes so long alone, and asks for a share.
    fn ends(kernels: &[(u64, u64, f64, Domain)]) -> Vec<u64> {
        let start = Instant::now();
        let mut all = Kernels::new(start);
        let mut ends = vec![0; kernels.len()];
        let mut end_until = |all: &mut Kernels, until: Option<Instant>| {
            while let Some((at, serial)) = all.next_end().filter(|(at, _)| until.is_none_or(|until| *at <= until)) {
                let (_, end) = all.end(serial, at).unwrap();
                ends[serial as usize - 1] = (end.duration_since(start).as_secs_f64() * 1e3).round() as u64;
            }
        };
        for (at, alone, demand, domain) in kernels {
            let at = start + millis(*at);
            end_until(&mut all, Some(at));
            all.begin(Work { alone: Some(millis(*alone)), demand: *demand, domain: *domain }, at);
        }
        end_until(&mut all, None);
        ends
    }

    #[test]
    fn small_kernels_of_one_server_run_side_by_side() {
        assert_eq!(ends(&[(0, 10, 0.3, SERVER), (5, 10, 0.3, SERVER), (5, 20, 0.4, SERVER)]), [10, 15, 25]);
    }

    #[test]
    fn kernels_that_ask_for_more_than_the_gpu_slow_each_other_down() {
        assert_eq!(ends(&[(0, 10, 1.0, SERVER), (0, 10, 1.0, SERVER)]), [20, 20]);
        // The first has half of its work left when the second comes, and they share until it is done.
        assert_eq!(ends(&[(0, 10, 1.0, SERVER), (5, 10, 1.0, SERVER)]), [15, 20]);
        assert_eq!(ends(&[(0, 10, 1.0, SERVER), (0, 10, 0.25, SERVER)]), [13, 13]);
    }

    #[test]
    fn servers_and_processes_outside_mps_take_turns_however_small_their_kernels_are() {
        assert_eq!(ends(&[(0, 10, 0.1, SERVER), (0, 10, 0.1, Domain::Server(8))]), [20, 20]);
        assert_eq!(ends(&[(0, 10, 0.1, SERVER), (0, 10, 0.1, Domain::Alone(9)), (0, 10, 0.1, SERVER)]), [20, 20, 20]);
    }

    #[test]
    fn one_that_asks_for_nothing_slows_nobody_down() {
        assert_eq!(ends(&[(0, 40, 0.0, Domain::Alone(9)), (0, 10, 1.0, SERVER)])[1], 10);
    }

    #[test]
    fn the_gpu_is_used_by_as_much_as_kernels_ask_for_and_never_by_more_than_there_is() {
        let start = Instant::now();
        let mut all = Kernels::new(start);
        let endless = |demand| Work { alone: None, demand, domain: SERVER };
        let first = all.begin(endless(0.3), start);
        assert_eq!(all.used(start + millis(100)), millis(30));
        all.begin(endless(0.9), start + millis(100));
        assert!((all.used(start + millis(200)).as_secs_f64() - 0.130).abs() < 1e-9);
        all.end(first, start + millis(200));
        assert!(all.next_end().is_none());
        assert!((all.used(start + millis(300)).as_secs_f64() - 0.220).abs() < 1e-9);
    }

    #[test]
    fn what_remains_of_a_kernel_depends_on_who_else_runs() {
        let start = Instant::now();
        let mut all = Kernels::new(start);
        let work = Work { alone: Some(millis(30)), demand: 1.0, domain: SERVER };
        let first = all.begin(work, start);
        assert!(!all.outlasts(first, millis(40), start));
        all.begin(work, start);
        assert!(all.outlasts(first, millis(40), start));
        all.stall(first);
        assert!(all.outlasts(first, millis(4000), start));
    }
}
