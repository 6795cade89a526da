//! What a fault does: the driver's delays, the Xid with its chance blame, the server's FAULT, and the
//! same error for every client of the domain.

use std::time::{Duration, Instant};

use super::device::Gpu;
use super::{Domain, Due, Kind};
use crate::cuda::CudaError;

/// What the driver lets run on when its process is killed; longer kernels fault.
const DRAIN: Duration = Duration::from_millis(40);

/// A fault that a server handles.
pub(super) struct Fault {
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

impl Gpu {
    /// A client's kernel faults: the GPU notices after the recorded time.
    pub(super) fn begin_fault(&mut self, pid: u32, trap: bool) {
        let Some(process) = self.processes.get(&pid) else { return };
        let domain = process.server.map_or(Domain::Alone(pid), Domain::Server);
        self.begin_endless(pid);
        let (kind, wait) = match trap {
            true => (Kind::Trap, self.chance.millis(13, 15)),
            false => (Kind::IllegalAddress, self.chance.millis(88, 125)),
        };
        self.agenda.after(wait, Due::FaultLine { domain, kind, culprit: pid });
    }

    /// Whether killing this client now would fault its siblings.
    pub(super) fn would_orphan(&self, pid: u32) -> bool {
        let Some(process) = self.processes.get(&pid) else { return false };
        let outlasts = |serial| self.kernels.outlasts(serial, DRAIN, Instant::now());
        !process.terminated && process.kernel.is_some_and(outlasts)
    }

    /// The fault is there.
    pub(super) fn fault_line(&mut self, domain: Domain, kind: Kind, culprit: u32) {
        match domain {
            Domain::Alone(pid) => {
                self.log_xid(kind, pid, pid);
                self.give_error(pid, kind.error());
            }
            Domain::Server(server) => self.fault_server(server, kind, culprit),
        }
    }

    fn fault_server(&mut self, server: u32, kind: Kind, culprit: u32) {
        let victims = self.living_clients(server);
        if victims.is_empty() || self.servers.get(&server).is_none_or(|server| server.fault.is_some()) {
            return;
        }
        let blamed = victims[self.chance.below(victims.len())];
        self.log_xid(kind, blamed, server);
        self.tell_server(server, &format!("fatal {}", kind.word()));
        self.schedule_errors(server, kind, culprit, &victims);
        if let Some(server) = self.servers.get_mut(&server) {
            server.fault = Some(Fault {
                line_at: Instant::now(),
                torn_down_at: None,
                in_reset: kind == Kind::Trap,
                ended_in_reset: Vec::new(),
            });
        }
    }

    /// An illegal address: all within 1.5 ms, in no order. A trap: the culprit first.
    fn schedule_errors(&mut self, server: u32, kind: Kind, culprit: u32, victims: &[u32]) {
        let error = kind.error();
        if kind != Kind::Trap {
            let base = self.chance.millis(21, 24);
            for &pid in victims {
                let apart = self.chance.millis(0, 1);
                self.agenda.after(base + apart, Due::Error { pid, error });
            }
            return;
        }
        let reset = self.chance.millis(100, 360);
        for &pid in victims {
            let wait = if pid == culprit { self.chance.millis(1, 9) } else { reset + self.chance.millis(0, 60) };
            self.agenda.after(wait, Due::Error { pid, error });
        }
        self.agenda.after(reset, Due::ResetOver { server });
    }

    /// The driver writes its line, and the event comes later. Whom it blames is chance.
    fn log_xid(&mut self, kind: Kind, blamed: u32, server: u32) {
        let (xid, text) = match kind {
            Kind::Trap => (43, format!("pid={server}, name=nvidia-cuda-mps, channel 0x0000000a")),
            Kind::IllegalAddress => (31, self.mmu_fault(blamed, "GPC1 GPCCLIENT_T1_2", "0xdead00_00bee000")),
            Kind::Orphaned => (31, self.mmu_fault(blamed, "GPC5 GPCCLIENT_GCC", "0x7f4c_cb754000")),
        };
        self.raise_xid(xid, &text);
    }

    fn mmu_fault(&self, pid: u32, unit: &str, address: &str) -> String {
        let name = self.processes.get(&pid).map_or("client", |process| process.name.as_str());
        format!(
            "pid={pid}, name={name}, channel 0x0000000e, intr 00000000. MMU Fault: ENGINE GRAPHICS {unit} \
             faulted @ {address}. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_WRITE"
        )
    }

    /// An Xid in the kernel log, and as an NVML event 15 to 20 ms later.
    pub(super) fn raise_xid(&mut self, xid: u32, text: &str) {
        self.log.xid(&self.uuid, xid, text);
        let wait = self.chance.millis(15, 20);
        self.agenda.after(wait, Due::XidEvent(xid));
    }

    /// The reset after a trap is over: contexts that ended meanwhile end now.
    pub(super) fn reset_over(&mut self, server: u32) {
        let Some(fault) = self.servers.get_mut(&server).and_then(|server| server.fault.as_mut()) else { return };
        fault.in_reset = false;
        for pid in std::mem::take(&mut fault.ended_in_reset) {
            self.tell_server(server, &format!("exit {pid} 1 reset"));
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
