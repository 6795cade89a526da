//! The GPU's state, who speaks to it, and what each of them may say. What faults and ends lead to is
//! in `faults` and `ends`, what kernels do in `launches`.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::busy::Busy;
use super::kernel_log::KernelLog;
use super::kernels::Kernels;
use super::{Due, Message, SERVER_MEMORY, faults::Fault, reaper};
use crate::agenda::{Agenda, Ticket};
use crate::args::Args;
use crate::chance::Chance;
use crate::cuda::CudaError;
use crate::wire::{Links, Peer};

/// How often a stopped client is looked at.
const PATIENCE: Duration = Duration::from_millis(5);

/// One simulated GPU.
pub(super) struct Gpu {
    pub uuid: String,
    pub chance: Chance,
    pub agenda: Agenda<Due>,
    pub links: Links,
    pub log: KernelLog,
    pub processes: BTreeMap<u32, Process>,
    pub servers: BTreeMap<u32, Server>,
    pub kernels: Kernels,
    /// The agenda's entry for the next kernel's end.
    pub next_end: Option<Ticket>,
    pub busy: Busy,
    /// Connections that wait for Xids.
    pub watchers: Vec<u64>,
    /// Off the bus.
    pub lost: bool,
    /// What the driver wants done to it, by nvml.h's number: 1 is a reset.
    pub recovery_action: u32,
    /// Time since which an engine starves its siblings: every SM is taken.
    pub starving: Option<Instant>,
    /// Memory of servers that are dead and not yet torn down.
    pub memory_of_the_dead: u64,
    /// Processes are held at their exit, as far as the last attempt can tell.
    pub holds: bool,
    roles: BTreeMap<u64, Role>,
    to: Sender<Message>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy)]
enum Role {
    Server(u32),
    Client(u32),
    Reader,
}

/// A process that uses the GPU, or is about to.
pub(super) struct Process {
    pub name: String,
    pub link: u64,
    /// The server whose client it is; none: outside MPS, or not yet decided.
    pub server: Option<u32>,
    /// It has a context that NVML shows.
    pub context: bool,
    pub memory: u64,
    /// The share of the SMs that it may use: its active thread percentage.
    pub sm_share: f64,
    /// The serial number of what it runs.
    pub kernel: Option<u64>,
    /// Sticky: the answer to all further calls.
    pub error: Option<CudaError>,
    /// It waits for an answer.
    pub waiting: bool,
    pub ended: bool,
    /// Its context was ended by `terminate_client`.
    pub terminated: bool,
    /// Its kernels wait while others take the GPU.
    pub starves: bool,
    /// When its teardown will be over, once that is planned.
    pub gone_at: Option<Instant>,
    /// That plan was made when its server was dead.
    pub outlived_server: bool,
    /// Keeps the process from being reaped until it is dropped.
    pub hold: Option<Sender<()>>,
}

/// A server and what it holds.
pub(super) struct Server {
    pub link: u64,
    pub memory: u64,
    pub fault: Option<Fault>,
}

impl Gpu {
    /// A GPU in good health that no process uses.
    pub(super) fn new(args: &Args, to: Sender<Message>) -> io::Result<Gpu> {
        Ok(Gpu {
            uuid: args.text("uuid").unwrap_or("GPU-0").to_owned(),
            chance: Chance::new(args.number("seed", 1)),
            agenda: Agenda::default(),
            links: Links::default(),
            log: KernelLog::open(&args.path("kernel-log", "kmsg"))?,
            processes: BTreeMap::new(),
            servers: BTreeMap::new(),
            kernels: Kernels::new(Instant::now()),
            next_end: None,
            busy: Busy::default(),
            watchers: Vec::new(),
            lost: false,
            recovery_action: 0,
            starving: None,
            memory_of_the_dead: 0,
            holds: !args.has("let-go"),
            roles: BTreeMap::new(),
            to,
        })
    }

    /// Bytes in use.
    pub(super) fn memory_used(&self) -> u64 {
        let servers: u64 = self.servers.values().map(|server| server.memory).sum();
        let processes: u64 = self.processes.values().map(|process| process.memory).sum();
        servers + processes + self.memory_of_the_dead
    }

    /// The living clients of a server that have a context, in no order that means anything.
    pub(super) fn living_clients(&self, server: u32) -> Vec<u32> {
        let lives = |process: &Process| process.server == Some(server) && process.context && !process.ended;
        self.processes.iter().filter(|(_, process)| lives(process)).map(|(pid, _)| *pid).collect()
    }

    /// One line from a connection.
    pub(super) fn hear(&mut self, link: u64, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match self.roles.get(&link).copied() {
            None => self.greet(link, &words),
            Some(Role::Server(pid)) => self.hear_server(pid, &words),
            Some(Role::Client(pid)) => self.hear_client(pid, &words),
            Some(Role::Reader) => self.answer(link, &words),
        }
    }

    fn greet(&mut self, link: u64, words: &[&str]) {
        let Some(Peer { pid, .. }) = self.links.peer(link) else { return };
        let role = match words {
            ["server"] => {
                self.servers.insert(pid, Server { link, memory: 0, fault: None });
                self.hold(pid);
                Role::Server(pid)
            }
            ["client", name] => {
                self.greet_client(link, pid, name);
                Role::Client(pid)
            }
            _ => Role::Reader,
        };
        self.roles.insert(link, role);
        self.links.say(link, "ok");
    }

    fn greet_client(&mut self, link: u64, pid: u32, name: &str) {
        let process = Process {
            name: name.to_owned(),
            link,
            server: None,
            context: false,
            memory: 0,
            sm_share: 1.0,
            kernel: None,
            error: None,
            waiting: false,
            ended: false,
            terminated: false,
            starves: false,
            gone_at: None,
            outlived_server: false,
            hold: None,
        };
        self.processes.insert(pid, process);
        self.hold(pid);
    }

    fn hold(&mut self, pid: u32) {
        self.holds = self.holds && reaper::hold_at_exit(pid, self.to.clone());
    }

    fn hear_server(&mut self, server: u32, words: &[&str]) {
        match *words {
            ["context"] => {
                if let Some(server) = self.servers.get_mut(&server) {
                    server.memory = SERVER_MEMORY;
                }
            }
            ["accept", pid, context] => self.accept(server, pid.parse().unwrap_or(0), context == "1"),
            ["terminate", pid] => self.terminate(server, pid.parse().unwrap_or(0)),
            _ => {}
        }
    }

    /// A server takes a client; one that died meanwhile leaves at once.
    fn accept(&mut self, server: u32, pid: u32, context: bool) {
        match self.processes.get_mut(&pid).filter(|process| !process.ended) {
            Some(process) => {
                process.server = Some(server);
                process.context |= context;
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

    fn hear_client(&mut self, pid: u32, words: &[&str]) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.waiting = true;
        if self.lost || self.recovery_action != 0 {
            return self.give_error(pid, CudaError::UNKNOWN);
        }
        if let Some(CudaError(code)) = process.error {
            return self.reply(pid, &format!("error {code}"));
        }
        match *words {
            ["outside"] => {
                process.context = true;
                self.reply(pid, "ok");
            }
            ["alloc", bytes] => self.allocate(pid, bytes.parse().unwrap_or(u64::MAX)),
            ["percentage", percent] => {
                process.sm_share = percent.parse().map_or(1.0, |percent: f64| (percent / 100.0).clamp(0.0, 1.0));
                self.reply(pid, "ok");
            }
            ["launch", micros, demand] => self.launch(pid, micros, demand),
            ["hang"] => self.begin_endless(pid),
            ["starve"] => {
                process.starves = true;
                self.starving.get_or_insert_with(Instant::now);
                self.reply(pid, "ok");
            }
            ["fault", kind] => self.begin_fault(pid, kind == "trap"),
            _ => self.give_error(pid, CudaError::UNKNOWN),
        }
    }

    fn allocate(&mut self, pid: u32, bytes: u64) {
        let free = super::MEMORY_TOTAL.saturating_sub(self.memory_used());
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if bytes > free {
            let CudaError(code) = CudaError::OUT_OF_MEMORY;
            return self.reply(pid, &format!("error {code}"));
        }
        process.memory += bytes;
        self.reply(pid, "ok");
    }

    /// Answers a client that waits.
    pub(super) fn reply(&mut self, pid: u32, answer: &str) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if std::mem::take(&mut process.waiting) {
            self.links.say(process.link, answer);
        }
    }

    /// A connection is gone: for a server and a client that is their death.
    pub(super) fn hung_up(&mut self, link: u64) {
        match self.roles.remove(&link) {
            Some(Role::Server(pid)) => self.server_ended(pid, None),
            Some(Role::Client(pid)) if self.processes.get(&pid).is_some_and(|process| process.link == link) => {
                self.client_ended(pid);
            }
            _ => self.watchers.retain(|watcher| *watcher != link),
        }
        self.links.close(link);
    }

    /// Does what was planned for now.
    pub(super) fn carry_out(&mut self, due: Due) {
        match due {
            Due::KernelDone => self.end_kernels(),
            Due::FaultLine { domain, kind, culprit } => self.fault_line(domain, kind, culprit),
            Due::XidEvent(xid) => self.tell_watchers(xid),
            Due::Error { pid, error } => self.give_error(pid, error),
            Due::ResetOver { server } => self.reset_over(server),
            Due::Drained { pid } => self.drained(pid),
            Due::Terminated { server, pid } => self.terminated(server, pid),
            Due::ContextZeroExit { server, pid } => self.tell_server(server, &format!("exit {pid} 0")),
            Due::Gone { pid } => self.gone_as_planned(pid),
            Due::Active { server } => self.active(server),
            Due::ServerGone { .. } => self.memory_of_the_dead = self.memory_of_the_dead.saturating_sub(SERVER_MEMORY),
        }
    }

    /// Its part done, the server answers. A client that is stopped does no part until it goes on.
    fn terminated(&mut self, server: u32, pid: u32) {
        if is_stopped(pid) {
            return self.agenda.after(PATIENCE, Due::Terminated { server, pid });
        }
        self.stop_kernel(pid);
        self.give_error(pid, CudaError::MPS_CLIENT_TERMINATED);
        self.tell_server(server, &format!("terminated {pid}"));
    }

    /// An error that all further calls of this client will get too.
    pub(super) fn give_error(&mut self, pid: u32, error: CudaError) {
        self.stop_kernel(pid);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.error.get_or_insert(error);
            self.reply(pid, &format!("error {}", error.0));
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
