//! Somebody else, who runs a control daemon and its clients on a stage: in the background, with logs in files, as an
//! administrator, systemd or a device plugin does.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mpswarden::sim::Stage;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use toml::Value;

use crate::support::scene::Scene;

/// A control daemon of somebody else. Whoever drops it leaves it to its scene.
pub struct Daemon {
    binary: PathBuf,
    pub pipe: PathBuf,
    pub logs: PathBuf,
}

impl Daemon {
    /// Starts one in the pipe directory of the scene, and makes its group attach to it.
    pub fn start(scene: &mut Scene) -> Daemon {
        scene.group()["mps"].as_table_mut().unwrap().insert("control".to_owned(), "attach".into());
        let logs = scene.directory().join("log");
        let daemon =
            Daemon { binary: scene.stage.control_binary().to_owned(), pipe: scene.stage.pipe_directory(), logs };
        daemon.start_again();
        daemon
    }

    /// The same, with a group that names no engine and only observes.
    pub fn alone(scene: &mut Scene) -> Daemon {
        scene.group().remove("engine");
        scene.group().remove("recovery");
        scene.group().insert("mode".to_owned(), "observe".into());
        Daemon::start(scene)
    }

    /// Starts another one in a directory of its own, `pipe` and `log` below it. No configuration names it.
    pub fn at(scene: &Scene, place: &Path) -> Daemon {
        let [pipe, logs] = ["pipe", "log"].map(|name| place.join(name));
        [&pipe, &logs].into_iter().for_each(|directory| fs::create_dir_all(directory).unwrap());
        let daemon = Daemon { binary: scene.stage.control_binary().to_owned(), pipe, logs };
        daemon.start_again();
        daemon
    }

    /// Starts it again where it was.
    pub fn start_again(&self) {
        let mut command = Command::new(&self.binary);
        let started = self.of(command.arg("-d")).status().unwrap();
        assert!(started.success(), "the control daemon of somebody else starts: {started}");
    }

    fn of<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("CUDA_MPS_PIPE_DIRECTORY", &self.pipe).env("CUDA_MPS_LOG_DIRECTORY", &self.logs)
    }

    /// Pid of the daemon.
    pub fn pid(&self) -> i32 {
        fs::read_to_string(self.pipe.join("nvidia-cuda-mps-control.pid")).unwrap().trim().parse().unwrap()
    }

    /// SIGKILL of it.
    pub fn kill(&self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGKILL).unwrap();
    }

    /// Starts a client of it, in a process group of its own.
    pub fn client(&self, stage: &Stage, arguments: &[&str]) -> Client {
        let mut command = Command::new(stage.program());
        command.args(["sim", "client"]).args(arguments).arg("--gpu").arg(stage.gpu_socket());
        Client::start(self.of(&mut command))
    }

    /// Starts an engine of the stage as its client, in a process group of its own.
    pub fn engine(&self, stage: &Stage, name: &str) -> Client {
        let words = stage.engine_command(name);
        let mut command = Command::new(&words[0]);
        Client::start(self.of(command.args(&words[1..])))
    }

    /// Where its server writes.
    pub fn server_log(&self) -> PathBuf {
        self.logs.join("server.log")
    }
}

/// A process of somebody else; it ends with the test.
pub struct Client(pub Child);

impl Client {
    fn start(command: &mut Command) -> Client {
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Client(command.spawn().unwrap())
    }

    /// Pid of the process.
    pub fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// Whether it has not ended.
    pub fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Asks it to end, and waits for that.
    pub fn end(&mut self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
        self.0.wait().unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another configuration of the scene, with a state directory of its own.
pub fn second_configuration(scene: &Scene) -> PathBuf {
    let mut other = scene.configuration.clone();
    let place = scene.directory().join("second");
    fs::create_dir(&place).unwrap();
    other.insert("state_directory".to_owned(), Value::from(place.join("state").display().to_string()));
    let path = place.join("mpswarden.toml");
    fs::write(&path, other.to_string()).unwrap();
    path
}

/// The files in a directory, by name.
pub fn files_in(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
