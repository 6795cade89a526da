//! The control daemon: starts servers, brings clients to them, serves one command at a time. What it
//! answers is in `answers`, how it quits in `quit`.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::dialect;
use super::log::{self, Role};
use super::quit::Quit;
use super::{REFUSED, SERVER_NAME};
use crate::agenda::{Agenda, Next};
use crate::client::{GPUS, pipe_directory};
use crate::visible::{self, Gpu};
use crate::wire::{self, Heard, Link, Links, Peer};

/// What the daemon hears.
pub(super) enum Message {
    Wire(Heard),
    ServerExited(u32, i32),
    GpuGone,
}

impl From<Heard> for Message {
    fn from(heard: Heard) -> Self {
        Message::Wire(heard)
    }
}

/// What it will do later: try again to shut the server down.
pub(super) struct TryAgain;

/// A client process, by the order of its first connection.
pub(super) struct ListedClient {
    pub pid: u32,
    pub number: u32,
    /// GPUs on which it has a context, by NVML's index.
    pub contexts: Vec<usize>,
}

/// The one server.
pub(super) struct Server {
    pub pid: u32,
    /// The one user that it serves.
    pub uid: u32,
    pub link: Option<u64>,
    pub ready: bool,
    pub state: &'static str,
    pub clients: Vec<ListedClient>,
}

/// A client that waits for its server's answer, or for the server.
struct Request {
    link: u64,
    pid: u32,
    /// The context's number and its GPU; `None`: the first one, which computes nowhere.
    context: Option<(u32, usize)>,
    /// Another user than its process has, if it says so.
    claims: Option<u32>,
    passed_on: bool,
}

pub(super) struct Daemon {
    pub pid: u32,
    /// GPUs that it was given, in the order of its ordinals.
    pub gpus: Vec<Gpu>,
    pub links: Links,
    pub server: Option<Server>,
    pub quit: Option<Quit>,
    pub agenda: Agenda<TryAgain>,
    pub percentage: String,
    pub memory_limit: String,
    /// The connection whose command is being served.
    pub serving: Option<u64>,
    requests: VecDeque<Request>,
    gpu: PathBuf,
    socket: PathBuf,
    clients_so_far: u32,
    servers_so_far: u32,
    to: Sender<Message>,
}

/// `-f`. `gpu`: the socket of the simulated GPU; without a GPU there is no MPS.
pub(super) fn main(gpu: &Path) -> ExitCode {
    match run(gpu) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nvidia-cuda-mps-control: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(gpu: &Path) -> io::Result<ExitCode> {
    dialect::speak(gpu);
    let socket = pipe_directory().join("control");
    fs::create_dir_all(pipe_directory())?;
    if Link::connect(&socket).is_ok() {
        println!("An instance of this daemon is already running");
        return Ok(ExitCode::FAILURE);
    }
    let mut reader = Link::connect(gpu)?;
    reader.ask("reader")?;
    let gpus = visible::to_the_daemon(&visible::all(&reader.ask("uuids")?));
    let (to, messages) = channel();
    let _gpu = reader.follow(to.clone(), |_| Message::GpuGone)?;
    let pid = std::process::id();
    make_empty_logs();
    tell_clients(&gpus)?;
    say_hello(pid, &socket);
    wire::listen(&socket, to.clone())?;
    fs::write(pipe_directory().join("nvidia-cuda-mps-control.pid"), pid.to_string())?;
    let mut daemon = Daemon {
        pid,
        gpus,
        links: Links::default(),
        server: None,
        quit: None,
        agenda: Agenda::default(),
        percentage: "100.0".to_owned(),
        memory_limit: String::new(),
        serving: None,
        requests: VecDeque::new(),
        gpu: gpu.to_owned(),
        socket,
        clients_so_far: 0,
        servers_so_far: 0,
        to,
    };
    loop {
        match daemon.agenda.next(&messages) {
            Next::Message(Message::Wire(heard)) => daemon.hear(heard),
            Next::Message(Message::ServerExited(pid, status)) => daemon.server_exited(pid, status),
            Next::Message(Message::GpuGone) | Next::Silence => return Ok(ExitCode::FAILURE),
            Next::Deed(TryAgain) => daemon.try_shutting_down(),
        }
    }
}

/// Makes logs that stay empty: in the foreground everything goes to stdout.
fn make_empty_logs() {
    let Some(directory) = std::env::var_os("CUDA_MPS_LOG_DIRECTORY").map(PathBuf::from) else { return };
    for name in ["control.log", "server.log"] {
        let _ = fs::File::options().create(true).append(true).open(directory.join(name));
    }
}

/// Its clients number the GPUs as it does; where it has the first one alone they need not be told.
fn tell_clients(gpus: &[Gpu]) -> io::Result<()> {
    let indexes: Vec<usize> = gpus.iter().map(|gpu| gpu.index).collect();
    if indexes == [0] {
        return Ok(());
    }
    let words: Vec<String> = indexes.iter().map(usize::to_string).collect();
    fs::write(pipe_directory().join(GPUS), words.join(" "))
}

fn say_hello(pid: u32, socket: &Path) {
    let directory = pipe_directory();
    log::write(Role::Control, pid, &format!("Starting control daemon using socket {}", socket.display()));
    let hint = "To connect CUDA applications to this daemon, set env CUDA_MPS_PIPE_DIRECTORY";
    log::write(Role::Control, pid, &format!("{hint}={}", directory.display()));
    log::write(Role::Control, pid, "CUDA MPS Control binary version: 13000");
}

/// One server serves one user; who claims no other is taken for it.
fn serves(server: &Server, claims: Option<u32>) -> bool {
    claims.is_none_or(|uid| uid == server.uid)
}

impl Daemon {
    pub(super) fn log(&self, text: &str) {
        log::write(Role::Control, self.pid, text);
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Opened(link, peer, stream) => {
                self.log("Accepting connection...");
                self.links.open(link, peer, stream);
            }
            Heard::Line(link, line) => self.hear_line(link, &line),
            Heard::Closed(link) => self.hung_up(link),
        }
    }

    fn hear_line(&mut self, link: u64, line: &str) {
        if self.server.as_ref().is_some_and(|server| server.link == Some(link)) {
            return self.hear_server(line);
        }
        let Some(peer) = self.links.peer(link) else { return };
        match line.split_once(' ') {
            Some(("ui", command)) => self.command(link, command),
            Some(("client", request)) => {
                let (context, claims) = request.split_once(" as ").unwrap_or((request, ""));
                let numbers: Vec<usize> = context.split(' ').map_while(|word| word.parse().ok()).collect();
                let context = match *numbers {
                    [number, device] if number > 0 => Some((number as u32, device)),
                    _ => None,
                };
                self.new_client(link, peer, context, claims.parse().ok());
            }
            _ if line == "server" => self.server_connected(link, peer),
            _ => {}
        }
    }

    fn hung_up(&mut self, link: u64) {
        let asks = self.requests.iter().any(|request| request.link == link);
        let is_server = self.server.as_ref().is_some_and(|server| server.link == Some(link));
        if !asks && !is_server && self.serving != Some(link) && self.links.peer(link).is_some() {
            self.log("User did not send valid credentials");
        }
        self.requests.retain(|request| request.link != link);
        self.links.close(link);
    }

    fn command(&mut self, link: u64, command: &str) {
        if self.serving.is_some() {
            self.links.write(link, REFUSED);
            return self.links.close(link);
        }
        self.serving = Some(link);
        self.log("NEW UI");
        self.log(&format!("Cmd:{command}"));
        if let Some(answer) = self.obey(command) {
            self.finish_command(&answer);
        }
    }

    /// Answers the command being served.
    pub(super) fn finish_command(&mut self, answer: &str) {
        for line in answer.lines() {
            self.log(line);
        }
        let Some(link) = self.serving.take() else { return };
        self.links.write(link, answer);
        self.links.close(link);
        self.log("UI closed");
    }

    fn new_client(&mut self, link: u64, peer: Peer, context: Option<(u32, usize)>, claims: Option<u32>) {
        let Peer { pid, uid } = peer;
        let uid = claims.unwrap_or(uid);
        let ready = self.server.as_ref().is_some_and(|server| server.ready && serves(server, claims));
        let what = if ready { "Server already exists" } else { "Server is not ready, push client to pending list" };
        self.log(&format!("NEW CLIENT {pid} from user {uid}: {what}"));
        self.requests.push_back(Request { link, pid, context, claims, passed_on: false });
        if ready {
            self.pass_requests_on();
        } else if self.server.is_none() {
            self.start_server(uid);
        } else if self.server.as_ref().is_some_and(|server| server.ready && !serves(server, claims)) {
            self.make_way();
        }
    }

    fn pass_requests_on(&mut self) {
        let Some(server) = &self.server else { return };
        let Some(link) = server.link else { return };
        let waiting = |request: &&mut Request| !request.passed_on && serves(server, request.claims);
        for request in self.requests.iter_mut().filter(waiting) {
            request.passed_on = true;
            let context = request.context.map_or(String::new(), |(number, device)| format!(" {number} {device}"));
            self.links.say(link, &format!("client {}{context}", request.pid));
        }
    }

    /// Starts the server for a user; it will connect when it is up.
    pub(super) fn start_server(&mut self, uid: u32) {
        match self.spawn_server(uid) {
            Ok(child) => {
                let pid = child.id();
                let clients = Vec::new();
                self.server = Some(Server { pid, uid, link: None, ready: false, state: "INITIALIZING", clients });
                self.servers_so_far += 1;
                self.watch(child);
            }
            Err(error) => self.log(&format!("Failed to start server: {error}")),
        }
    }

    fn spawn_server(&self, uid: u32) -> io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg0(SERVER_NAME).arg("--control").arg(&self.socket).arg("--gpu").arg(&self.gpu);
        let gpus: Vec<String> = self.gpus.iter().map(|gpu| format!("{}:{}", gpu.index, gpu.uuid)).collect();
        command.arg("--gpus").arg(gpus.join(",")).arg("--uid").arg(uid.to_string());
        command.arg("--seed").arg(self.server_seed().to_string());
        if self.servers_so_far > 0 {
            command.arg("--warm");
        }
        command.spawn()
    }

    /// Each server has its own, and all follow from the GPU's, as its UUID does.
    fn server_seed(&self) -> u64 {
        let digits = self.gpus.first().and_then(|gpu| gpu.uuid.get(4..12)).unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or(0) + u64::from(self.servers_so_far)
    }

    fn watch(&self, mut child: Child) {
        let to = self.to.clone();
        thread::spawn(move || {
            let status = child.wait().ok().and_then(|ended| ended.code()).unwrap_or(0);
            let _ = to.send(Message::ServerExited(child.id(), status));
        });
    }

    fn server_connected(&mut self, link: u64, peer: Peer) {
        if let Some(server) = self.server.as_mut().filter(|server| server.pid == peer.pid) {
            server.link = Some(link);
            self.links.say(link, "ok");
        }
    }

    fn hear_server(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = words.get(1).and_then(|pid| pid.parse().ok()).unwrap_or(0);
        match *words {
            ["ready"] => self.server_ready(),
            ["started"] => self.pass_requests_on(),
            ["state", state] => self.set_state(if state == "FAULT" { "FAULT" } else { "ACTIVE" }),
            ["accepted", _] => self.accepted(number, None),
            ["accepted", _, device] => self.accepted(number, device.parse().ok()),
            ["refused", _, code] => self.answer_client(number, &format!("error {code}")),
            ["left", _] => self.left(number),
            ["busy", count] => self.server_is_busy(count),
            ["terminated", _] => self.finish_command("0\n"),
            _ => {}
        }
    }

    fn server_ready(&mut self) {
        let Some(server) = self.server.as_mut() else { return };
        server.ready = true;
        let (pid, link) = (server.pid, server.link);
        self.set_state("ACTIVE");
        self.log(&format!("NEW SERVER {pid}: Ready"));
        if let Some(link) = link {
            self.links.say(link, "ok");
        }
    }

    fn set_state(&mut self, state: &'static str) {
        if let Some(server) = self.server.as_mut() {
            server.state = state;
        }
    }

    fn accepted(&mut self, pid: u32, device: Option<usize>) {
        let Some(server) = self.server.as_mut() else { return };
        if let Some(device) = device {
            server
                .clients
                .iter_mut()
                .filter(|client| client.pid == pid)
                .for_each(|client| client.contexts.push(device));
        } else {
            self.clients_so_far += 1;
            server.clients.push(ListedClient { pid, number: self.clients_so_far, contexts: Vec::new() });
        }
        self.answer_client(pid, "ok");
    }

    fn left(&mut self, pid: u32) {
        if let Some(server) = self.server.as_mut() {
            server.clients.retain(|client| client.pid != pid);
        }
    }

    fn answer_client(&mut self, pid: u32, answer: &str) {
        let position = self.requests.iter().position(|request| request.pid == pid && request.passed_on);
        if let Some(request) = position.and_then(|position| self.requests.remove(position)) {
            self.links.say(request.link, answer);
            self.links.close(request.link);
        }
    }

    fn server_exited(&mut self, pid: u32, status: i32) {
        if status != 0 {
            self.log("Server encountered a fatal exception. Shutting down");
        }
        self.log(&format!("Server {pid} exited with status {status}"));
        if let Some(link) = self.server.take().and_then(|server| server.link) {
            self.links.close(link);
        }
        if self.quit.take().is_some_and(|quit| quit.daemon) {
            return self.exit();
        }
        if self.serving.is_some() {
            self.finish_command("");
        }
        let lost: Vec<u32> =
            self.requests.iter().filter(|request| request.passed_on).map(|request| request.pid).collect();
        for pid in lost {
            self.answer_client(pid, "error 806");
        }
        if let Some(first) = self.requests.front() {
            self.start_server(first.claims.unwrap_or_else(|| nix::unistd::getuid().as_raw()));
        }
    }
}
