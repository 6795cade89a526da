//! Launches, ends and stops of clients' kernels: which client waits for which, and what it is told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::device::Gpu;
use super::kernels::Work;
use super::{DEMAND, Domain, Due};

/// Time at which one that starves gets to run: none that matters.
const NEVER: Duration = Duration::from_secs(3600);

impl Gpu {
    /// `launch MICROS DEMAND`; without a number it never ends.
    pub(super) fn launch(&mut self, pid: u32, micros: &str, demand: &str) {
        let alone = micros.parse().ok().map(Duration::from_micros);
        self.begin_kernel(pid, alone, demand.parse().unwrap_or(DEMAND));
    }

    /// A kernel that never ends.
    pub(super) fn begin_endless(&mut self, pid: u32) {
        self.begin_kernel(pid, None, DEMAND);
    }

    fn begin_kernel(&mut self, pid: u32, alone: Option<Duration>, demand: f64) {
        self.end_kernels();
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let domain = process.server.map_or(Domain::Alone(pid), Domain::Server);
        // With fewer SMs than it can use it takes longer.
        let demand = demand.clamp(0.0, 1.0);
        let granted = demand.min(process.sm_share);
        let work = match process.starves {
            true => Work { alone: Some(NEVER), demand: 0.0, domain },
            false => Work { alone: alone.map(|alone| stretched(alone, demand, granted)), demand: granted, domain },
        };
        process.kernel = Some(self.kernels.begin(work, Instant::now()));
        self.plan_next_end();
    }

    /// Ends every kernel whose time has come, at that time, however late it is noticed.
    pub(super) fn end_kernels(&mut self) {
        let now = Instant::now();
        while let Some((at, serial)) = self.kernels.next_end().filter(|(at, _)| *at <= now) {
            self.kernel_done(at, serial);
        }
        self.plan_next_end();
    }

    /// A kernel is done; its client is told when it ran. On a server that handles a fault none gets done any more.
    fn kernel_done(&mut self, at: Instant, serial: u64) {
        let found = self.processes.iter().find(|(_, process)| process.kernel == Some(serial));
        let (pid, server) = found.map_or((0, None), |(pid, process)| (*pid, process.server));
        let server = server.and_then(|server| self.servers.get(&server));
        if server.is_some_and(|server| server.fault.is_some()) {
            return self.kernels.stall(serial);
        }
        let span = self.kernels.end(serial, at);
        self.ran(pid, span);
        let (begin, end) = span.unwrap_or((at, at));
        let (ended, length) = (realtime(end), end.duration_since(begin).as_nanos());
        self.reply(pid, &format!("done {} {ended}", ended.saturating_sub(length)));
    }

    /// Ends what a process runs, done or not.
    pub(super) fn stop_kernel(&mut self, pid: u32) {
        let serial = self.processes.get(&pid).and_then(|process| process.kernel);
        if let Some(serial) = serial {
            let span = self.kernels.end(serial, Instant::now());
            self.ran(pid, span);
        }
    }

    fn ran(&mut self, pid: u32, span: Option<(Instant, Instant)>) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.kernel = None;
        }
        if let Some((begin, end)) = span {
            self.busy.ran(begin, end);
        }
        self.plan_next_end();
    }

    /// Kernels that begin and end change when the others will end.
    fn plan_next_end(&mut self) {
        if let Some(planned) = self.next_end.take() {
            self.agenda.cancel(planned);
        }
        self.next_end = self.kernels.next_end().map(|(at, _)| self.agenda.at(at, Due::KernelDone));
    }
}

fn stretched(alone: Duration, demand: f64, granted: f64) -> Duration {
    if granted > 0.0 { alone.mul_f64(demand / granted) } else { alone }
}

/// Nanoseconds of CLOCK_REALTIME, which is what CUPTI tells times in.
fn realtime(moment: Instant) -> u128 {
    let (now, ago) = (SystemTime::now(), moment.elapsed());
    now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago).as_nanos()
}
