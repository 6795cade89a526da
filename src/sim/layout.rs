//! Where everything of a stage is, and the configuration that a watchdog gets for it. Makes and starts nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::chance::Chance;
use super::control::dialect::Dialect;
use super::gpu::MEMORY_TOTAL;
use super::gpu_like::GpuLike;
use crate::engine::dialect::Program;

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
/// Share of the GPU's memory that engines take together, at most: one of them may leak into the rest.
const USED_SHARE: f64 = 0.8;

/// Longest path of a Unix socket, in bytes, and the longest of a stage below its directory.
const SOCKET_PATH: usize = 107;
const LONGEST_SOCKET: &str = "pipe-apart/control";

/// What makes a watchdog quick: `Judgement::Quick`.
const QUICK_RECOVERY: &str = "\n[group.recovery]\nwedge_grace = \"5s\"\n";
const QUICK_ENGINE: &str =
    "health_timeout = \"5s\"\nhang_after = \"15s\"\nleak_after = \"20s\"\nstop_timeout = \"5s\"\n";

/// Options of a stage.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// Number of engines: `qwen-a`, `qwen-b` and so on, 26 at most.
    pub engines: usize,
    /// Number of GPUs; engines compute on the first that they see.
    pub gpus: usize,
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
    /// What the watchdog may do.
    pub mode: StageMode,
    /// How long the watchdog looks before it calls an engine hung or leaking.
    pub judgement: Judgement,
    /// The mpswarden binary, which plays every part.
    pub program: PathBuf,
}

/// The mode of a stage's group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StageMode {
    /// Faults are acted on.
    #[default]
    Enforce,
    /// Faults are only reported.
    Observe,
}

/// How long a watchdog looks before it calls an engine hung or leaking, and a control daemon wedged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judgement {
    /// The time that is the default.
    #[default]
    Usual,
    /// A short time: both are seen within a minute. Right for engines whose requests take less than a second.
    Quick,
}

impl StageOptions {
    /// Three engines, the third an SGLang, that take 1.5 s to start and 20 GiB each; one that leaks reaches its limit,
    /// twice as much, in eight minutes.
    pub fn new(program: PathBuf) -> StageOptions {
        StageOptions {
            engines: 3,
            gpus: 1,
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
            mode: StageMode::Enforce,
            judgement: Judgement::Usual,
            program,
        }
    }

    /// The same, with engines that wait for their host and prompts that cost GPU time, as those of small models.
    pub fn lifelike(program: PathBuf) -> StageOptions {
        StageOptions { pace: LIFELIKE.split(' ').map(str::to_owned).collect(), ..StageOptions::new(program) }
    }

    /// The same with so many engines, which fit on the GPU together: with whole GiB each, 20 at most.
    pub fn with_engines(self, engines: usize) -> StageOptions {
        let each = (MEMORY_TOTAL as f64 * USED_SHARE) as u64 / engines.max(1) as u64;
        StageOptions { engines, memory: self.memory.min(each >> 30 << 30), ..self }
    }
}

/// A stage as it is planned.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
    options: StageOptions,
    uuids: Vec<String>,
    engines: Vec<(String, SocketAddr)>,
    nvml: PathBuf,
    kernel_log: PathBuf,
    control: PathBuf,
}

impl Layout {
    /// Plans a stage in this directory. The errors: its path is too long, since sockets under it have paths of 107 bytes
    /// at most; no ports are free.
    pub fn plan(directory: &Path, options: &StageOptions) -> io::Result<Layout> {
        let longest = directory.join(LONGEST_SOCKET).as_os_str().len();
        if let Some(over) = longest.checked_sub(SOCKET_PATH).filter(|over| *over > 0) {
            let what = format!(
                "the directory {} is {over} bytes too long: paths of Unix sockets below it would be longer than \
                 {SOCKET_PATH} bytes",
                directory.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, what));
        }
        Ok(Layout {
            engines: engines(options.engines)?,
            uuids: uuids(options),
            nvml: directory.join("libnvidia-ml.so.1"),
            kernel_log: directory.join("kmsg"),
            control: directory.join("nvidia-cuda-mps-control"),
            directory: directory.to_owned(),
            options: options.clone(),
        })
    }

    /// Options of the stage.
    pub(super) fn options(&self) -> &StageOptions {
        &self.options
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

    /// UUID of the first GPU.
    pub fn gpu_uuid(&self) -> &str {
        self.uuids.first().map_or("", String::as_str)
    }

    /// UUIDs of all GPUs, by NVML's index.
    pub fn gpu_uuids(&self) -> &[String] {
        &self.uuids
    }

    /// The group's name.
    pub fn group(&self) -> &'static str {
        GROUP
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

    /// A whole configuration: one group of these engines. `listen`: the watchdog's address.
    pub fn configuration(&self, listen: &str) -> String {
        let path = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
        let here = |name: &str| path(&self.directory.join(name));
        let mode = match self.options.mode {
            StageMode::Enforce => "enforce",
            StageMode::Observe => "observe",
        };
        let overlap = if self.options.probe { PROBED } else { "" };
        let recovery = if self.options.judgement == Judgement::Quick { QUICK_RECOVERY } else { "" };
        let engines: String = self.engine_names().map(|name| self.engine_table(name)).collect();
        format!(
            "nvml_library = {}\nkernel_log = {}\nstate_directory = {}\n\n[web]\nlisten_addresses = [\"{listen}\"]\n\n\
             [[group]]\nname = \"{GROUP}\"\ngpu = \"{}\"\nmode = \"{mode}\"\n\n\
             [group.mps]\nbinary = {}\npipe_directory = {}\nlog_directory = {}\n{overlap}{recovery}{engines}",
            path(&self.nvml),
            path(&self.kernel_log),
            here("state"),
            self.gpu_uuid(),
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
        let quick = if self.options.judgement == Judgement::Quick { QUICK_ENGINE } else { "" };
        // Room to leak into, and an end to it.
        let limit = self.options.memory.div_ceil(1 << 20) * 2;
        format!(
            "\n[[group.engine]]\nname = \"{name}\"\ncommand = {command}\nurl = \"{url}\"\nstart_timeout = \"60s\"\n\
             drain_timeout = \"2s\"\ndevice_memory_limit = \"{limit}MiB\"\n{quick}{probe}"
        )
    }
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

fn uuids(options: &StageOptions) -> Vec<String> {
    let mut chance = Chance::new(options.seed);
    (0..options.gpus.max(1)).map(|_| uuid(&mut chance)).collect()
}

/// A UUID as NVIDIA writes them.
fn uuid(chance: &mut Chance) -> String {
    let (high, low) = (chance.draw(), chance.draw());
    let digits = format!("{high:016x}{low:016x}");
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    format!("GPU-{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn options() -> StageOptions {
        StageOptions::new(PathBuf::from("/usr/bin/mpswarden"))
    }

    #[test]
    fn engines_fit_on_the_gpu_together_with_room_for_one_that_leaks() {
        for engines in 1..=16 {
            let memory = options().with_engines(engines).memory;
            assert!(memory >= 4 << 30, "{engines} engines of {memory} bytes");
            assert!((engines as u64 + 1) * memory < MEMORY_TOTAL, "{engines} engines of {memory} bytes");
        }
        assert_eq!(options().with_engines(3).memory, options().memory);
    }

    #[test]
    fn a_directory_too_long_for_sockets_is_refused_by_its_length() {
        let directory = Path::new("/").join("d".repeat(SOCKET_PATH - LONGEST_SOCKET.len() - 2));
        assert!(Layout::plan(&directory, &options()).is_ok());
        let error = Layout::plan(&directory.with_extension("x"), &options()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
        assert!(error.to_string().contains("is 2 bytes too long"), "{error}");
    }
}
