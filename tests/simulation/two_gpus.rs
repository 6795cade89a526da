//! One server over two GPUs, and two servers, one for each, held against the recordings of a real machine: whose contexts
//! die together, with which errors, who may enter meanwhile, which Xids come, and what the server's log says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use mpswarden::sim::StageOptions;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::play::{self, Play, until};

const ALONE: [(&str, &[usize]); 4] = [("A", &[0]), ("a", &[0]), ("B", &[1]), ("b", &[1])];
const JOINED: [(&str, &[usize]); 5] = [ALONE[0], ALONE[1], ALONE[2], ALONE[3], ("C", &[0, 1])];

/// What is done, and to whom.
#[derive(Clone, Copy)]
enum Deed {
    /// A kernel of the client does this on this GPU.
    Order(&'static str, &'static str, usize),
    /// The client is killed with a long kernel on each of its GPUs.
    KillBusy(&'static str),
    KillServer,
    KillDaemon,
}

/// What came of it. Clients are called as in the story; GPUs are numbered as the client or the server does.
#[derive(Debug, Default, PartialEq)]
struct Facts {
    /// The CUDA error on each of a client's GPUs.
    errors: BTreeMap<(String, usize), u32>,
    /// Clients that go on.
    works: BTreeSet<String>,
    /// What newcomers on either GPU got, while those that were hit were there, and after they had left.
    newcomers: BTreeMap<String, String>,
    /// Xids by the GPU's address.
    xids: BTreeSet<String>,
    /// Contexts that the server's log says are torn down, with their GPUs.
    torn: BTreeSet<(String, String)>,
    /// GPUs that it says are reset.
    reset: BTreeSet<String>,
    /// Clients of which it says that they have a sticky error.
    sticky: BTreeSet<String>,
}

/// A worker, and its lines so far.
struct Worker {
    name: String,
    devices: Vec<usize>,
    child: Child,
    orders: ChildStdin,
    heard: Receiver<String>,
    lines: Vec<String>,
}

impl Worker {
    fn start(play: &Play, pipe: &Path, name: &str, linger: &str, devices: &[usize], visible: &str) -> Worker {
        let mut command = Command::new(play.stage.program());
        command.args(["sim", "worker", linger]).args(devices.iter().map(usize::to_string));
        command.arg("--gpu").arg(play.stage.gpu_socket());
        command.env("CUDA_MPS_PIPE_DIRECTORY", pipe).env("CUDA_VISIBLE_DEVICES", visible);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, heard) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = to.send(line);
            }
        });
        let orders = child.stdin.take().unwrap();
        Worker { name: name.to_owned(), devices: devices.to_vec(), child, orders, heard, lines: Vec::new() }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Its lines so far whose text begins so.
    fn said(&mut self, beginning: &str) -> Vec<String> {
        self.lines.extend(self.heard.try_iter());
        let text = |line: &String| line.split_once(' ').is_some_and(|(_, text)| text.starts_with(beginning));
        self.lines.iter().filter(|line| text(line)).cloned().collect()
    }

    fn await_said(&mut self, beginning: &str, times: usize) {
        until(&format!("{} says `{beginning}` {times} times", self.name.clone()), || {
            self.said(beginning).len() >= times
        });
    }

    fn goes_on(&mut self) -> bool {
        let (asked, before) = (self.said("rounds").len(), self.devices.len());
        self.order("rounds");
        self.await_said("rounds", asked + before);
        let count = |line: &String| line.rsplit_once('=').unwrap().1.parse::<u64>().unwrap();
        let first: u64 = self.said("rounds")[asked..].iter().map(count).sum();
        until("a kernel of it is done", || {
            let asked = self.said("rounds").len();
            self.order("rounds");
            self.await_said("rounds", asked + before);
            self.said("rounds")[asked..].iter().map(count).sum::<u64>() > first
        });
        true
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine with two GPUs, and one daemon for both or one for each.
struct Machine {
    play: Play,
    /// Their pipe directories, logs and processes; the first one of a single daemon is the play's own.
    others: Vec<(PathBuf, Child)>,
    log: Box<dyn Fn(&Play) -> String>,
}

impl Machine {
    fn with(daemons: usize) -> Machine {
        let play = Play::on(&StageOptions { gpus: 2, ..play::options(0) });
        if daemons == 1 {
            play.start_server();
            return Machine { play, others: Vec::new(), log: Box::new(|play| play.log()) };
        }
        let others: Vec<(PathBuf, Child)> = (0..2).map(|index| daemon_of(&play, index)).collect();
        let logs: Vec<PathBuf> = others.iter().map(|(pipe, _)| log_of(pipe)).collect();
        let log = move |_: &Play| logs.iter().map(|log| fs::read_to_string(log).unwrap()).collect();
        Machine { play, others, log: Box::new(log) }
    }

    /// The pipe directory, and the number of the GPU there.
    fn place(&self, device: usize) -> (PathBuf, usize, String) {
        match self.others.get(device) {
            Some((pipe, _)) => (pipe.clone(), 0, self.play.stage.gpu_uuids()[device].clone()),
            None => (self.play.stage.pipe_directory(), device, self.play.stage.gpu_uuids().join(",")),
        }
    }

    fn worker(&self, name: &str, linger: &str, devices: &[usize]) -> Worker {
        let (pipe, number, visible) = self.place(devices[0]);
        let numbers = if self.others.is_empty() { devices.to_vec() } else { vec![number] };
        Worker::start(&self.play, &pipe, name, linger, &numbers, &visible)
    }

    /// What a client gets that comes now.
    fn newcomer(&self, name: &str, device: usize) -> String {
        let mut one = self.worker(name, "once", &[device]);
        one.child.wait().unwrap();
        until("its last line is heard", || !one.said("ready").is_empty() || !one.said("error").is_empty());
        one.said("error").first().map_or("enters".to_owned(), |line| code_of(line).to_string())
    }

    fn kill_server(&self) {
        let servers = self.play.stage.ask_gpu("servers").unwrap();
        let of_first = self.others.first().map_or(String::new(), |(pipe, _)| fs::read_to_string(log_of(pipe)).unwrap());
        let pid = servers.split(' ').find(|pid| of_first.is_empty() || of_first.contains(&format!("SERVER {pid}:")));
        let pid = pid.unwrap();
        kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
        let gone = format!("Server {pid} exited");
        until("the daemon knows that it is gone", || (self.log)(&self.play).contains(&gone));
    }

    fn kill_daemon(&mut self) {
        let daemon = self.others.first_mut().map_or(&mut self.play.control, |(_, daemon)| daemon);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for (_, daemon) in &mut self.others {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn log_of(pipe: &Path) -> PathBuf {
    pipe.with_extension("log")
}

/// A daemon for one GPU, with an ACTIVE server.
fn daemon_of(play: &Play, index: usize) -> (PathBuf, Child) {
    let pipe = play.stage.directory().join(format!("p{index}"));
    let environment = |command: &mut Command| {
        command.env("CUDA_MPS_PIPE_DIRECTORY", &pipe).env("CUDA_VISIBLE_DEVICES", &play.stage.gpu_uuids()[index]);
    };
    let mut command = Command::new(play.stage.control_binary());
    environment(&mut command);
    let out = File::create(log_of(&pipe)).unwrap();
    let daemon = command.arg("-f").stdin(Stdio::null()).stdout(out).spawn().unwrap();
    until("the daemon listens", || pipe.join("nvidia-cuda-mps-control.pid").exists());
    let mut command = Command::new(play.stage.control_binary());
    environment(&mut command);
    let mut start = command.stdin(Stdio::piped()).spawn().unwrap();
    writeln!(start.stdin.take().unwrap(), "start_server -uid {}", nix::unistd::getuid()).unwrap();
    start.wait().unwrap();
    until("its server has started", || fs::read_to_string(log_of(&pipe)).unwrap().contains("Server has started"));
    (pipe, daemon)
}

fn code_of(line: &str) -> u32 {
    line.split("code=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

fn device_of(line: &str) -> usize {
    line.split("device=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// What the log of one or two daemons says of faults, with clients by their names.
fn of_the_log(log: &str, name: impl Fn(u32) -> Option<String>, facts: &mut Facts) {
    let (mut resets, mut sticks) = (false, false);
    for line in log.lines().filter(|line| line.contains(" Server ")) {
        let text = line.split_once("] ").unwrap().1;
        let pid = |text: &str| text.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok());
        match text.parse::<u32>() {
            Ok(number) if sticks => facts.sticky.extend(name(number)),
            Ok(number) if resets => drop(facts.reset.insert(number.to_string())),
            Ok(_) => {}
            Err(_) => {
                (resets, sticks) = (text.contains("will be reset"), text.contains("sticky error"));
                if let Some((client, rest)) = text.split_once(" on device ") {
                    let device = rest.split(' ').next().unwrap().to_owned();
                    let named = pid(client).and_then(&name);
                    facts.torn.extend(named.map(|named| (named, device)));
                }
            }
        }
    }
}

fn xids(kernel: &str) -> BTreeSet<String> {
    let xid = |line: &str| {
        let (address, rest) = line.split_once("Xid (PCI:")?.1.split_once("): ")?;
        Some(format!("{} on {address}", rest.split(',').next()?))
    };
    kernel.lines().filter_map(xid).collect()
}

/// Facts of a recorded case.
fn recorded(case: &str) -> Facts {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings/two_gpus").join(case);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let mut facts = Facts { xids: xids(&read("kmsg.txt")), ..Facts::default() };
    let mut pids = BTreeMap::new();
    let mut killed = BTreeSet::new();
    for line in read("story.txt").lines() {
        let text = line.split_once(' ').map_or("", |(_, text)| text);
        if let Some(victim) = text.strip_prefix("SIGKILL to client ") {
            killed.insert(victim.split(',').next().unwrap().to_owned());
        }
        let Some((name, rest)) = text.strip_prefix("client ").and_then(|text| text.split_once(" (pid ")) else {
            continue;
        };
        let (pid, said) = rest.split_once(')').unwrap();
        pids.insert(pid.parse::<u32>().unwrap(), name.to_owned());
        let is_newcomer = name.len() > 1;
        if said.starts_with(": error") && is_newcomer {
            facts.newcomers.insert(name.to_owned(), code_of(said).to_string());
        } else if said.starts_with(": error") {
            facts.errors.insert((name.to_owned(), device_of(said)), code_of(said));
        } else if said.starts_with(": ready") && is_newcomer {
            facts.newcomers.insert(name.to_owned(), "enters".to_owned());
        }
    }
    let failed: BTreeSet<&String> = facts.errors.keys().map(|(name, _)| name).collect();
    let clients = pids.values().filter(|name| name.len() == 1);
    facts.works = clients.filter(|name| !failed.contains(name) && !killed.contains(*name)).cloned().collect();
    let logs = read("daemon.log") + &read("daemon1.log");
    of_the_log(&logs, |pid| pids.get(&pid).cloned(), &mut facts);
    facts
}

/// The same in the simulation. `expected`: how many errors are waited for.
fn played(daemons: usize, clients: &[(&str, &[usize])], deed: Deed, expected: &Facts) -> (Facts, Vec<Worker>) {
    let mut machine = Machine::with(daemons);
    let mut workers: Vec<Worker> = clients.iter().map(|(name, devices)| machine.worker(name, "60", devices)).collect();
    workers.iter_mut().for_each(|worker| worker.await_said("ready", worker.devices.len()));
    commit(deed, &mut machine, &mut workers);
    for worker in &mut workers {
        let errors = expected.errors.keys().filter(|(name, _)| *name == worker.name).count();
        worker.await_said("error", errors);
    }
    let mut facts = Facts::default();
    for device in [0, 1] {
        facts.newcomers.insert(format!("D{device}"), machine.newcomer("D", device));
    }
    for worker in &mut workers {
        let errors = worker.said("error");
        facts.errors.extend(errors.iter().map(|line| ((worker.name.clone(), device_of(line)), code_of(line))));
        let was_killed = matches!(deed, Deed::KillBusy(who) if who == worker.name);
        if !errors.is_empty() {
            worker.kill();
        } else if !was_killed && worker.goes_on() {
            facts.works.insert(worker.name.clone());
        }
    }
    until("no server is in FAULT", || machine.play.stage.ask_gpu("faulted").unwrap().is_empty());
    for device in [0, 1] {
        facts.newcomers.insert(format!("E{device}"), machine.newcomer("E", device));
    }
    facts.xids = xids(&fs::read_to_string(machine.play.stage.kernel_log()).unwrap());
    let pids: BTreeMap<u32, String> = workers.iter().map(|worker| (worker.child.id(), worker.name.clone())).collect();
    of_the_log(&(machine.log)(&machine.play), |pid| pids.get(&pid).cloned(), &mut facts);
    (facts, workers)
}

fn commit(deed: Deed, machine: &mut Machine, workers: &mut [Worker]) {
    let of = |name: &str, workers: &[Worker]| workers.iter().position(|worker| worker.name == name).unwrap();
    match deed {
        Deed::Order(what, who, device) => {
            let number = if machine.others.is_empty() { device } else { 0 };
            let at = of(who, workers);
            workers[at].order(&format!("{what} {number}"));
        }
        Deed::KillBusy(who) => {
            let at = of(who, workers);
            let (pid, devices) = (workers[at].child.id(), workers[at].devices.clone());
            devices.iter().for_each(|device| workers[at].order(&format!("long {device}")));
            let orphans = || machine.play.stage.ask_gpu("orphans").unwrap();
            let runs = |device: &usize| orphans().split(' ').any(|seat| seat == format!("{pid}:{device}"));
            until("its long kernels run", || devices.iter().all(runs));
            workers[at].kill();
        }
        Deed::KillServer => machine.kill_server(),
        Deed::KillDaemon => machine.kill_daemon(),
    }
}

/// Plays a case and holds it against its recording; the workers with their lines.
fn assert_as_recorded(case: &str, daemons: usize, clients: &[(&str, &[usize])], deed: Deed) -> Vec<Worker> {
    let expected = recorded(case);
    let (facts, workers) = played(daemons, clients, deed, &expected);
    assert_eq!(facts, expected, "{case}");
    workers
}

/// When a worker's first error came, in seconds.
fn first_error(workers: &mut [Worker], name: &str) -> f64 {
    let worker = workers.iter_mut().find(|worker| worker.name == name).unwrap();
    worker.said("error").first().unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn without_a_client_on_both_a_fault_stays_on_its_gpu() {
    assert_as_recorded("illegal_on_0", 1, &ALONE, Deed::Order("illegal", "a", 0));
    assert_as_recorded("illegal_on_1", 1, &ALONE, Deed::Order("illegal", "b", 1));
    assert_as_recorded("trap_on_0", 1, &ALONE, Deed::Order("trap", "a", 0));
    let mut workers = assert_as_recorded("trap_on_1", 1, &ALONE, Deed::Order("trap", "b", 1));
    assert!(first_error(&mut workers, "b") < first_error(&mut workers, "B"), "the culprit fails first");
}

#[test]
fn a_client_on_both_joins_the_gpus_whoever_faulted() {
    let case = "illegal_on_0_one_client_on_both";
    let mut workers = assert_as_recorded(case, 1, &JOINED, Deed::Order("illegal", "a", 0));
    let later = first_error(&mut workers, "B") - first_error(&mut workers, "A");
    assert!(later > 0.1, "the joined GPU's clients fail {later} s later");
    assert_as_recorded("trap_on_0_one_client_on_both", 1, &JOINED, Deed::Order("trap", "a", 0));
    assert_as_recorded("trap_on_1_one_client_on_both", 1, &JOINED, Deed::Order("trap", "b", 1));
}

#[test]
fn the_client_on_both_takes_both_gpus_along() {
    assert_as_recorded("illegal_on_0_by_the_client_on_both", 1, &JOINED, Deed::Order("illegal", "C", 0));
    assert_as_recorded("trap_on_1_by_the_client_on_both", 1, &JOINED, Deed::Order("trap", "C", 1));
}

#[test]
fn a_client_that_is_killed_busy_takes_along_what_others_join_and_one_on_both_faults_each_gpu() {
    assert_as_recorded("busy_client_on_0_killed", 1, &JOINED, Deed::KillBusy("a"));
    assert_as_recorded("busy_client_on_both_killed", 1, &JOINED, Deed::KillBusy("C"));
}

#[test]
fn a_killed_server_and_a_killed_daemon_take_all_clients_along_on_both_gpus() {
    assert_as_recorded("server_killed", 1, &JOINED, Deed::KillServer);
    assert_as_recorded("daemon_killed", 1, &JOINED, Deed::KillDaemon);
}

#[test]
fn two_daemons_are_two_fault_domains() {
    assert_as_recorded("two_daemons_illegal_on_0", 2, &ALONE, Deed::Order("illegal", "a", 0));
    assert_as_recorded("two_daemons_trap_on_1", 2, &ALONE, Deed::Order("trap", "b", 1));
    assert_as_recorded("two_daemons_server_of_0_killed", 2, &ALONE, Deed::KillServer);
    assert_as_recorded("two_daemons_daemon_of_0_killed", 2, &ALONE, Deed::KillDaemon);
}
