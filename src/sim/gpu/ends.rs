//! The ends of clients and servers: the driver's teardown, how long it keeps a process and its memory, and what a
//! client killed with a long kernel does to its siblings.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::process::{Process, Seat};
use super::{Domain, Due, Kind, SERVER_MEMORY};
use crate::cuda::CudaError;

/// Time from a context's end to its process's, the last of it.
const LAST_STEP: Duration = Duration::from_millis(28);
/// Time between the faults of two GPUs on which one client was killed with a kernel in flight.
const APART: Duration = Duration::from_millis(35);

impl Driver {
    /// A process began to exit; it stays until `hold` is dropped.
    pub(super) fn exiting(&mut self, pid: u32, hold: Sender<()>) {
        if self.servers.contains_key(&pid) {
            self.server_ended(pid, Some(hold));
        } else if let Some(process) = self.processes.get_mut(&pid) {
            process.hold = Some(hold);
            self.client_ended(pid);
        }
    }

    /// A client died or hung up, whichever is heard first.
    pub(super) fn client_ended(&mut self, pid: u32) {
        let orphaned = self.orphaned_by(pid);
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if std::mem::replace(&mut process.ended, true) {
            return;
        }
        let (terminated, devices) = (process.terminated, process.devices());
        let server = process.server.filter(|server| self.servers.contains_key(server));
        let Some(server) = server else { return self.tear_down(pid) };
        if self.in_reset(server, pid) {
            return;
        }
        for device in devices.iter().filter(|_| !terminated) {
            self.tell_server(server, &format!("exit {pid} {device}"));
        }
        let orphaned: Vec<Seat> = orphaned.into_iter().filter(|seat| !self.faulted(server, seat.device)).collect();
        for seat in self.seats(pid).into_iter().filter(|seat| !orphaned.contains(seat)) {
            self.stop_kernel(seat);
        }
        if orphaned.is_empty() {
            return self.tear_down(pid);
        }
        let first = self.chance.millis(132, 158);
        for (seat, number) in orphaned.into_iter().zip(0..) {
            self.agenda.after(first + APART * number, Due::Drained { seat });
        }
    }

    /// Whether a GPU is among those that a server's fault hit.
    pub(super) fn faulted(&self, server: u32, device: usize) -> bool {
        let fault = self.servers.get(&server).and_then(|server| server.fault.as_ref());
        fault.is_some_and(|fault| fault.devices.contains(&device))
    }

    /// Whether its server's fault hit a process: it is on a GPU that was, or has no context yet.
    pub(super) fn is_hit(&self, process: &Process) -> bool {
        let fault = process.server.and_then(|server| self.servers.get(&server)?.fault.as_ref());
        fault.is_some_and(|fault| !process.has_context() || fault.devices.iter().any(|device| process.is_on(*device)))
    }

    /// Contexts that end during the reset wait for it, unless no client is left to wait with.
    fn in_reset(&mut self, server: u32, pid: u32) -> bool {
        let hit = |pid: &u32| self.processes.get(pid).is_some_and(|process| self.is_hit(process));
        let nobody_left = !self.living_clients(server).iter().any(hit);
        let is_hit = hit(&pid);
        let Some(fault) = self.servers.get_mut(&server).and_then(|server| server.fault.as_mut()) else { return false };
        if !fault.in_reset || !is_hit {
            return false;
        }
        fault.ended_in_reset.push(pid);
        if nobody_left {
            self.agenda.after(Duration::ZERO, Due::ResetOver { server });
        }
        true
    }

    /// The kernel of a killed client did not end in time: its siblings die with it, and its own teardown, begun at the
    /// kill, comes to its end.
    pub(super) fn drained(&mut self, seat: Seat) {
        let pid = seat.pid;
        self.stop_kernel(seat);
        if let Some(server) = self.processes.get(&pid).and_then(|process| process.server) {
            self.fault_line(Domain::Server(server), Kind::Orphaned, seat);
        }
        let Some(server) = self.processes.get(&pid).and_then(|process| process.server) else { return self.gone(pid) };
        let runs = |process: &Process| process.contexts.values().any(|context| context.kernel.is_some());
        if self.processes.get(&pid).is_some_and(runs) {
            return;
        }
        self.agenda.after(Duration::from_millis(30), Due::ContextZeroExit { server, pid });
        self.agenda.after(Duration::from_millis(56), Due::Gone { pid });
    }

    /// Plans when the last context and the process itself will be gone.
    pub(super) fn tear_down(&mut self, pid: u32) {
        let Some(process) = self.processes.get(&pid) else { return };
        let (server, memory, hit) = (process.server, process.memory_takes(), self.is_hit(process));
        let now = Instant::now();
        let gone = match server.map(|server| (server, self.servers.get(&server))) {
            Some((_, Some(alive))) => match alive.fault.as_ref().filter(|_| hit) {
                Some(fault) => {
                    let (line_at, before) = (fault.line_at, fault.torn_down_at);
                    self.gone_in_fault(now, line_at, before) + memory
                }
                None => now + self.chance.millis(43, 48) + memory,
            },
            Some((dead, None)) => self.gone_without_server(now, dead, pid),
            None => now + self.chance.millis(85, 95) + memory,
        };
        if let Some(server) = server {
            let fault = self.servers.get_mut(&server).and_then(|server| server.fault.as_mut());
            if let Some(fault) = fault.filter(|_| hit) {
                fault.torn_down_at = Some(gone);
            }
            let context = gone.checked_sub(LAST_STEP).map_or(now, |when| when.max(now));
            self.agenda.at(context, Due::ContextZeroExit { server, pid });
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.gone_at = Some(gone);
        }
        self.agenda.at(gone, Due::Gone { pid });
    }

    /// Time at which the next client is gone: in a fault they are torn down one after the other, none before the errors
    /// are out.
    fn gone_in_fault(&mut self, now: Instant, line_at: Instant, before: Option<Instant>) -> Instant {
        let first = now.max(line_at + Duration::from_millis(25)) + self.chance.millis(66, 70);
        let apart = self.chance.millis(30, 34);
        before.map_or(first, |before| first.max(before + apart))
    }

    /// Clients of a dead server are torn down one after the other too, and with the last one goes what the
    /// server held for all of them.
    fn gone_without_server(&mut self, now: Instant, dead: u32, pid: u32) -> Instant {
        let siblings =
            || self.processes.iter().filter(|(other, process)| **other != pid && process.server == Some(dead));
        let before =
            siblings().filter(|(_, process)| process.outlived_server).filter_map(|(_, process)| process.gone_at).max();
        let last = siblings().all(|(_, process)| process.outlived_server);
        let (first, apart, end) =
            (now + self.chance.millis(88, 112), self.chance.millis(30, 45), self.chance.millis(175, 190));
        if let Some(process) = self.processes.get_mut(&pid) {
            process.outlived_server = true;
        }
        before.map_or(first, |before| first.max(before + if last { end } else { apart }))
    }

    /// Its teardown is over, unless the death of its server made that longer.
    pub(super) fn gone_as_planned(&mut self, pid: u32) {
        let later = self.processes.get(&pid).and_then(|process| process.gone_at).is_some_and(|at| at > Instant::now());
        if !later {
            self.gone(pid);
        }
    }

    /// Every trace of a process goes, and it may be reaped.
    pub(super) fn gone(&mut self, pid: u32) {
        self.seats(pid).into_iter().for_each(|seat| self.stop_kernel(seat));
        let Some(process) = self.processes.remove(&pid) else { return };
        let Some(server) = process.server.filter(|_| self.is_hit(&process)) else { return };
        if !self.processes.values().any(|other| other.server == Some(server) && self.is_hit(other)) {
            let wait = self.chance.millis(19, 23);
            self.agenda.after(wait, Due::Active { server });
        }
    }

    /// Clients whose teardown was under way when their server died.
    fn ended_clients(&self, server: u32) -> Vec<u32> {
        let ended = |process: &Process| process.server == Some(server) && process.has_context() && process.ended;
        self.processes.iter().filter(|(_, process)| ended(process)).map(|(pid, _)| *pid).collect()
    }

    /// A server died: its clients get 806, its memory comes back a little later, and then it is reaped.
    pub(super) fn server_ended(&mut self, pid: u32, hold: Option<Sender<()>>) {
        let clients = self.living_clients(pid);
        let held: u64 = self.processes.values().filter(|client| client.server == Some(pid)).map(Process::memory).sum();
        let Some(server) = self.servers.remove(&pid) else { return };
        for seat in clients.into_iter().flat_map(|client| self.seats(client)).collect::<Vec<_>>() {
            let wait = self.chance.millis(2, 30);
            self.agenda.after(wait, Due::Error { seat, error: CudaError::MPS_RPC_FAILURE });
        }
        for client in self.ended_clients(pid) {
            self.tear_down(client);
        }
        let devices = server.devices;
        for index in &devices {
            let Some(device) = self.devices.get_mut(*index) else { continue };
            device.memory_of_the_dead += SERVER_MEMORY;
        }
        // Its process ends after 33 ms with small clients, and after some 80 ms with 35 GiB in theirs.
        let teardown = Duration::from_millis(30) + Duration::from_micros((held >> 30) * 1400);
        self.agenda.after(teardown, Due::ServerGone { devices, _hold: hold });
    }
}
