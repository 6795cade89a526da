//! A stage for the watchdog: a directory with a simulated GPU, its NVML library, its kernel log and its
//! MPS binary. Starts the GPU only; everything else is the watchdog's to start.

use std::fs;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::control::dialect;
use super::gpu_like;
use super::layout::{Layout, StageOptions};
use super::silence::Silence;
use super::wire::Link;

/// The stand-in NVML library, compiled by the build script.
const NVML: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libnvidia-ml.so"));
/// The stand-in CUPTI library, likewise.
pub const CUPTI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libcupti.so"));
/// The GPU answers within this time of its start.
const START: Duration = Duration::from_secs(10);

/// A stage that is set. Dropping it ends everything on it.
#[derive(Debug)]
pub struct Stage {
    layout: Layout,
    gpu: Child,
    foreign: Mutex<Vec<Child>>,
    silence: Silence,
}

impl Deref for Stage {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

impl Stage {
    /// Unpacks, starts the GPU and waits until it answers, 10 s at most. The errors: those of [`Layout::plan`], and
    /// whatever the system refuses.
    pub fn set(directory: &Path, options: &StageOptions) -> io::Result<Stage> {
        fs::create_dir_all(directory)?;
        let layout = Layout::plan(&directory.canonicalize()?, options)?;
        let here = layout.directory();
        fs::write(layout.nvml_library(), NVML)?;
        gpu_like::tell(here, options.gpu_like.script())?;
        if options.probe {
            fs::write(here.join("libcupti.so"), CUPTI)?;
        }
        fs::write(layout.kernel_log(), "")?;
        fs::write(here.join(dialect::FILE), options.driver.as_str())?;
        let _ = fs::remove_file(layout.control_binary());
        symlink(&options.program, layout.control_binary())?;
        let gpu = start_gpu(&layout)?;
        let stage = Stage { layout, gpu, foreign: Mutex::default(), silence: Silence::default() };
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
        let ours = command.starts_with(self.control_binary().as_os_str().as_encoded_bytes());
        if ours { Ok(pid) } else { Err(io::Error::other(format!("process {pid} is not this stage's control daemon"))) }
    }

    /// Makes NVML answer as these rules say from now on, before those of the GPU that it is like (`sim/nvml/script.rs`
    /// has their words); none: as that GPU's NVML does.
    pub fn nvml_answers(&self, rules: &str) -> io::Result<()> {
        gpu_like::tell(self.directory(), &format!("{rules}\n{}", self.options().gpu_like.script()))
    }

    /// Which engines get no request for a while.
    pub(super) fn silence(&self) -> &Silence {
        &self.silence
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

fn start_gpu(layout: &Layout) -> io::Result<Child> {
    let options = layout.options();
    let mut command = Command::new(layout.program());
    command.args(["sim", "gpu", "--uuid", &layout.gpu_uuids().join(","), "--seed", &options.seed.to_string()]);
    command.arg("--socket").arg(layout.gpu_socket()).arg("--kernel-log").arg(layout.kernel_log());
    if !options.hold {
        command.arg("--let-go");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
}
