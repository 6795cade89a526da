//! `mpswarden init`: a configuration to begin with, for the GPUs that are there. It writes over nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::exit::ExitStatus;
use super::terminal::{say, tell};
use crate::config::{DEFAULT_NVML_LIBRARY, RunningEngine, guess_kind, starter};
use crate::host::nvml::{Driver, START_BOUND};
use crate::host::procfs::{Procfs, Stat};
use crate::model::EngineKind;
use crate::text::figures::plural;
use crate::text::secrets::Secrets;

/// The name for stdout.
const STDOUT: &str = "-";

/// Options of `init`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct InitOptions {
    /// The file that is written, and is not there yet; `-` is stdout.
    #[arg(default_value = "/etc/mpswarden/mpswarden.toml")]
    pub file: PathBuf,
    /// The NVML library that is asked for GPUs.
    #[arg(long, value_name = "LIBRARY", default_value = DEFAULT_NVML_LIBRARY)]
    pub nvml_library: String,
}

/// Writes the configuration.
pub fn init(options: &InitOptions) -> ExitCode {
    let file = &options.file;
    // The driver may take its time: first what needs none.
    if file.as_os_str() != STDOUT && fs::symlink_metadata(file).is_ok() {
        return refused(file, &ErrorKind::AlreadyExists.into());
    }
    let (text, found) = match Driver::open_within(&options.nvml_library, START_BOUND) {
        Ok((_, gpus)) => (starter(&gpus, None, &running()), format!("for {}", plural(gpus.len(), "GPU"))),
        Err(error) => {
            let why = error.in_short();
            (starter(&[], Some(&why), &running()), format!("for a GPU that is to be named: {why}"))
        }
    };
    if file.as_os_str() == STDOUT {
        say(&text);
        return ExitCode::SUCCESS;
    }
    match write(file, &text) {
        Ok(()) => {
            let shown = file.display();
            say(&format!(
                "{shown} is written {found}; put your engines' commands in, then `mpswarden check {shown}`\n"
            ));
            ExitCode::SUCCESS
        }
        Err(error) => refused(file, &error),
    }
}

/// Engines that run on this machine, as far as this user sees them.
fn running() -> Vec<RunningEngine> {
    let (Ok(secrets), procfs) = (Secrets::new(), Procfs::new(Path::new("/proc"))) else { return Vec::new() };
    let kinds = procfs.all().unwrap_or_default().into_iter().filter(Stat::lives).filter_map(|stat| {
        let command = procfs.command_words(stat.id.pid, &secrets);
        let kind = guess_kind(&command);
        (kind != EngineKind::Other).then_some((stat, kind, command))
    });
    let found: Vec<_> = kinds.collect();
    // A child that has its parent's command is a part of it.
    let is_part = |stat: &Stat| found.iter().any(|(other, ..)| other.id.pid == stat.parent);
    let whole = found.iter().filter(|(stat, ..)| !is_part(stat));
    let engine = |(stat, kind, command): &(Stat, EngineKind, Vec<String>)| {
        let visible = procfs.environment(stat.id.pid, "CUDA_VISIBLE_DEVICES");
        RunningEngine { pid: stat.id.pid, kind: *kind, command: command.clone(), visible }
    };
    whole.map(engine).collect()
}

/// Writes a file that is not there yet; it may come to hold secrets.
fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o640).open(file)?.write_all(text.as_bytes())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is foreign and grows")]
fn refused(file: &Path, error: &io::Error) -> ExitCode {
    let shown = file.display();
    let (status, why) = match error.kind() {
        ErrorKind::AlreadyExists => (
            ExitStatus::Unavailable,
            format!("{shown} is there already, and stays as it is: name another file, or `-`"),
        ),
        ErrorKind::PermissionDenied => {
            (ExitStatus::Permission, format!("{shown} can't be written: {error}; name another file, or be root"))
        }
        _ => (ExitStatus::Unavailable, format!("{shown} can't be written: {error}; name another file, or `-`")),
    };
    tell(&format!("mpswarden: {why}"));
    status.into()
}
