//! Where the process begins: what the command line (`cli`) asks for is carried out here or in `runtime`.

use std::ffi::OsString;
use std::process::ExitCode;

use mpswarden::cli::{self, Arguments, Command, StudyCommand};
use mpswarden::{config, runtime};

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
        Command::Check(options) => cli::check(&options),
        Command::Init(options) => cli::init(&options),
        Command::Completions { shell } => cli::completions(shell),
        Command::Man { directory: Some(directory), .. } => cli::manuals(&directory),
        Command::Man { command, .. } => cli::manual(command.as_deref()),
        Command::Gate { install: Some(file), .. } => cli::install_gate(&file),
        // As they were typed: the first `--` is swallowed by who reads them.
        Command::Gate { .. } => {
            mpswarden::gate::client::main(argv.into_iter().skip_while(|word| word != "gate").skip(1))
        }
        Command::Client(command) => cli::client(command, control_socket.or_else(cli::socket_of_environment)),
        Command::Run(options) => match cli::read(|| options.configuration()) {
            Ok(configuration) => {
                runtime::run(configuration, options, control_socket.or_else(cli::socket_of_environment))
            }
            Err(status) => status.into(),
        },
        Command::Study(options) => match (&options.command, options.config.as_deref()) {
            (Some(StudyCommand::Compare(options)), _) => runtime::compare_studies(options),
            (None, Some(file)) => match cli::read(|| config::load_for_study(file)) {
                Ok(configuration) => runtime::study(configuration, &options, control_socket),
                Err(status) => status.into(),
            },
            (None, None) => runtime::study_demo(&options),
        },
        Command::StudyLoad => mpswarden::study::serve_load(),
        Command::Demo(options) => runtime::demo(options, control_socket),
    }
}
