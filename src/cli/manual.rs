//! What is made of the command line itself: completions for shells, and manual pages.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;
use super::exit::ExitStatus;
use super::terminal::{say, tell};

/// Name of the program.
const NAME: &str = "mpswarden";

/// Prints the completions for a shell.
pub fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    say(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

/// Prints the manual page of the program, or of one of its commands.
pub fn manual(command: Option<&str>) -> ExitCode {
    let mut program = Arguments::command();
    program.build();
    let page = match command {
        None => Some(program),
        Some(name) => program.find_subcommand(name).cloned().map(|found| found.display_name(format!("{NAME}-{name}"))),
    };
    let Some(page) = page else {
        tell(&format!("mpswarden: there is no command {}: see `mpswarden --help`", command.unwrap_or_default()));
        return ExitStatus::Usage.into();
    };
    match rendered(page) {
        Ok(page) => {
            say(&page);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&format!("mpswarden: the page can't be made: {error}"));
            ExitStatus::Software.into()
        }
    }
}

/// Writes the manual pages of the program and of all its commands into a directory that is there.
pub fn manuals(directory: &Path) -> ExitCode {
    match clap_mangen::generate_to(Arguments::command(), directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let shown = directory.display();
            tell(&format!("mpswarden: {shown}: {error}; name a directory that is there and may be written"));
            ExitStatus::Unavailable.into()
        }
    }
}

fn rendered(page: clap::Command) -> io::Result<String> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff)?;
    roff.flush()?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}
