//! `-d`: the control daemon in the background, in a session of its own, with logs in files.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::log::LOGS_VARIABLE;
use crate::client::pipe_directory;
use crate::wire::Link;

/// Where the logs are unless the environment says otherwise.
const LOGS: &str = "/var/log/nvidia-mps";
/// Upper bound for the daemon to answer.
const UP: Duration = Duration::from_secs(10);

/// Starts the daemon and ends once it answers.
pub(super) fn main(called: &str) -> ExitCode {
    let socket = pipe_directory().join("control");
    if Link::connect(&socket).is_ok() {
        println!("An instance of this daemon is already running");
        return ExitCode::FAILURE;
    }
    let logs = std::env::var_os("CUDA_MPS_LOG_DIRECTORY").map_or_else(|| PathBuf::from(LOGS), PathBuf::from);
    let Ok(program) = std::env::current_exe() else { return ExitCode::FAILURE };
    let mut command = Command::new(program);
    command.arg0(called).arg("-f").env(LOGS_VARIABLE, logs);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: one system call between fork and exec.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(|_| ()).map_err(Into::into)) };
    if let Err(error) = command.spawn() {
        eprintln!("nvidia-cuda-mps-control: {error}");
        return ExitCode::FAILURE;
    }
    let deadline = Instant::now() + UP;
    let pid_file = pipe_directory().join("nvidia-cuda-mps-control.pid");
    let is_up = || Link::connect(&socket).is_ok() && std::fs::read(&pid_file).is_ok_and(|pid| !pid.is_empty());
    while !is_up() {
        if Instant::now() > deadline {
            return ExitCode::FAILURE;
        }
        thread::sleep(Duration::from_millis(2));
    }
    ExitCode::SUCCESS
}
