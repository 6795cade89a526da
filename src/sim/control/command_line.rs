//! The command line of the control daemon: commands on stdin, answers on stdout once stdin is closed.

use std::io::{Read, Write};
use std::process::ExitCode;

use super::REFUSED;
use crate::client::pipe_directory;
use crate::wire::Link;

/// Exit status 0 says only that the daemon was reached.
pub(super) fn main() -> ExitCode {
    let mut commands = String::new();
    let _ = std::io::stdin().read_to_string(&mut commands);
    for command in commands.lines().map(str::trim).filter(|command| !command.is_empty()) {
        let Some(answer) = ask(command) else {
            eprintln!("Cannot find MPS control daemon process");
            return ExitCode::FAILURE;
        };
        if answer == REFUSED.as_bytes() {
            eprintln!("Cannot send command to MPS control daemon process");
            return ExitCode::FAILURE;
        }
        let _ = std::io::stdout().write_all(&answer);
    }
    ExitCode::SUCCESS
}

fn ask(command: &str) -> Option<Vec<u8>> {
    let mut link = Link::connect(&pipe_directory().join("control")).ok()?;
    link.send(&format!("ui {command}")).ok()?;
    Some(link.rest().unwrap_or_default())
}
