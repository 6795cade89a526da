//! An engine for the probe's tests: this test binary again, which loads the library as CUDA would and does what its
//! standard input says. Its kernels are those that the stand-in libcupti is called for.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// Variable whose presence makes the binary an engine.
const ROLE: &str = "MPSWARDEN_TEST_ENGINE";
/// Upper bound for everything in these tests.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Begins each answer, so that the test harness' own words are none.
const ANSWER: &str = "engine: ";

/// An engine under test. Dropping it kills it.
pub struct Engine {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Engine {
    /// Starts one whose libraries lie in `folder`. `socket`: where its watchdog is. `mode`: how CUPTI behaves.
    pub fn start(folder: &Path, socket: Option<&Path>, mode: &str) -> Engine {
        let probe = folder.join("libmpswarden_probe.so");
        let cupti = folder.join("libcupti.so");
        fs::write(&probe, mpswarden::probe::LIBRARY).unwrap();
        if mode != "missing" {
            fs::write(&cupti, mpswarden::sim::CUPTI).unwrap();
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "probe::the_engine", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, probe).env("MPSWARDEN_CUPTI", cupti).env("MPSWARDEN_SIM_CUPTI", mode);
        command.env_remove("MPSWARDEN_PROBE_SOCKET");
        if let Some(socket) = socket {
            command.env("MPSWARDEN_PROBE_SOCKET", socket);
        }
        let errors = fs::File::create(folder.join("stderr")).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut engine = Engine { child, orders, answers, folder: folder.to_owned() };
        assert_eq!(engine.ask("load"), "1");
        engine
    }

    /// Has it do something, and returns its answer.
    pub fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the engine ended: {order}");
            if let Some(at) = line.find(ANSWER) {
                return line[at + ANSWER.len()..].trim().to_owned();
            }
        }
    }

    /// Has it do something that it doesn't answer.
    pub fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// Has it launch kernels that end at these times, once a window has begun to note launches.
    pub fn play(&mut self, ends: &[u64]) {
        let ends: Vec<_> = ends.iter().map(|end| format!(" {end}")).collect();
        assert_eq!(self.ask(&format!("play{}", ends.concat())), "played");
    }

    /// Whether it has a libcupti loaded.
    pub fn has_cupti(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap().contains("libcupti")
    }

    /// The status of its thread of the probe's, as /proc has it.
    pub fn probe_thread(&self) -> Option<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let statuses = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
        statuses.into_iter().find(|status| status.starts_with("Name:\tmpswarden-probe\n"))
    }

    /// Has it end by itself, and waits for it. It must have said nothing that it was not asked to say.
    pub fn end(mut self) {
        self.tell("exit 7");
        assert_eq!(self.wait().code(), Some(7));
        let mut rest = String::new();
        self.answers.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), fs::read_to_string(self.folder.join("stderr")).unwrap().as_str()), ("", ""));
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the engine does not end");
            sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Obeys until it is told to exit, in the engine's process; in any other it does nothing.
pub fn main() {
    let Some(probe) = std::env::var_os(ROLE).map(PathBuf::from) else { return };
    for order in stdin().lines().map_while(Result::ok) {
        let (verb, rest) = order.split_once(' ').unwrap_or((&order, ""));
        let answer = match verb {
            "load" => load(&probe).to_string(),
            "play" => play(rest),
            "launch" => launch(1).to_string(),
            "events" => counted("simulated_events").to_string(),
            "recorded" => counted("simulated_recorded").to_string(),
            "subscribe" => subscribe().to_string(),
            "fork" => fork_and_exit(),
            "exit" => exit(rest.parse().unwrap()),
            other => panic!("{other}"),
        };
        println!("{ANSWER}{answer}");
    }
}

type Callback = extern "C" fn(*mut c_void, u32, u32, *const c_void);
type Subscribe = extern "C" fn(*mut *mut c_void, Callback, *mut c_void) -> c_int;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const NOW: c_int = 2;
const ONLY_IF_LOADED: c_int = 4;

fn function(path: &Path, flags: c_int, name: &str) -> Option<*mut c_void> {
    let (path, name) = (CString::new(path.to_str().unwrap()).unwrap(), CString::new(name).unwrap());
    let library = unsafe { dlopen(path.as_ptr(), NOW | flags) };
    (!library.is_null()).then(|| unsafe { dlsym(library, name.as_ptr()) })
}

fn load(probe: &Path) -> c_int {
    let begin = function(probe, 0, "InitializeInjection").expect("the library loads");
    let begin: unsafe extern "C" fn() -> c_int = unsafe { std::mem::transmute(begin) };
    // CUDA does it once; another caller does no harm.
    unsafe { begin() & begin() }
}

/// A function of the stand-in libcupti, once the probe has loaded it.
fn of_cupti(name: &str) -> *mut c_void {
    let path = PathBuf::from(std::env::var_os("MPSWARDEN_CUPTI").unwrap());
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(function) = function(&path, ONLY_IF_LOADED, name) {
            return function;
        }
        assert!(Instant::now() < deadline, "CUPTI is not loaded");
        sleep(Duration::from_millis(1));
    }
}

/// A kernel that ends then. 1: a subscriber noted it.
fn launch(end: u64) -> c_int {
    let launch: extern "C" fn() -> c_int = unsafe { std::mem::transmute(of_cupti("simulated_launch")) };
    let kernel: extern "C" fn(u64, u64) = unsafe { std::mem::transmute(of_cupti("simulated_kernel")) };
    let noted = launch();
    kernel(0, end);
    noted
}

fn play(ends: &str) -> String {
    let deadline = Instant::now() + LIMIT;
    for end in ends.split(' ') {
        while launch(end.parse().unwrap()) == 0 {
            assert!(Instant::now() < deadline, "nobody notes launches");
            sleep(Duration::from_millis(1));
        }
    }
    "played".to_owned()
}

fn counted(name: &str) -> usize {
    let counted: extern "C" fn() -> usize = unsafe { std::mem::transmute(of_cupti(name)) };
    counted()
}

/// Subscribes as another profiler would.
fn subscribe() -> c_int {
    extern "C" fn ignore(_: *mut c_void, _: u32, _: u32, _: *const c_void) {}
    let subscribe: Subscribe = unsafe { std::mem::transmute(of_cupti("cuptiSubscribe")) };
    subscribe(&mut std::ptr::null_mut(), ignore, std::ptr::null_mut())
}

/// A child as Python's multiprocessing makes them: forked, and ended by `exit`.
fn fork_and_exit() -> String {
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => exit(3),
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => format!("exited {code}"),
            other => format!("{other:?}"),
        },
    }
}
