//! A stage with its configuration, which a test edits before it starts watchdogs over it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mpswarden::sim::{GpuLike, Injection, Stage, StageOptions};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use toml::{Table, Value};

use crate::support::processes::{self, Process};
use crate::support::watchdog::Watchdog;

/// Upper bound for whatever is waited for, on a loaded machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The binary under test.
pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_mpswarden").into()
}

/// Looks until there is something; panics with what was waited for if there is nothing in time.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// A stage and a configuration. Dropping it ends every process that names its directory.
pub struct Scene {
    pub stage: Stage,
    pub configuration: Table,
    directory: TempDir,
}

impl Scene {
    /// Two engines that start quickly and need little.
    pub fn set() -> Scene {
        Scene::with(2)
    }

    /// Two engines on another GPU, or under another driver.
    pub fn on(gpu_like: GpuLike) -> Scene {
        Scene::of(2, gpu_like)
    }

    /// A scene with so many engines.
    pub fn with(engines: usize) -> Scene {
        Scene::of(engines, GpuLike::H200)
    }

    /// A scene over so many GPUs.
    pub fn over(gpus: usize, engines: usize) -> Scene {
        Scene::made(engines, GpuLike::H200, gpus)
    }

    fn of(engines: usize, gpu_like: GpuLike) -> Scene {
        Scene::made(engines, gpu_like, 1)
    }

    fn made(engines: usize, gpu_like: GpuLike, gpus: usize) -> Scene {
        let directory = tempfile::Builder::new().prefix("mw-").tempdir_in("/tmp").unwrap();
        let options = StageOptions {
            engines,
            startup: Duration::from_millis(100),
            memory: 4 << 30,
            leak: 512 << 20,
            gpu_like,
            gpus,
            ..StageOptions::new(program())
        };
        let stage = Stage::set(directory.path(), &options).unwrap();
        let mut configuration: Table = stage.configuration("127.0.0.1:0").parse().unwrap();
        // What a fault needs of patience, a test needs not.
        group(&mut configuration).insert("recovery".to_owned(), toml::toml! { wedge_grace = "1s" }.into());
        Scene { stage, configuration, directory }
    }

    /// Another group, `other`, of one sleeping process, on this GPU and with directories of its own.
    pub fn add_group(&mut self, gpu: impl Into<Value>) -> &mut Table {
        let mut other = self.group().clone();
        other.insert("name".to_owned(), "other".into());
        other.insert("gpu".to_owned(), gpu.into());
        for (key, name) in [("pipe_directory", "pipe2"), ("log_directory", "log2")] {
            let path = self.directory().join(name).display().to_string();
            other["mps"].as_table_mut().unwrap().insert(key.to_owned(), path.into());
        }
        let mut engine = self.engine(0).clone();
        engine.insert("command".to_owned(), Value::Array(vec!["sleep".into(), "600".into()]));
        engine.insert("url".to_owned(), "http://127.0.0.1:9".into());
        other.insert("engine".to_owned(), Value::Array(vec![engine.into()]));
        let groups = self.configuration["group"].as_array_mut().unwrap();
        groups.push(other.into());
        groups.last_mut().unwrap().as_table_mut().unwrap()
    }

    /// Directory of the scene; every process of the scene names it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The table of the only group.
    pub fn group(&mut self) -> &mut Table {
        group(&mut self.configuration)
    }

    /// The section `[discover]`, which must be there.
    pub fn discover(&mut self) -> &mut Table {
        self.configuration["discover"].as_table_mut().unwrap()
    }

    /// A key of `[group.recovery]`.
    pub fn recovery(&mut self, key: &str, value: impl Into<Value>) {
        self.group()["recovery"].as_table_mut().unwrap().insert(key.to_owned(), value.into());
    }

    /// The table of an engine, by its place.
    pub fn engine(&mut self, index: usize) -> &mut Table {
        self.group()["engine"].as_array_mut().unwrap()[index].as_table_mut().unwrap()
    }

    /// An engine's command becomes the arguments of `prefix`.
    pub fn wrap(&mut self, index: usize, prefix: &[&str]) {
        let command = self.engine(index)["command"].as_array_mut().unwrap();
        command.splice(0..0, prefix.iter().map(|word| Value::from(*word)));
    }

    /// NVML hangs from now on, or no longer.
    pub fn hang_nvml(&self, hangs: bool) {
        let file = self.directory().join("nvml.hang");
        if hangs { fs::write(file, "").unwrap() } else { fs::remove_file(file).unwrap() }
    }

    /// Writes the configuration and gives its path.
    pub fn file(&self) -> PathBuf {
        let path = self.directory().join("mpswarden.toml");
        fs::write(&path, self.configuration.to_string()).unwrap();
        path
    }

    /// Starts a watchdog over it.
    pub fn start(&self) -> Watchdog {
        Watchdog::start(&self.file())
    }

    /// Starts a watchdog and waits until the group serves.
    pub fn serving(&self) -> Watchdog {
        let watchdog = self.start();
        watchdog.await_serving();
        watchdog
    }

    /// What a watchdog started, and watchdogs, that live now.
    pub fn living(&self) -> Vec<Process> {
        let mut living = processes::naming(self.directory());
        living.retain(|process| !process.is_of_the_stage());
        living
    }

    /// Brings a fault about. It may kill who should confirm it: the wait for its effects is the proof.
    pub fn inject(&self, fault: Injection) {
        let _ = self.stage.inject(fault, None);
    }

    /// Proves that the control daemon is gone with its files. The gate's socket stays: who comes now waits there.
    pub fn assert_no_daemon(&self) {
        let files = fs::read_dir(self.stage.pipe_directory()).unwrap().flatten().map(|entry| entry.file_name());
        let left: Vec<_> = files.filter(|name| name != "mpswarden.gate").collect();
        assert!(left.is_empty(), "a control daemon is there: {left:?}");
    }

    /// Proves that no process and nothing in the pipe directory is left.
    pub fn assert_nothing_is_left(&self) {
        let left = self.living();
        assert!(left.is_empty(), "left behind: {left:#?}");
        let pipe: Vec<_> = fs::read_dir(self.stage.pipe_directory()).into_iter().flatten().flatten().collect();
        assert!(pipe.is_empty(), "left in the pipe directory: {pipe:?}");
    }
}

fn group(configuration: &mut Table) -> &mut Table {
    configuration["group"].as_array_mut().unwrap()[0].as_table_mut().unwrap()
}

impl Drop for Scene {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let left = self.living();
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|process| process.signal(Signal::SIGKILL));
            std::thread::sleep(PAUSE);
        }
    }
}
