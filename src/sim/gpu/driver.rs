//! The driver: the GPUs, who speaks to it, and what each of them may say. What faults and ends lead to is
//! in `faults` and `ends`, what kernels do in `launches`, a process's contexts in `process`.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::device::Device;
use super::kernel_log::KernelLog;
use super::process::{Context, Process, Seat};
use super::{Due, Message, SERVER_MEMORY, faults::Fault, reaper};
use crate::agenda::Agenda;
use crate::args::Args;
use crate::chance::Chance;
use crate::cuda::CudaError;
use crate::wire::{Links, Peer};

/// How often a stopped client is looked at.
const PATIENCE: Duration = Duration::from_millis(5);

/// The driver of a machine's GPUs.
pub(super) struct Driver {
    pub devices: Vec<Device>,
    pub chance: Chance,
    pub agenda: Agenda<Due>,
    pub links: Links,
    pub log: KernelLog,
    pub processes: BTreeMap<u32, Process>,
    pub servers: BTreeMap<u32, Server>,
    /// Processes are held at their exit, as far as the last attempt can tell.
    pub holds: bool,
    roles: BTreeMap<u64, Role>,
    to: Sender<Message>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy)]
enum Role {
    Server(u32),
    Client(Seat),
    Reader,
}

/// A server and what it holds.
pub(super) struct Server {
    pub link: u64,
    /// GPUs on which it has a context.
    pub devices: Vec<usize>,
    pub fault: Option<Fault>,
}

impl Driver {
    /// GPUs in good health that no process uses.
    pub(super) fn new(args: &Args, to: Sender<Message>) -> io::Result<Driver> {
        let uuids = args.text("uuid").unwrap_or("GPU-0").split(',').enumerate();
        Ok(Driver {
            devices: uuids.map(|(index, uuid)| Device::new(index, uuid)).collect(),
            chance: Chance::new(args.number("seed", 1)),
            agenda: Agenda::default(),
            links: Links::default(),
            log: KernelLog::open(&args.path("kernel-log", "kmsg"))?,
            processes: BTreeMap::new(),
            servers: BTreeMap::new(),
            holds: !args.has("let-go"),
            roles: BTreeMap::new(),
            to,
        })
    }

    /// Bytes in use on one GPU.
    pub(super) fn memory_used(&self, device: usize) -> u64 {
        let servers = self.servers.values().filter(|server| server.devices.contains(&device)).count() as u64;
        let contexts = self.processes.values().filter_map(|process| process.contexts.get(&device));
        let clients: u64 = contexts.map(|context| context.memory).sum();
        servers * SERVER_MEMORY + clients + self.devices.get(device).map_or(0, |device| device.memory_of_the_dead)
    }

    /// The living clients of a server that have a context, in no order that means anything.
    pub(super) fn living_clients(&self, server: u32) -> Vec<u32> {
        let lives = |process: &Process| process.server == Some(server) && process.has_context() && !process.ended;
        self.processes.iter().filter(|(_, process)| lives(process)).map(|(pid, _)| *pid).collect()
    }

    /// The same, of those that have one on this GPU.
    pub(super) fn living_clients_on(&self, server: u32, device: usize) -> Vec<u32> {
        let on_it = |pid: &u32| self.processes.get(pid).is_some_and(|process| process.is_on(device));
        self.living_clients(server).into_iter().filter(on_it).collect()
    }

    /// A process's context on one GPU, made or about to be.
    pub(super) fn context(&mut self, seat: Seat) -> Option<&mut Context> {
        self.processes.get_mut(&seat.pid)?.contexts.get_mut(&seat.device)
    }

    /// The contexts that a process has.
    pub(super) fn seats(&self, pid: u32) -> Vec<Seat> {
        let contexts = self.processes.get(&pid).into_iter().flat_map(|process| process.contexts.keys());
        contexts.map(|device| Seat { pid, device: *device }).collect()
    }

    /// One line from a connection.
    pub(super) fn hear(&mut self, link: u64, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match self.roles.get(&link).copied() {
            None => self.greet(link, &words),
            Some(Role::Server(pid)) => self.hear_server(pid, &words),
            Some(Role::Client(seat)) => self.hear_client(seat, &words),
            Some(Role::Reader) => self.answer(link, &words),
        }
    }

    fn greet(&mut self, link: u64, words: &[&str]) {
        let Some(Peer { pid, .. }) = self.links.peer(link) else { return };
        let role = match words {
            ["server"] => {
                self.servers.insert(pid, Server { link, devices: Vec::new(), fault: None });
                self.hold(pid);
                Role::Server(pid)
            }
            ["client", name, device] => {
                let seat = Seat { pid, device: device.parse().unwrap_or(0) };
                self.greet_client(link, seat, name);
                Role::Client(seat)
            }
            _ => Role::Reader,
        };
        self.roles.insert(link, role);
        self.links.say(link, "ok");
    }

    fn greet_client(&mut self, link: u64, seat: Seat, name: &str) {
        // A pid that is used again is another process; one that has a context elsewhere gets one more.
        let again = self.processes.get(&seat.pid).is_some_and(|known| !known.ended);
        if !again {
            self.processes.insert(seat.pid, Process::called(name));
            self.hold(seat.pid);
        }
        if let Some(process) = self.processes.get_mut(&seat.pid) {
            process.contexts.insert(seat.device, Context::over(link));
        }
    }

    fn hold(&mut self, pid: u32) {
        self.holds = self.holds && reaper::hold_at_exit(pid, self.to.clone());
    }

    fn hear_server(&mut self, server: u32, words: &[&str]) {
        let number = |word: &str| word.parse().unwrap_or(0);
        match *words {
            ["context", ref devices @ ..] => {
                if let Some(server) = self.servers.get_mut(&server) {
                    server.devices = devices.iter().map(|device| device.parse().unwrap_or(0)).collect();
                }
            }
            ["accept", pid] => self.accept(server, number(pid), None),
            ["accept", pid, device] => self.accept(server, number(pid), device.parse().ok()),
            ["terminate", pid] => self.terminate(server, number(pid)),
            _ => {}
        }
    }

    /// A server takes a client, or its context on a GPU; one that died meanwhile leaves at once.
    fn accept(&mut self, server: u32, pid: u32, device: Option<usize>) {
        match self.processes.get_mut(&pid).filter(|process| !process.ended) {
            Some(process) => {
                process.server = Some(server);
                if let Some(context) = device.and_then(|device| process.contexts.get_mut(&device)) {
                    context.made = true;
                }
            }
            None => self.agenda.after(Duration::ZERO, Due::ContextZeroExit { server, pid }),
        }
    }

    fn terminate(&mut self, server: u32, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.terminated = true;
        }
        let wait = self.chance.millis(5, 7);
        self.agenda.after(wait, Due::Terminated { server, pid });
    }

    fn hear_client(&mut self, seat: Seat, words: &[&str]) {
        let well = self.devices.get(seat.device).is_some_and(|device| !device.lost && device.recovery_action == 0);
        let Some(context) = self.context(seat) else { return };
        context.waiting = true;
        if !well {
            return self.give_error(seat, CudaError::UNKNOWN);
        }
        if let Some(CudaError(code)) = context.error {
            return self.reply(seat, &format!("error {code}"));
        }
        match *words {
            ["outside"] => {
                context.made = true;
                self.reply(seat, "ok");
            }
            ["alloc", bytes] => self.allocate(seat, bytes.parse().unwrap_or(u64::MAX)),
            ["percentage", percent] => {
                context.sm_share = percent.parse().map_or(1.0, |percent: f64| (percent / 100.0).clamp(0.0, 1.0));
                self.reply(seat, "ok");
            }
            ["launch", micros, demand] => self.launch(seat, micros, demand),
            ["hang"] => self.begin_endless(seat),
            ["starve"] => {
                context.starves = true;
                if let Some(device) = self.devices.get_mut(seat.device) {
                    device.starving.get_or_insert_with(Instant::now);
                }
                self.reply(seat, "ok");
            }
            ["fault", kind] => self.begin_fault(seat, kind == "trap"),
            _ => self.give_error(seat, CudaError::UNKNOWN),
        }
    }

    fn allocate(&mut self, seat: Seat, bytes: u64) {
        let free = super::MEMORY_TOTAL.saturating_sub(self.memory_used(seat.device));
        let Some(context) = self.context(seat) else { return };
        if bytes > free {
            let CudaError(code) = CudaError::OUT_OF_MEMORY;
            return self.reply(seat, &format!("error {code}"));
        }
        context.memory += bytes;
        self.reply(seat, "ok");
    }

    /// Answers a client that waits.
    pub(super) fn reply(&mut self, seat: Seat, answer: &str) {
        let Some(context) = self.context(seat) else { return };
        let link = context.link;
        if std::mem::take(&mut context.waiting) {
            self.links.say(link, answer);
        }
    }

    /// A connection is gone: for a server and a client that is their death.
    pub(super) fn hung_up(&mut self, link: u64) {
        match self.roles.remove(&link) {
            Some(Role::Server(pid)) => self.server_ended(pid, None),
            Some(Role::Client(seat)) if self.context(seat).is_some_and(|context| context.link == link) => {
                self.client_ended(seat.pid);
            }
            _ => self.devices.iter_mut().for_each(|device| device.watchers.retain(|watcher| *watcher != link)),
        }
        self.links.close(link);
    }

    /// Does what was planned for now.
    pub(super) fn carry_out(&mut self, due: Due) {
        match due {
            Due::KernelDone { device } => self.end_kernels(device),
            Due::FaultLine { domain, kind, culprit } => self.fault_line(domain, kind, culprit),
            Due::XidEvent { device, xid } => self.tell_watchers(device, xid),
            Due::Error { seat, error } => self.give_error(seat, error),
            Due::ResetOver { server } => self.reset_over(server),
            Due::Drained { seat } => self.drained(seat),
            Due::Terminated { server, pid } => self.terminated(server, pid),
            Due::ContextZeroExit { server, pid } => self.tell_server(server, &format!("exit {pid}")),
            Due::Gone { pid } => self.gone_as_planned(pid),
            Due::Active { server } => self.active(server),
            Due::ServerGone { devices, .. } => {
                for index in devices {
                    let Some(device) = self.devices.get_mut(index) else { continue };
                    device.memory_of_the_dead = device.memory_of_the_dead.saturating_sub(SERVER_MEMORY);
                }
            }
        }
    }

    /// Its part done, the server answers. A client that is stopped does no part until it goes on.
    fn terminated(&mut self, server: u32, pid: u32) {
        if is_stopped(pid) {
            return self.agenda.after(PATIENCE, Due::Terminated { server, pid });
        }
        for seat in self.seats(pid) {
            self.give_error(seat, CudaError::MPS_CLIENT_TERMINATED);
        }
        self.tell_server(server, &format!("terminated {pid}"));
    }

    /// An error that all further calls on this context will get too.
    pub(super) fn give_error(&mut self, seat: Seat, error: CudaError) {
        self.stop_kernel(seat);
        if let Some(context) = self.context(seat) {
            context.error.get_or_insert(error);
            self.reply(seat, &format!("error {}", error.0));
        }
    }

    /// Tells a server; one that is gone hears nothing.
    pub(super) fn tell_server(&self, server: u32, line: &str) {
        if let Some(server) = self.servers.get(&server) {
            self.links.say(server.link, line);
        }
    }
}

/// Whether a signal or a debugger has stopped it.
fn is_stopped(pid: u32) -> bool {
    let stat = i32::try_from(pid).ok().and_then(|pid| procfs::process::Process::new(pid).ok()?.stat().ok());
    stat.is_some_and(|stat| matches!(stat.state, 'T' | 't'))
}
