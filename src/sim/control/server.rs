//! `nvidia-cuda-mps-server`: the process whose context all clients share. Writes the recorded lines,
//! holds FAULT for as long as a client lives on, and builds its context anew for the next one.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::dialect;
use super::log::{self, Role};
use crate::Args;
use crate::chance::Chance;
use crate::cuda::CudaError;
use crate::visible::{self, Gpu};
use crate::wire::{self, Link};

/// Clients that it takes (driver 580).
pub const CLIENTS_LIMIT: usize = 48;

/// File beside the GPU's socket: why no server can start, while it is there.
pub(crate) const FAILS: &str = "server.fails";
/// File beside the GPU's socket: the pid of the server that lets no client in any more.
pub(crate) const NEWCOMERS_HANG: &str = "newcomers.hang";

/// What a server hears; `None`: that side is gone.
enum ServerMessage {
    Control(Option<String>),
    Gpu(Option<String>),
}

/// A context that computes, by the order of the connections.
#[derive(Clone, Copy)]
struct ConnectedContext {
    pid: u32,
    /// Context's number within its process.
    number: u32,
    /// The GPU by NVML's index.
    device: usize,
}

/// FAULT: whom it hit, on which GPUs, and who of them has left.
#[derive(Default)]
struct Fault {
    devices: BTreeSet<usize>,
    hit: BTreeSet<u32>,
    left: Vec<u32>,
}

/// A client that asks: its pid, and the number and the GPU of the context; `None`: its first, which computes nowhere.
type Asking = (u32, Option<(u32, usize)>);

struct ServerProcess {
    pid: u32,
    /// GPUs that it serves, in the order of its ordinals.
    gpus: Vec<Gpu>,
    control: UnixStream,
    gpu: UnixStream,
    chance: Chance,
    /// Client processes, by the order of their first connections.
    clients: Vec<u32>,
    contexts: Vec<ConnectedContext>,
    fault: Option<Fault>,
    /// GPUs whose context was destroyed by a fault and not made again.
    destroyed: BTreeSet<usize>,
    /// Requests that came between the last client's end and ACTIVE.
    waiting: VecDeque<Asking>,
    last_request: (i64, u32),
    /// File beside the GPU's socket.
    hang: PathBuf,
}

/// `--control PATH --gpu PATH --gpus INDEX:UUID[,...] --uid N --seed N [--warm]`: `--warm`, the GPU has been used by this daemon before.
pub(crate) fn main(args: &Args) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(args: &Args) -> io::Result<()> {
    let pid = std::process::id();
    let gpu_socket = args.path("gpu", "gpu.socket");
    dialect::speak(&gpu_socket);
    let mut chance = Chance::new(args.number("seed", 1));
    let path = args.path("control", "control");
    let uid: u32 = args.number("uid", 0);
    log::write(Role::Control, pid, &format!("Starting new server {pid} for user {uid}"));
    log::write(Role::Other, pid, "Startup");
    log::write(Role::Other, pid, &format!("Connecting to control daemon on socket: {}", path.display()));
    let mut control = Link::connect(&path)?;
    control.ask("server")?;
    log::write(Role::Other, pid, "Initializing server process");
    if let Ok(why) = fs::read_to_string(gpu_socket.with_file_name(FAILS)) {
        log::write(Role::Server, pid, &format!("Failed to start : {}", why.trim()));
        return Err(io::Error::other(why));
    }
    let mut gpu = Link::connect(&gpu_socket)?;
    gpu.ask("server")?;
    thread::sleep(if args.has("warm") { chance.millis(30, 36) } else { chance.millis(125, 200) });
    let gpus = visible::listed(args.text("gpus").unwrap_or_default());
    for ordinal in 0..gpus.len() {
        create_context(pid, ordinal, &mut chance);
    }
    let indexes: Vec<String> = gpus.iter().map(|gpu| gpu.index.to_string()).collect();
    gpu.send(&format!("context {}", indexes.join(" ")))?;
    announce(pid, uid, &mut control)?;
    let (to, messages) = channel();
    let control = control.follow(to.clone(), ServerMessage::Control)?;
    let gpu = gpu.follow(to, ServerMessage::Gpu)?;
    let mut server = ServerProcess {
        pid,
        gpus,
        control,
        gpu,
        chance,
        clients: Vec::new(),
        contexts: Vec::new(),
        fault: None,
        destroyed: BTreeSet::new(),
        waiting: VecDeque::new(),
        last_request: (-1_333_654_781, 0),
        hang: gpu_socket.with_file_name(NEWCOMERS_HANG),
    };
    for message in messages {
        match message {
            ServerMessage::Control(Some(line)) => server.hear_control(&line),
            ServerMessage::Gpu(Some(line)) => server.hear_gpu(&line),
            ServerMessage::Control(None) | ServerMessage::Gpu(None) => break,
        }
    }
    thread::sleep(Duration::from_millis(15));
    Ok(())
}

fn create_context(pid: u32, ordinal: usize, chance: &mut Chance) {
    log::write(Role::Server, pid, &format!("Creating server context on device {ordinal} (NVIDIA H200)"));
    thread::sleep(chance.millis(46, 60));
}

/// Tells the control daemon of a server: between the server's lines it writes its own, so the order is kept by asking
/// it.
fn announce(pid: u32, uid: u32, control: &mut Link) -> io::Result<()> {
    let write = |text: &str| log::write(Role::Server, pid, text);
    write(&format!("Created anonymous shared memory region mps.shm.{uid}.{pid}"));
    write("CUDA MPS Server for Linux/Unix. Binary version: 13000");
    write("Display Driver version: 580");
    control.ask("ready")?;
    write("Active Threads Percentage set to 100.0");
    write("Server Priority set to 0");
    write("Server has started");
    control.send("started")
}

impl ServerProcess {
    fn log(&self, text: &str) {
        log::write(Role::Server, self.pid, text);
    }

    fn tell_control(&self, line: &str) {
        let _ = wire::say(&self.control, line);
    }

    fn tell_gpu(&self, line: &str) {
        let _ = wire::say(&self.gpu, line);
    }

    fn hear_control(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            ["client", pid] => self.request((pid.parse().unwrap_or(0), None)),
            ["client", pid, number, device] => {
                let context = (number.parse().unwrap_or(1), device.parse().unwrap_or(0));
                self.request((pid.parse().unwrap_or(0), Some(context)));
            }
            ["shutdown"] => self.shut_down(),
            ["terminate", pid] => {
                self.log(&format!("MPS server requesting client {{PID: {pid}, Context ID: 1}} to exit"));
                self.tell_gpu(&format!("terminate {pid}"));
            }
            _ => {}
        }
    }

    fn hear_gpu(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = words.get(1).and_then(|pid| pid.parse().ok()).unwrap_or(0);
        match *words {
            ["fatal", kind, ref devices @ ..] => {
                let devices: Vec<usize> = devices.iter().map(|device| device.parse().unwrap_or(0)).collect();
                self.fatal(kind, &devices);
            }
            ["exit", _, device] => self.context_exits(number, device.parse().unwrap_or(0), ""),
            ["exit", _, device, "reset"] => {
                self.context_exits(number, device.parse().unwrap_or(0), " Worker is in reset.");
            }
            ["exit", _] => self.process_exits(number),
            ["terminated", _] => self.terminated(number),
            ["evicted", _] => self.evicted(number),
            ["active"] => self.active(),
            _ => {}
        }
    }

    /// A client asks for a context: refused while clients of a fault live, kept waiting until ACTIVE.
    fn request(&mut self, asking: Asking) {
        let (pid, context) = asking;
        let healing = |fault: &Fault| !self.clients.iter().any(|client| fault.hit.contains(client));
        if self.fault.as_ref().is_some_and(healing) {
            return self.waiting.push_back(asking);
        }
        let (last, last_context) = self.last_request;
        self.log(&format!("Received new client request for {{PID: {last}, Context ID: {last_context}}}"));
        self.last_request = (i64::from(pid), number_of(context));
        if self.newcomers_hang() {
            return;
        }
        if self.fault.is_some() {
            return self.refuse(pid, number_of(context));
        }
        for device in std::mem::take(&mut self.destroyed) {
            create_context(self.pid, self.ordinal(device), &mut self.chance);
        }
        self.accept(pid, context);
    }

    fn refuse(&self, pid: u32, context: u32) {
        let CudaError(code) = CudaError::MPS_SERVER_NOT_READY;
        let client = format!("{{PID: {pid}, Context ID: {context}}}");
        self.log(&format!("Server teardown in progress. Refusing to accept new client {client}"));
        self.log(&format!("Failed to accept client {client} with status {code}"));
        self.tell_control(&format!("refused {pid} {code}"));
    }

    fn accept(&mut self, pid: u32, context: Option<(u32, usize)>) {
        if context.is_some_and(|(_, device)| self.contexts_on(device).count() >= CLIENTS_LIMIT) {
            return self.turn_away(pid, context);
        }
        let client = format!("{{PID: {pid}, Context ID: {}}}", number_of(context));
        self.log(&format!("Client {client} connected"));
        self.log(&format!("Creating worker thread for client {client}"));
        let Some((number, device)) = context else {
            self.clients.push(pid);
            self.tell_gpu(&format!("accept {pid}"));
            return self.tell_control(&format!("accepted {pid}"));
        };
        self.log(&format!("Device NVIDIA H200 (uuid {}) is associated", self.uuid_of(device)));
        self.log(&format!("Status of client {client} is ACTIVE"));
        self.contexts.push(ConnectedContext { pid, number, device });
        self.tell_gpu(&format!("accept {pid} {device}"));
        self.tell_control(&format!("accepted {pid} {device}"));
    }

    /// One too many, as recorded of 57 at once: it is let in, and out again within the same millisecond.
    fn turn_away(&mut self, pid: u32, context: Option<(u32, usize)>) {
        let client = format!("{{PID: {pid}, Context ID: {}}}", number_of(context));
        let uuid = context.map_or("", |(_, device)| self.uuid_of(device));
        self.log(&format!("Client {client} connected"));
        self.log(&format!("Creating worker thread for client {client}"));
        self.log(&format!("Device NVIDIA H200 (uuid {uuid}) is associated"));
        self.log(&format!("Failed to accept new client. Maximum number of clients ({CLIENTS_LIMIT}) reached."));
        self.log(&format!("Client process {pid} disconnected"));
        self.clients.retain(|client| *client != pid);
        let CudaError(code) = CudaError::DEVICES_UNAVAILABLE;
        self.tell_control(&format!("refused {pid} {code}"));
        self.tell_control(&format!("left {pid}"));
    }

    fn contexts_on(&self, device: usize) -> impl Iterator<Item = &ConnectedContext> {
        self.contexts.iter().filter(move |context| context.device == device)
    }

    /// What the server itself calls a GPU.
    fn ordinal(&self, device: usize) -> usize {
        self.gpus.iter().position(|gpu| gpu.index == device).unwrap_or(device)
    }

    fn uuid_of(&self, device: usize) -> &str {
        self.gpus.iter().find(|gpu| gpu.index == device).map_or("", |gpu| gpu.uuid.as_str())
    }

    /// Contexts on a GPU: the one that connected first, then the others, newest first.
    fn in_recorded_order(&self, device: usize) -> Vec<ConnectedContext> {
        let all: Vec<ConnectedContext> = self.contexts_on(device).copied().collect();
        let (first, others) = all.split_at(all.len().min(1));
        first.iter().chain(others.iter().rev()).copied().collect()
    }

    /// `devices`: the GPU where it began, and those that clients join to it.
    fn fatal(&mut self, kind: &str, devices: &[usize]) {
        let torn: Vec<Vec<ConnectedContext>> = devices.iter().map(|device| self.in_recorded_order(*device)).collect();
        let fault = self.fault.get_or_insert_default();
        fault.devices.extend(devices);
        fault.hit.extend(torn.iter().flatten().map(|context| context.pid));
        // Who is between its two contexts gets none on a GPU that is torn down.
        let between = |pid: &&u32| !self.contexts.iter().any(|context| context.pid == **pid);
        fault.hit.extend(self.clients.iter().filter(between));
        self.tell_control("state FAULT");
        if let (Some(first), "illegal") = (torn.iter().flatten().next(), kind) {
            self.log(&format!("Client {{PID: {}, Context: 1}} encountered a fatal GPU error.", first.pid));
        }
        self.log("Server is handling a fatal GPU error.");
        let mut named: Vec<u32> = Vec::new();
        for (device, contexts) in devices.iter().zip(&torn) {
            self.tear_down(self.ordinal(*device), contexts, &mut named);
        }
        self.log("The following devices will be reset:");
        devices.iter().for_each(|device| self.log(&self.ordinal(*device).to_string()));
        self.log("The following client process have a sticky error set:");
        named.iter().for_each(|pid| self.log(&pid.to_string()));
    }

    /// Names those on one GPU; a process with all of its contexts, once.
    fn tear_down(&self, ordinal: usize, contexts: &[ConnectedContext], named: &mut Vec<u32>) {
        for ConnectedContext { pid, number, .. } in contexts {
            self.log(&format!("Client {{PID: {pid}, Context ID: {number}}} on device {ordinal} to be torn down"));
        }
        for ConnectedContext { pid, .. } in contexts {
            if named.contains(pid) {
                continue;
            }
            named.push(*pid);
            self.log(&format!("All clients belonging to error trigging process {pid} will be torn down"));
            for ConnectedContext { number, .. } in self.contexts.iter().filter(|context| context.pid == *pid) {
                self.log(&format!(
                    "Client {{PID: {pid}, Context ID: {number}}} on the error-trigging process {pid} to be torn down"
                ));
            }
        }
    }

    fn assume_exit(&self, pid: u32, context: u32) {
        self.log(&format!(
            "Server failed to recevie command with status 806, assuming client {{PID: {pid}, Context ID: {context}}} exit"
        ));
    }

    fn context_exits(&mut self, pid: u32, device: usize, note: &str) {
        let found = self.contexts.iter().position(|context| (context.pid, context.device) == (pid, device));
        if let Some(context) = found.map(|place| self.contexts.remove(place)) {
            self.assume_exit(pid, context.number);
            self.context_left(context, note);
        }
    }

    /// Takes the contexts of a process.
    fn drop_contexts(&mut self, pid: u32) -> Vec<ConnectedContext> {
        let (its, others) = self.contexts.iter().partition(|context| context.pid == pid);
        self.contexts = others;
        its
    }

    fn context_left(&mut self, context: ConnectedContext, note: &str) {
        let ConnectedContext { pid, number, device } = context;
        let left = self.contexts_on(device).count();
        self.log(&format!(
            "Client {{PID: {pid}, Context ID: {number}}} exiting.{note} Number of active client contexts is {left}."
        ));
        if left == 0 && self.fault.as_ref().is_some_and(|fault| fault.devices.contains(&device)) {
            self.log(&format!("Destroy server context on device {} (NVIDIA H200)", self.ordinal(device)));
            self.destroyed.insert(device);
        }
    }

    fn terminated(&mut self, pid: u32) {
        let contexts = self.drop_contexts(pid);
        contexts.iter().for_each(|context| self.assume_exit(pid, context.number));
        if !contexts.is_empty() {
            self.log("Client termination succeeded.");
        }
        self.tell_control(&format!("terminated {pid}"));
        contexts.into_iter().for_each(|context| self.context_left(context, ""));
    }

    /// It takes a client's memory back by itself; the client learns of it by its next call.
    fn evicted(&mut self, pid: u32) {
        for context in self.drop_contexts(pid) {
            self.assume_exit(pid, context.number);
            self.context_left(context, "");
        }
        self.process_exits(pid);
    }

    /// This very server leaves clients that come now without an answer.
    fn newcomers_hang(&self) -> bool {
        fs::read_to_string(&self.hang).is_ok_and(|pid| pid.trim() == self.pid.to_string())
    }

    fn process_exits(&mut self, pid: u32) {
        let before = self.clients.len();
        self.clients.retain(|client| *client != pid);
        if self.clients.len() == before {
            return;
        }
        self.assume_exit(pid, 0);
        self.tell_control(&format!("left {pid}"));
        match self.fault.as_mut().filter(|fault| fault.hit.contains(&pid)) {
            Some(fault) => fault.left.push(pid),
            None => self.log(&format!("Client process {pid} disconnected")),
        }
    }

    /// The driver has finished: who came meanwhile is served first.
    fn active(&mut self) {
        let left = self.fault.take().unwrap_or_default().left;
        self.tell_control("state ACTIVE");
        for asking in std::mem::take(&mut self.waiting) {
            self.request(asking);
        }
        for pid in left {
            self.log(&format!("Client process {pid} disconnected"));
        }
    }

    /// Ends only without clients.
    fn shut_down(&mut self) {
        self.log("Server has been notified to shutdown");
        let contexts = self.clients.len() + self.contexts.len();
        if contexts > 0 {
            self.log(&format!("Server was unable to shutdown due to {contexts} active clients"));
            return self.tell_control(&format!("busy {contexts}"));
        }
        self.log("Waiting for current clients to finish");
        self.log("Exiting");
        thread::sleep(self.chance.millis(25, 50));
        std::process::exit(0);
    }
}

/// Context's number within its process: the one that computes nowhere is 0.
fn number_of(context: Option<(u32, usize)>) -> u32 {
    context.map_or(0, |(number, _)| number)
}
