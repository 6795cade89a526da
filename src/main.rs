//! Arguments and exit codes.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use mpswarden::config::{self, Arguments, Command, Configuration, ExitStatus, Problems};
use mpswarden::runtime;
use mpswarden::text::plain::lines;

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    #[cfg(feature = "demo")]
    if let Some(ended) = mpswarden::sim::dispatch(&argv) {
        return ended;
    }
    let Arguments { command, control_socket } = match Arguments::read(&argv) {
        Ok(arguments) => arguments,
        Err(status) => return status.into(),
    };
    match command {
        Command::Check { file } => check(&file).unwrap_or_else(ExitCode::from),
        Command::Demo(options) => runtime::demo(options, control_socket),
        Command::Run(options) => match or_tell(config::load(&options.config)) {
            Ok(configuration) => runtime::run(configuration, options, control_socket),
            Err(status) => status.into(),
        },
        Command::Study(options) => match options.config.as_deref().map(config::load_for_study).map(or_tell).transpose()
        {
            Ok(configuration) => runtime::study(configuration, &options, control_socket),
            Err(status) => status.into(),
        },
        Command::Client(command) => runtime::client(command, control_socket),
    }
}

fn check(file: &Path) -> Result<ExitCode, ExitStatus> {
    let configuration = or_tell(config::load(file))?;
    configuration.warnings().iter().for_each(|warning| tell(&format!("{}: warning: {warning}", file.display())));
    let shown = configuration.shown().map_err(|why| (tell(&why), ExitStatus::Software).1)?;
    // A reader that went away (a pager) is no fault of the configuration.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn or_tell(loaded: Result<Configuration, Problems>) -> Result<Configuration, ExitStatus> {
    loaded.map_err(|problems| {
        tell(&problems.to_string());
        problems.status()
    })
}

/// Writes it to stderr, without what would drive a terminal, and lives on where that is closed.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", lines(line));
}
