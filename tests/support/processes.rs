//! Processes by what they were started with: a test's own are those that name its directory.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A living process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// Its arguments, separated by spaces.
    pub command: String,
}

impl Process {
    /// The simulated GPU and what computes on it beside the group belong to the stage, not to the watchdog.
    pub fn is_of_the_stage(&self) -> bool {
        [" sim gpu ", " sim foreign "].iter().any(|part| self.command.contains(part))
    }

    /// Whether it is an engine, main process or core.
    pub fn is_engine(&self) -> bool {
        self.command.contains(" sim engine")
    }

    /// Sends it a signal; one that is gone meanwhile is no trouble.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid), signal);
    }
}

/// Living processes whose command line or environment names `directory`; zombies have neither.
pub fn naming(directory: &Path) -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id().cast_signed()).filter_map(|pid| named(pid, directory)).collect()
}

fn named(pid: i32, directory: &Path) -> Option<Process> {
    let name = directory.as_os_str().as_encoded_bytes();
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let names = |text: &[u8]| text.windows(name.len()).any(|part| part == name);
    (names(&command) || names(&environment)).then(|| {
        let words: Vec<String> =
            command.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
        Process { pid, command: words.join(" ") }
    })
}

/// Whether a process of that pid is there and no zombie.
pub fn lives(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}
