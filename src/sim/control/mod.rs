//! `nvidia-cuda-mps-control`: with `-f` the control daemon in the foreground, with `-d` in the background, else its
//! command line.

mod answers;
mod background;
mod command_line;
mod daemon;
pub(crate) mod dialect;
mod log;
mod quit;
pub(crate) mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the control binary is called by.
pub(crate) const CONTROL_NAME: &str = "nvidia-cuda-mps-control";
/// What the server is called by.
pub(crate) const SERVER_NAME: &str = "nvidia-cuda-mps-server";
/// The answer to a client that the daemon has no time for.
const REFUSED: &str = "\u{15}";

/// Runs the daemon or the command line. `called`: argv\[0\], beside which the GPU's socket lies.
pub(crate) fn main(called: &str, rest: &[String]) -> ExitCode {
    if rest.iter().any(|arg| arg == "-f") {
        return daemon::main(&gpu_socket(called));
    }
    if rest.iter().any(|arg| arg == "-d") {
        return background::main(called);
    }
    if rest.is_empty() {
        return command_line::main();
    }
    eprintln!("{CONTROL_NAME}: only -f, -d and commands on stdin are simulated");
    ExitCode::FAILURE
}

/// `MPSWARDEN_SIM_GPU`, or `gpu.socket` beside the binary's own link, which PATH may have found.
fn gpu_socket(called: &str) -> PathBuf {
    if let Some(path) = std::env::var_os("MPSWARDEN_SIM_GPU") {
        return path.into();
    }
    let called = Path::new(called);
    if called.components().count() > 1 {
        return called.with_file_name("gpu.socket");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|directory| directory.join(called).exists());
    found.unwrap_or_default().join("gpu.socket")
}
