//! Launches, ends and stops of clients' kernels: which client waits for which, and what it is told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::driver::Driver;
use super::kernels::Work;
use super::process::{Process, Seat};
use super::{DEMAND, Domain, Due};

/// Time at which one that starves gets to run: none that matters.
const NEVER: Duration = Duration::from_secs(3600);

impl Driver {
    /// `launch MICROS DEMAND`; without a number it never ends.
    pub(super) fn launch(&mut self, seat: Seat, micros: &str, demand: &str) {
        let alone = micros.parse().ok().map(Duration::from_micros);
        self.begin_kernel(seat, alone, demand.parse().unwrap_or(DEMAND));
    }

    /// A kernel that never ends.
    pub(super) fn begin_endless(&mut self, seat: Seat) {
        self.begin_kernel(seat, None, DEMAND);
    }

    fn begin_kernel(&mut self, seat: Seat, alone: Option<Duration>, demand: f64) {
        self.end_kernels(seat.device);
        let Some(process) = self.processes.get_mut(&seat.pid) else { return };
        let domain = process.server.map_or(Domain::Alone(seat.pid), Domain::Server);
        let Some(context) = process.contexts.get_mut(&seat.device) else { return };
        let Some(device) = self.devices.get_mut(seat.device) else { return };
        // With fewer SMs than it can use it takes longer.
        let demand = demand.clamp(0.0, 1.0);
        let granted = demand.min(context.sm_share);
        let work = match context.starves {
            true => Work { alone: Some(NEVER), demand: 0.0, domain },
            false => Work { alone: alone.map(|alone| stretched(alone, demand, granted)), demand: granted, domain },
        };
        context.kernel = Some(device.kernels.begin(work, Instant::now()));
        self.plan_next_end(seat.device);
    }

    /// Ends every kernel of a GPU whose time has come, at that time, however late it is noticed.
    pub(super) fn end_kernels(&mut self, device: usize) {
        let now = Instant::now();
        let next = |driver: &Driver| driver.devices.get(device)?.kernels.next_end().filter(|(at, _)| *at <= now);
        while let Some((at, serial)) = next(self) {
            self.kernel_done(device, at, serial);
        }
        self.plan_next_end(device);
    }

    /// A kernel is done; its client is told when it ran. On a GPU that a server's fault hit none of its clients' gets
    /// done any more.
    fn kernel_done(&mut self, device: usize, at: Instant, serial: u64) {
        let runs = |process: &Process| process.contexts.get(&device).and_then(|known| known.kernel) == Some(serial);
        let found = self.processes.iter().find(|(_, process)| runs(process));
        let (pid, server) = found.map_or((0, None), |(pid, process)| (*pid, process.server));
        let faulted = server.is_some_and(|server| self.faulted(server, device));
        let Some(known) = self.devices.get_mut(device) else { return };
        if faulted {
            return known.kernels.stall(serial);
        }
        let span = known.kernels.end(serial, at);
        let seat = Seat { pid, device };
        self.ran(seat, span);
        let (begin, end) = span.unwrap_or((at, at));
        let (ended, length) = (realtime(end), end.duration_since(begin).as_nanos());
        self.reply(seat, &format!("done {} {ended}", ended.saturating_sub(length)));
    }

    /// Ends what a context runs, done or not.
    pub(super) fn stop_kernel(&mut self, seat: Seat) {
        let Some(serial) = self.context(seat).and_then(|context| context.kernel) else { return };
        let span = self.devices.get_mut(seat.device).and_then(|device| device.kernels.end(serial, Instant::now()));
        self.ran(seat, span);
    }

    fn ran(&mut self, seat: Seat, span: Option<(Instant, Instant)>) {
        if let Some(context) = self.context(seat) {
            context.kernel = None;
        }
        if let (Some((begin, end)), Some(device)) = (span, self.devices.get_mut(seat.device)) {
            device.busy.ran(begin, end);
        }
        self.plan_next_end(seat.device);
    }

    /// Kernels that begin and end change when the others will end.
    fn plan_next_end(&mut self, index: usize) {
        let Some(device) = self.devices.get_mut(index) else { return };
        if let Some(planned) = device.next_end.take() {
            self.agenda.cancel(planned);
        }
        device.next_end =
            device.kernels.next_end().map(|(at, _)| self.agenda.at(at, Due::KernelDone { device: index }));
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
