//! What a fault does: the driver's delays, the Xid with its chance blame, the server's FAULT, and the
//! same error for every client of the domain.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::process::Seat;
use super::{Domain, Due, Kind};
use crate::cuda::CudaError;

/// What the driver lets run on when its process is killed; longer kernels fault.
const DRAIN: Duration = Duration::from_millis(40);
/// Time from a fatal line to the errors on GPUs that were joined to the one of the fault, the first of them.
const JOINED_LATER: Duration = Duration::from_millis(150);

/// A fault that a server handles.
pub(super) struct Fault {
    /// GPUs that it hit: the one where it began, and those that clients joined to it.
    pub devices: BTreeSet<usize>,
    /// Time at which the server was told.
    pub line_at: Instant,
    /// When the last client so far will be torn down.
    pub torn_down_at: Option<Instant>,
    /// The GPU is being reset after a trap: contexts end when that is over.
    pub in_reset: bool,
    /// Clients that ended during the reset.
    pub ended_in_reset: Vec<u32>,
}

impl Kind {
    fn error(self) -> CudaError {
        if self == Kind::Trap { CudaError::LAUNCH_FAILURE } else { CudaError::ILLEGAL_ADDRESS }
    }

    /// The word that the server gets.
    fn word(self) -> &'static str {
        if self == Kind::Trap { "trap" } else { "illegal" }
    }
}

impl Driver {
    /// A client's kernel faults: the GPU notices after the recorded time.
    pub(super) fn begin_fault(&mut self, seat: Seat, trap: bool) {
        let Some(process) = self.processes.get(&seat.pid) else { return };
        let domain = process.server.map_or(Domain::Alone(seat.pid), Domain::Server);
        self.begin_endless(seat);
        let (kind, wait) = match trap {
            true => (Kind::Trap, self.chance.millis(13, 15)),
            false => (Kind::IllegalAddress, self.chance.millis(88, 125)),
        };
        self.agenda.after(wait, Due::FaultLine { domain, kind, culprit: seat });
    }

    /// Contexts of a client whose end now would fault its siblings there.
    pub(super) fn orphaned_by(&self, pid: u32) -> Vec<Seat> {
        let Some(process) = self.processes.get(&pid).filter(|process| !process.terminated) else { return Vec::new() };
        let outlasts = |(device, serial): (usize, u64)| {
            self.devices.get(device).is_some_and(|known| known.kernels.outlasts(serial, DRAIN, Instant::now()))
        };
        let running = process.contexts.iter().filter_map(|(device, context)| Some((*device, context.kernel?)));
        running.filter(|running| outlasts(*running)).map(|(device, _)| Seat { pid, device }).collect()
    }

    /// The fault is there.
    pub(super) fn fault_line(&mut self, domain: Domain, kind: Kind, culprit: Seat) {
        match domain {
            Domain::Alone(pid) => {
                self.log_xid(kind, pid, pid, culprit.device);
                self.give_error(culprit, kind.error());
            }
            Domain::Server(server) => self.fault_server(server, kind, culprit),
        }
    }

    /// GPUs that share a living client with this one, directly or by others, itself first.
    fn joined(&self, server: u32, first: usize) -> Vec<usize> {
        let mut devices = vec![first];
        let mut place = 0;
        while let Some(device) = devices.get(place).copied() {
            for pid in self.living_clients_on(server, device) {
                let other = self.processes.get(&pid).into_iter().flat_map(|process| process.devices());
                let new: Vec<usize> = other.filter(|other| !devices.contains(other)).collect();
                devices.extend(new);
            }
            place += 1;
        }
        devices
    }

    fn fault_server(&mut self, server: u32, kind: Kind, culprit: Seat) {
        let there = self.living_clients_on(server, culprit.device);
        if there.is_empty() || !self.servers.contains_key(&server) || self.faulted(server, culprit.device) {
            return;
        }
        let devices = self.joined(server, culprit.device);
        let blamed = there[self.chance.below(there.len())];
        self.log_xid(kind, blamed, server, culprit.device);
        let numbers: Vec<String> = devices.iter().map(usize::to_string).collect();
        self.tell_server(server, &format!("fatal {} {}", kind.word(), numbers.join(" ")));
        self.schedule_errors(server, kind, culprit, &devices);
        let Some(known) = self.servers.get_mut(&server) else { return };
        let fault = known.fault.get_or_insert_with(|| Fault {
            devices: BTreeSet::new(),
            line_at: Instant::now(),
            torn_down_at: None,
            in_reset: false,
            ended_in_reset: Vec::new(),
        });
        fault.devices.extend(devices);
        fault.in_reset |= kind == Kind::Trap;
    }

    /// An illegal address: all within 1.5 ms, in no order, and those on a joined GPU 150 ms later as of a trap. A trap:
    /// the culprit first, then all others, wherever they are.
    fn schedule_errors(&mut self, server: u32, kind: Kind, culprit: Seat, devices: &[usize]) {
        let seats = |driver: &Driver, device: usize| {
            driver
                .living_clients_on(server, device)
                .into_iter()
                .map(move |pid| Seat { pid, device })
                .collect::<Vec<_>>()
        };
        if kind == Kind::Trap {
            return self.schedule_a_traps_errors(server, culprit, devices);
        }
        let base = self.chance.millis(21, 24);
        for seat in seats(self, culprit.device) {
            let apart = self.chance.millis(0, 1);
            self.agenda.after(base + apart, Due::Error { seat, error: kind.error() });
        }
        let mut wait = JOINED_LATER;
        for seat in devices.iter().skip(1).flat_map(|device| seats(self, *device)).collect::<Vec<_>>() {
            wait += self.chance.millis(15, 30);
            self.agenda.after(wait, Due::Error { seat, error: CudaError::LAUNCH_FAILURE });
        }
    }

    fn schedule_a_traps_errors(&mut self, server: u32, culprit: Seat, devices: &[usize]) {
        let reset = self.chance.millis(100, 360);
        for device in devices {
            for pid in self.living_clients_on(server, *device) {
                let seat = Seat { pid, device: *device };
                let own = pid == culprit.pid;
                let wait = if own { self.chance.millis(1, 9) } else { reset + self.chance.millis(0, 60) };
                self.agenda.after(wait, Due::Error { seat, error: CudaError::LAUNCH_FAILURE });
            }
        }
        self.agenda.after(reset, Due::ResetOver { server });
    }

    /// The driver writes its line, and the event comes later. Whom it blames is chance.
    fn log_xid(&mut self, kind: Kind, blamed: u32, server: u32, device: usize) {
        let (xid, text) = match kind {
            Kind::Trap => (43, format!("pid={server}, name=nvidia-cuda-mps, channel 0x0000000a")),
            Kind::IllegalAddress => (31, self.mmu_fault(blamed, "GPC1 GPCCLIENT_T1_2", "0xdead00_00bee000")),
            Kind::Orphaned => (31, self.mmu_fault(blamed, "GPC5 GPCCLIENT_GCC", "0x7f4c_cb754000")),
        };
        self.raise_xid(device, xid, &text);
    }

    fn mmu_fault(&self, pid: u32, unit: &str, address: &str) -> String {
        let name = self.processes.get(&pid).map_or("client", |process| process.name.as_str());
        format!(
            "pid={pid}, name={name}, channel 0x0000000e, intr 00000000. MMU Fault: ENGINE GRAPHICS {unit} \
             faulted @ {address}. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_WRITE"
        )
    }

    /// An Xid in the kernel log, and as an NVML event 15 to 20 ms later.
    pub(super) fn raise_xid(&mut self, device: usize, xid: u32, text: &str) {
        let Some(known) = self.devices.get(device) else { return };
        self.log.xid(&known.address, &known.uuid, xid, text);
        let wait = self.chance.millis(15, 20);
        self.agenda.after(wait, Due::XidEvent { device, xid });
    }

    /// The reset after a trap is over: contexts that ended meanwhile end now.
    pub(super) fn reset_over(&mut self, server: u32) {
        let Some(fault) = self.servers.get_mut(&server).and_then(|server| server.fault.as_mut()) else { return };
        fault.in_reset = false;
        for pid in std::mem::take(&mut fault.ended_in_reset) {
            for seat in self.seats(pid) {
                self.tell_server(server, &format!("exit {pid} {} reset", seat.device));
            }
            self.tear_down(pid);
        }
    }

    /// Some time after the last client of a faulted server is gone, its context is new.
    pub(super) fn active(&mut self, server: u32) {
        if let Some(server) = self.servers.get_mut(&server) {
            server.fault = None;
        }
        self.tell_server(server, "active");
    }
}
