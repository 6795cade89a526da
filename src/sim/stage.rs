//! A stage for the watchdog: a directory with a simulated GPU, its NVML library, its kernel log and its
//! MPS binary, and the commands of engines. Starts the GPU only; everything else is the watchdog's to start.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::chance::Chance;
use super::control::dialect::{self, Dialect};
use super::gpu_like::{self, GpuLike};
use super::silence::Silence;
use super::wire::Link;
use crate::engine::dialect::Program;

/// The stand-in NVML library, compiled by the build script.
const NVML: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libnvidia-ml.so"));
/// The stand-in CUPTI library, likewise.
pub const CUPTI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libcupti.so"));
/// The GPU answers within this time of its start.
const START: Duration = Duration::from_secs(10);
/// Ports below those that the kernel gives to outgoing connections and to port 0 (ip_local_port_range).
const PORTS: Range<u16> = 20_000..32_000;
/// The group's name.
const GROUP: &str = "small-llms";

/// The kernel probe of a stage that is not watched for long.
const PROBED: &str = "\n[group.overlap]\nwindow = \"50ms\"\nperiod = \"2s\"\n";

/// A small model's engine: it decodes as fast as without these, but waits for its host most of the time, and a long
/// prompt fills the GPU. So sharing pays while it generates, and hardly while it reads.
const LIFELIKE: &str = "--step-gpu 4ms --demand 0.4 --step-cpu 6ms --request-cpu 0.05ms --chunk-gpu 12ms";

/// What the engines serve, in turn.
const MODELS: [&str; 3] = ["Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-3B-Instruct"];
/// What the engines are like, in turn.
const KINDS: [Program; 3] = [Program::Vllm, Program::Vllm, Program::Sglang];

/// Options of a stage.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// Number of engines: `qwen-a`, `qwen-b` and so on, 26 at most.
    pub engines: usize,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Time from an engine's start until its model is loaded.
    pub startup: Duration,
    /// Bytes of device memory of each engine.
    pub memory: u64,
    /// Bytes of device memory that an engine that leaks takes in a minute.
    pub leak: u64,
    /// Keep exiting processes for the driver's teardown (by ptrace, where it is permitted); otherwise only
    /// their memory and NVML's entries stay.
    pub hold: bool,
    /// Further options of every engine, as `--step-cpu 6ms` (see `sim engine`).
    pub pace: Vec<String>,
    /// What the engines are like, in turn; what is not SGLang is vLLM.
    pub kinds: Vec<Program>,
    /// Engines have the habits too that make them hard to see: their environment is overwritten, their gauges stand
    /// still between steps, an SGLang's health takes a second, and they end with status 0 or kill themselves when their
    /// GPU process has died. Without it only their words are alike.
    pub faithful: bool,
    /// Which driver's daemon and server are played.
    pub driver: Dialect,
    /// Engines have the kernel probe, over the stand-in CUPTI; a window of 50 ms every 2 s.
    pub probe: bool,
    /// Which GPU and driver NVML speaks of.
    pub gpu_like: GpuLike,
    /// The mpswarden binary, which plays every part.
    pub program: PathBuf,
}

impl StageOptions {
    /// Three engines, the third an SGLang, that take 1.5 s to start and 20 GiB each; one that leaks reaches its limit, twice as much, in
    /// eight minutes.
    pub fn new(program: PathBuf) -> StageOptions {
        StageOptions {
            engines: 3,
            seed: 1,
            startup: Duration::from_millis(1500),
            memory: 20 << 30,
            leak: 2560 << 20,
            hold: true,
            pace: Vec::new(),
            kinds: KINDS.to_vec(),
            faithful: false,
            driver: Dialect::default(),
            probe: false,
            gpu_like: GpuLike::H200,
            program,
        }
    }

    /// The same, with engines that wait for their host and prompts that cost GPU time, as those of small models.
    pub fn lifelike(program: PathBuf) -> StageOptions {
        StageOptions { pace: LIFELIKE.split(' ').map(str::to_owned).collect(), ..StageOptions::new(program) }
    }
}

/// A stage that is set. Dropping it ends everything on it.
#[derive(Debug)]
pub struct Stage {
    directory: PathBuf,
    options: StageOptions,
    uuid: String,
    engines: Vec<(String, SocketAddr)>,
    nvml: PathBuf,
    kernel_log: PathBuf,
    control: PathBuf,
    gpu: Child,
    foreign: Mutex<Vec<Child>>,
    silence: Silence,
}

impl Stage {
    /// Unpacks, starts the GPU and waits until it answers, 10 s at most. The directory must be short:
    /// sockets under it have paths of 107 bytes at most.
    pub fn set(directory: &Path, options: &StageOptions) -> io::Result<Stage> {
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let (nvml, kernel_log) = (directory.join("libnvidia-ml.so.1"), directory.join("kmsg"));
        let control = directory.join("nvidia-cuda-mps-control");
        fs::write(&nvml, NVML)?;
        gpu_like::tell(&directory, options.gpu_like.script())?;
        if options.probe {
            fs::write(directory.join("libcupti.so"), CUPTI)?;
        }
        fs::write(&kernel_log, "")?;
        fs::write(directory.join(dialect::FILE), options.driver.as_str())?;
        let _ = fs::remove_file(&control);
        symlink(&options.program, &control)?;
        let uuid = uuid(&mut Chance::new(options.seed));
        let gpu = start_gpu(&directory, options, &uuid, &kernel_log)?;
        let stage = Stage {
            engines: engines(options.engines)?,
            directory,
            options: options.clone(),
            uuid,
            nvml,
            kernel_log,
            control,
            gpu,
            foreign: Mutex::default(),
            silence: Silence::default(),
        };
        stage.await_gpu()?;
        Ok(stage)
    }

    fn await_gpu(&self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        while let Err(error) = self.ask_gpu("uuid") {
            if Instant::now() > deadline {
                return Err(io::Error::new(error.kind(), format!("the simulated GPU did not start: {error}")));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// The library to give to NVML's adapter.
    pub fn nvml_library(&self) -> &Path {
        &self.nvml
    }

    /// A regular file in the format of /dev/kmsg.
    pub fn kernel_log(&self) -> &Path {
        &self.kernel_log
    }

    /// The simulated `nvidia-cuda-mps-control`.
    pub fn control_binary(&self) -> &Path {
        &self.control
    }

    /// The pipe directory that `configuration` gives to the group.
    pub fn pipe_directory(&self) -> PathBuf {
        self.directory.join("pipe")
    }

    /// The stage's own directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The GPU's socket.
    pub fn gpu_socket(&self) -> PathBuf {
        self.directory.join("gpu.socket")
    }

    /// The binary that plays every part.
    pub fn program(&self) -> &Path {
        &self.options.program
    }

    /// The GPU's UUID.
    pub fn gpu_uuid(&self) -> &str {
        &self.uuid
    }

    /// The engines, in order.
    pub fn engine_names(&self) -> impl Iterator<Item = &str> {
        self.engines.iter().map(|(name, _)| name.as_str())
    }

    /// Where an engine serves; `None`: there is no such engine.
    pub fn engine_address(&self, name: &str) -> Option<SocketAddr> {
        self.engines.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    /// Where an engine serves, as a URL; of one that isn't there, an empty one.
    pub fn engine_url(&self, name: &str) -> String {
        self.engine_address(name).map_or(String::new(), |address| format!("http://{address}"))
    }

    /// The command that starts an engine.
    pub fn engine_command(&self, name: &str) -> Vec<String> {
        let port = self.engine_address(name).map_or(0, |address| address.port());
        let index = self.engine_names().position(|known| known == name).unwrap_or(0);
        let mut command = vec![self.options.program.display().to_string()];
        command.extend(["sim", "engine", "--name", name].map(str::to_owned));
        let options = [
            ("--port", port.to_string()),
            ("--gpu", self.gpu_socket().display().to_string()),
            ("--memory", self.options.memory.to_string()),
            ("--leak", self.options.leak.to_string()),
            ("--startup", format!("{}ms", self.options.startup.as_millis())),
            ("--seed", self.options.seed.to_string()),
            ("--model", MODELS[index % MODELS.len()].to_owned()),
            ("--speaks", self.kind(index).as_str().to_owned()),
        ];
        command.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        command.extend((!self.options.faithful).then(|| "--plain".to_owned()));
        command.extend(self.options.pace.iter().cloned());
        command
    }

    fn kind(&self, index: usize) -> Program {
        self.options.kinds.iter().cycle().nth(index).copied().unwrap_or(Program::Vllm)
    }

    /// Which engines get no request for a while.
    pub(super) fn silence(&self) -> &Silence {
        &self.silence
    }

    /// A whole configuration: one group of these engines in enforce mode. `listen`: the watchdog's address.
    pub fn configuration(&self, listen: &str) -> String {
        let path = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
        let here = |name: &str| path(&self.directory.join(name));
        let overlap = if self.options.probe { PROBED } else { "" };
        let engines: String = self.engine_names().map(|name| self.engine_table(name)).collect();
        format!(
            "nvml_library = {}\nkernel_log = {}\nstate_directory = {}\n\n[web]\nlisten_addresses = [\"{listen}\"]\n\n\
             [[group]]\nname = \"{GROUP}\"\ngpu = \"{}\"\nmode = \"enforce\"\n\n\
             [group.mps]\nbinary = {}\npipe_directory = {}\nlog_directory = {}\n{overlap}{engines}",
            path(&self.nvml),
            path(&self.kernel_log),
            here("state"),
            self.uuid,
            path(&self.control),
            path(&self.pipe_directory()),
            here("log"),
        )
    }

    fn engine_table(&self, name: &str) -> String {
        let command = toml::Value::from(self.engine_command(name));
        let url = self.engine_url(name);
        let cupti = toml::Value::from(self.directory.join("libcupti.so").display().to_string());
        let probe = format!("overlap = \"probe\"\nenvironment = {{ MPSWARDEN_CUPTI = {cupti} }}\n");
        let probe = if self.options.probe { probe.as_str() } else { "" };
        // Room to leak into, and an end to it.
        let limit = self.options.memory.div_ceil(1 << 20) * 2;
        format!(
            "\n[[group.engine]]\nname = \"{name}\"\ncommand = {command}\nurl = \"{url}\"\nstart_timeout = \"60s\"\n\
             drain_timeout = \"2s\"\ndevice_memory_limit = \"{limit}MiB\"\n{probe}"
        )
    }

    /// Asks the GPU process one question.
    pub fn ask_gpu(&self, question: &str) -> io::Result<String> {
        let mut link = Link::connect(&self.gpu_socket())?;
        link.set_timeout(START)?;
        link.ask("reader")?;
        link.ask(question)
    }

    /// The control daemon of this stage's pipe directory, proven to be ours by its command line.
    pub fn control_daemon(&self) -> io::Result<i32> {
        let pid = fs::read_to_string(self.pipe_directory().join("nvidia-cuda-mps-control.pid"))?;
        let pid: i32 = pid.trim().parse().map_err(io::Error::other)?;
        let command = fs::read(format!("/proc/{pid}/cmdline"))?;
        let ours = command.starts_with(self.control.as_os_str().as_encoded_bytes());
        if ours { Ok(pid) } else { Err(io::Error::other(format!("process {pid} is not this stage's control daemon"))) }
    }

    /// Makes NVML answer as these rules say from now on, before those of the GPU that it is like (`sim/nvml/script.rs`
    /// has their words); none: as that GPU's NVML does.
    pub fn nvml_answers(&self, rules: &str) -> io::Result<()> {
        gpu_like::tell(&self.directory, &format!("{rules}\n{}", self.options.gpu_like.script()))
    }

    /// Ends a process with the stage.
    pub(super) fn keep(&self, child: Child) {
        self.foreign.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(child);
    }
}

impl Drop for Stage {
    /// A control daemon, a server or an engine that is still there ends when the GPU does; one that is
    /// stopped is killed.
    fn drop(&mut self) {
        if let Ok(control) = self.control_daemon() {
            let _ = kill(Pid::from_raw(control), Signal::SIGKILL);
        }
        let foreign = self.foreign.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        for child in std::iter::once(&mut self.gpu).chain(foreign) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start_gpu(directory: &Path, options: &StageOptions, uuid: &str, kernel_log: &Path) -> io::Result<Child> {
    let mut command = Command::new(&options.program);
    command.args(["sim", "gpu", "--uuid", uuid, "--seed", &options.seed.to_string()]);
    command.arg("--socket").arg(directory.join("gpu.socket")).arg("--kernel-log").arg(kernel_log);
    if !options.hold {
        command.arg("--let-go");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
}

/// Names, and ports that were free a moment ago.
fn engines(count: usize) -> io::Result<Vec<(String, SocketAddr)>> {
    ('a'..='z').take(count).map(|letter| Ok((format!("qwen-{letter}"), free_address()?))).collect()
}

/// A port that nothing listens on and that the kernel gives to no process by itself: an engine may bind it later, and
/// again. Stages of one process never get the same; those of others begin elsewhere.
fn free_address() -> io::Result<SocketAddr> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(101);
    for _ in PORTS {
        let index = begin.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(index).unwrap_or_default();
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr();
        }
    }
    Err(io::Error::other(format!("no port from {} to {} is free", PORTS.start, PORTS.end - 1)))
}

/// A UUID as NVIDIA writes them.
fn uuid(chance: &mut Chance) -> String {
    let (high, low) = (chance.draw(), chance.draw());
    let digits = format!("{high:016x}{low:016x}");
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    format!("GPU-{a}-{b}-{c}-{d}-{e}")
}
