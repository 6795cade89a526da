//! `nvidia-cuda-mps-server`: the process whose context all clients share. Writes the recorded lines,
//! holds FAULT for as long as a client lives on, and builds its context anew for the next one.

use std::collections::VecDeque;
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

/// A client process, by the order of its first connection.
struct ConnectedClient {
    pid: u32,
    /// It has its second context, the one that computes.
    context: bool,
}

/// FAULT, and who has left during it.
#[derive(Default)]
struct Fault {
    left: Vec<u32>,
}

struct ServerProcess {
    pid: u32,
    uuid: String,
    control: UnixStream,
    gpu: UnixStream,
    chance: Chance,
    clients: Vec<ConnectedClient>,
    fault: Option<Fault>,
    /// The context was destroyed by a fault and not made again.
    destroyed: bool,
    /// Requests that came between the last client's end and ACTIVE.
    waiting: VecDeque<(u32, u8)>,
    last_request: (i64, u8),
    /// File beside the GPU's socket.
    hang: PathBuf,
}

/// `--control PATH --gpu PATH --uuid UUID --uid N --seed N [--warm]`: `--warm`, the GPU has been used by this daemon before.
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
    create_context(pid, &mut chance);
    gpu.send("context")?;
    announce(pid, uid, &mut control)?;
    let (to, messages) = channel();
    let control = control.follow(to.clone(), ServerMessage::Control)?;
    let gpu = gpu.follow(to, ServerMessage::Gpu)?;
    let mut server = ServerProcess {
        pid,
        uuid: args.text("uuid").unwrap_or_default().to_owned(),
        control,
        gpu,
        chance,
        clients: Vec::new(),
        fault: None,
        destroyed: false,
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

fn create_context(pid: u32, chance: &mut Chance) {
    log::write(Role::Server, pid, "Creating server context on device 0 (NVIDIA H200)");
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
            ["client", pid, context] => self.request(pid.parse().unwrap_or(0), context.parse().unwrap_or(0)),
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
            ["fatal", kind] => self.fatal(kind),
            ["exit", _, "1"] => self.context_exits(number, ""),
            ["exit", _, "1", "reset"] => self.context_exits(number, " Worker is in reset."),
            ["exit", _, "0"] => self.process_exits(number),
            ["terminated", _] => self.terminated(number),
            ["evicted", _] => self.evicted(number),
            ["active"] => self.active(),
            _ => {}
        }
    }

    /// A client asks for a context: refused while a fault's clients live, kept waiting until ACTIVE.
    fn request(&mut self, pid: u32, context: u8) {
        if self.fault.is_some() && self.clients.is_empty() {
            return self.waiting.push_back((pid, context));
        }
        let (last, last_context) = self.last_request;
        self.log(&format!("Received new client request for {{PID: {last}, Context ID: {last_context}}}"));
        self.last_request = (i64::from(pid), context);
        if self.newcomers_hang() {
            return;
        }
        if self.fault.is_some() {
            return self.refuse(pid, context);
        }
        if std::mem::take(&mut self.destroyed) {
            create_context(self.pid, &mut self.chance);
        }
        self.accept(pid, context);
    }

    fn refuse(&self, pid: u32, context: u8) {
        let CudaError(code) = CudaError::MPS_SERVER_NOT_READY;
        let client = format!("{{PID: {pid}, Context ID: {context}}}");
        self.log(&format!("Server teardown in progress. Refusing to accept new client {client}"));
        self.log(&format!("Failed to accept client {client} with status {code}"));
        self.tell_control(&format!("refused {pid} {code}"));
    }

    fn accept(&mut self, pid: u32, context: u8) {
        if context == 1 && self.clients.iter().filter(|client| client.context).count() >= CLIENTS_LIMIT {
            return self.turn_away(pid);
        }
        let client = format!("{{PID: {pid}, Context ID: {context}}}");
        self.log(&format!("Client {client} connected"));
        self.log(&format!("Creating worker thread for client {client}"));
        if context == 0 {
            self.clients.push(ConnectedClient { pid, context: false });
        } else {
            self.log(&format!("Device NVIDIA H200 (uuid {}) is associated", self.uuid));
            self.log(&format!("Status of client {client} is ACTIVE"));
            if let Some(known) = self.clients.iter_mut().find(|known| known.pid == pid) {
                known.context = true;
            }
        }
        self.tell_gpu(&format!("accept {pid} {context}"));
        self.tell_control(&format!("accepted {pid} {context}"));
    }

    /// One too many, as recorded of 57 at once: it is let in, and out again within the same millisecond.
    fn turn_away(&mut self, pid: u32) {
        let client = format!("{{PID: {pid}, Context ID: 1}}");
        self.log(&format!("Client {client} connected"));
        self.log(&format!("Creating worker thread for client {client}"));
        self.log(&format!("Device NVIDIA H200 (uuid {}) is associated", self.uuid));
        self.log(&format!("Failed to accept new client. Maximum number of clients ({CLIENTS_LIMIT}) reached."));
        self.log(&format!("Client process {pid} disconnected"));
        self.clients.retain(|client| client.pid != pid);
        let CudaError(code) = CudaError::DEVICES_UNAVAILABLE;
        self.tell_control(&format!("refused {pid} {code}"));
        self.tell_control(&format!("left {pid}"));
    }

    /// Clients with a context: the one that connected first, then the others, newest first.
    fn in_recorded_order(&self) -> Vec<u32> {
        let pids: Vec<u32> = self.clients.iter().filter(|client| client.context).map(|client| client.pid).collect();
        let (first, others) = pids.split_at(pids.len().min(1));
        first.iter().chain(others.iter().rev()).copied().collect()
    }

    fn fatal(&mut self, kind: &str) {
        let pids = self.in_recorded_order();
        self.fault = Some(Fault::default());
        self.tell_control("state FAULT");
        if let (Some(first), "illegal") = (pids.first(), kind) {
            self.log(&format!("Client {{PID: {first}, Context: 1}} encountered a fatal GPU error."));
        }
        self.log("Server is handling a fatal GPU error.");
        for pid in &pids {
            self.log(&format!("Client {{PID: {pid}, Context ID: 1}} on device 0 to be torn down"));
        }
        for pid in &pids {
            self.log(&format!("All clients belonging to error trigging process {pid} will be torn down"));
            self.log(&format!(
                "Client {{PID: {pid}, Context ID: 1}} on the error-trigging process {pid} to be torn down"
            ));
        }
        self.log("The following devices will be reset:");
        self.log("0");
        self.log("The following client process have a sticky error set:");
        for pid in &pids {
            self.log(&pid.to_string());
        }
    }

    fn assume_exit(&self, pid: u32, context: u8) {
        self.log(&format!(
            "Server failed to recevie command with status 806, assuming client {{PID: {pid}, Context ID: {context}}} exit"
        ));
    }

    fn context_exits(&mut self, pid: u32, note: &str) {
        if self.drop_context(pid) {
            self.assume_exit(pid, 1);
            self.context_left(pid, note);
        }
    }

    /// Whether it had one.
    fn drop_context(&mut self, pid: u32) -> bool {
        let known = self.clients.iter_mut().find(|known| known.pid == pid);
        known.is_some_and(|known| std::mem::take(&mut known.context))
    }

    fn context_left(&mut self, pid: u32, note: &str) {
        let left = self.clients.iter().filter(|client| client.context).count();
        self.log(&format!(
            "Client {{PID: {pid}, Context ID: 1}} exiting.{note} Number of active client contexts is {left}."
        ));
        if left == 0 && self.fault.is_some() {
            self.log("Destroy server context on device 0 (NVIDIA H200)");
            self.destroyed = true;
        }
    }

    fn terminated(&mut self, pid: u32) {
        if self.drop_context(pid) {
            self.assume_exit(pid, 1);
            self.log("Client termination succeeded.");
            self.tell_control(&format!("terminated {pid}"));
            self.context_left(pid, "");
        } else {
            self.tell_control(&format!("terminated {pid}"));
        }
    }

    /// It takes a client's memory back by itself; the client learns of it by its next call.
    fn evicted(&mut self, pid: u32) {
        if self.drop_context(pid) {
            self.assume_exit(pid, 1);
            self.context_left(pid, "");
        }
        self.process_exits(pid);
    }

    /// This very server leaves clients that come now without an answer.
    fn newcomers_hang(&self) -> bool {
        fs::read_to_string(&self.hang).is_ok_and(|pid| pid.trim() == self.pid.to_string())
    }

    fn process_exits(&mut self, pid: u32) {
        let before = self.clients.len();
        self.clients.retain(|client| client.pid != pid);
        if self.clients.len() == before {
            return;
        }
        self.assume_exit(pid, 0);
        self.tell_control(&format!("left {pid}"));
        match &mut self.fault {
            Some(fault) => fault.left.push(pid),
            None => self.log(&format!("Client process {pid} disconnected")),
        }
    }

    /// The driver has finished: who came meanwhile is served first.
    fn active(&mut self) {
        let left = self.fault.take().unwrap_or_default().left;
        self.tell_control("state ACTIVE");
        for (pid, context) in std::mem::take(&mut self.waiting) {
            self.request(pid, context);
        }
        for pid in left {
            self.log(&format!("Client process {pid} disconnected"));
        }
    }

    /// Ends only without clients.
    fn shut_down(&mut self) {
        self.log("Server has been notified to shutdown");
        let contexts: usize = self.clients.iter().map(|client| 1 + usize::from(client.context)).sum();
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
