//! Which simulated process this one is, by its name or its arguments.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::args::Args;
use super::layout::StageOptions;
use super::stage::Stage;
use super::{control, engine, gpu, story, worker};

/// Runs a simulated process, if the arguments ask for one: by the name that it was called by
/// (`nvidia-cuda-mps-control`), or by the hidden subcommand `sim`. `None`: they don't.
pub fn dispatch(argv: &[OsString]) -> Option<ExitCode> {
    let text: Vec<String> = argv.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let (called, rest) = text.split_first()?;
    match Path::new(called).file_name()?.to_str()? {
        control::CONTROL_NAME => return Some(control::main(called, rest)),
        control::SERVER_NAME => return Some(control::server::main(&Args::parse(rest))),
        _ => {}
    }
    let (verb, rest) = rest.split_first()?;
    (verb == "sim").then(|| role(rest))
}

fn role(rest: &[String]) -> ExitCode {
    let Some((role, rest)) = rest.split_first() else { return usage("no role given") };
    let args = Args::parse(rest);
    match role.as_str() {
        "gpu" => gpu::main(&args),
        "engine" => engine::main(&args),
        "engine-core" => engine::core::main(&args),
        "client" | "foreign" => story::main(&args),
        "worker" => worker::main(&args),
        "stage" => stage(&args),
        other => usage(&format!("unknown role {other}")),
    }
}

/// `sim stage DIRECTORY [--gpus N]`: a GPU, or so many, with the NVML library, the kernel log and the MPS binary in that
/// directory, until this process ends. What a machine has whose driver is installed; all else is started by others.
fn stage(args: &Args) -> ExitCode {
    let [directory] = args.words.as_slice() else { return usage("stage takes one directory") };
    let options = |program| StageOptions { gpus: args.number("gpus", 1), ..StageOptions::new(program) };
    let set = std::env::current_exe().and_then(|program| Stage::set(Path::new(directory), &options(program)));
    match set {
        Ok(_stage) => loop {
            std::thread::park();
        },
        Err(error) => {
            eprintln!("sim stage: {directory}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The one of `all` that is spelled so; else an error that lists them.
pub(super) fn named<T: Copy>(what: &str, all: &[T], spelling: fn(T) -> &'static str, text: &str) -> Result<T, String> {
    all.iter().find(|one| spelling(**one) == text).copied().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| spelling(*one)).collect();
        format!("unknown {what} `{text}`; one of {}", names.join(", "))
    })
}

fn usage(why: &str) -> ExitCode {
    eprintln!("sim: {why}; roles: gpu, engine, engine-core, client, worker, foreign, stage");
    ExitCode::from(64)
}
