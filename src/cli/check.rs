//! `mpswarden check`, and the reading of a configuration that a command names: every problem goes to stderr.

use std::io::Write;
use std::process::ExitCode;

use tokio::runtime::Builder;

use super::arguments::CheckOptions;
use super::exit::ExitStatus;
use super::terminal::say;
use crate::config::{self, Configuration, EngineConfiguration, Examined, Problem, Problems};
use crate::host::child::account_of;
use crate::host::external::{Externals, NotFound};
use crate::host::kernel_log;
use crate::host::nvml::{Driver, START_BOUND};
use crate::model::External;
use crate::text::figures::plural;
use crate::text::plain::lines;

/// Prints the effective configuration to stdout, with "ok" at its end, and every problem to stderr.
pub fn check(options: &CheckOptions) -> ExitCode {
    let examined = match config::examine(&options.file) {
        Ok(examined) => examined,
        Err(problems) => return refused(&problems).into(),
    };
    let (examined, gpus) = with_the_machine(examined);
    let Examined { configuration, problems } = &examined;
    let warnings = problems.len();
    let listed = Problems { file: options.file.clone(), list: problems.clone() };
    if examined.is_mistaken() {
        return refused(&listed).into();
    }
    if options.strict && warnings > 0 {
        tell(&listed.to_string());
        tell(&format!("{}: {}, refused as --strict asks", options.file.display(), plural(warnings, "warning")));
        return ExitStatus::Configuration.into();
    }
    let shown = match configuration.shown() {
        Ok(shown) => shown,
        Err(why) => {
            tell(&why);
            return ExitStatus::Software.into();
        }
    };
    let with = if warnings > 0 { format!(", with {}", plural(warnings, "warning")) } else { String::new() };
    say(&format!("{shown}\n"));
    if warnings > 0 {
        tell(&listed.to_string());
    }
    // A comment: what is printed is a configuration.
    say(&format!("# ok{with}{gpus}\n"));
    ExitCode::SUCCESS
}

/// The configuration that `load` loads; else the exit status, once every problem is on stderr.
pub fn read(load: impl FnOnce() -> Result<Configuration, Problems>) -> Result<Configuration, ExitStatus> {
    load().map_err(|problems| refused(&problems))
}

fn refused(problems: &Problems) -> ExitStatus {
    tell(&problems.to_string());
    ExitStatus::of(problems)
}

/// Adds what the kernel log and the GPUs say. The text says why no GPU was looked at, to follow the "ok".
fn with_the_machine(mut examined: Examined) -> (Examined, String) {
    let kernel_log = kernel_log_in_no_form(&examined.configuration);
    examined.warn(kernel_log);
    let externals = engines_that_are_not_found(&examined.configuration);
    examined.warn(externals);
    let library = examined.configuration.nvml_library.clone();
    match Driver::open_within(&library, START_BOUND) {
        Ok((_, gpus)) => {
            let problems = examined.configuration.resolve(&gpus, 0).err();
            examined.warn(problems.into_iter().flat_map(|problems| problems.list));
            (examined, String::new())
        }
        Err(error) if examined.configuration.is_written("nvml_library") => {
            let hint = "name NVML of the driver that is installed, or leave the key out";
            examined.warn([examined.configuration.warning_of("nvml_library", error.to_string(), hint)]);
            (examined, String::new())
        }
        // Perhaps the file is for another machine.
        Err(error) => (examined, format!("; no GPU was looked at: {}", error.in_short())),
    }
}

fn kernel_log_in_no_form(configuration: &Configuration) -> Option<Problem> {
    let path = &configuration.kernel_log;
    let line = kernel_log::is_no_kernel_log(path)?;
    let what = format!("{} is in no form of a kernel log that is known: its last line is {line:?}", path.display());
    let hint = "set kernel_log to /dev/kmsg, or to a file that syslog, journalctl -k or dmesg writes";
    Some(configuration.warning_of("kernel_log", what, hint))
}

/// Engines that others run and that are not there now, or can't be taken for what is configured.
fn engines_that_are_not_found(configuration: &Configuration) -> Vec<Problem> {
    let groups = configuration.groups.iter().enumerate();
    let engines = groups.flat_map(|(group, of)| of.engines.iter().enumerate().map(move |(at, one)| (group, at, one)));
    let theirs: Vec<_> =
        engines.filter_map(|(group, at, one)| Some((group, at, one, one.external.as_ref()?))).collect();
    if theirs.is_empty() {
        return Vec::new();
    }
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let look = |external: &External, user: Option<&str>| {
        let uid = user.and_then(|user| account_of(user).ok().flatten()).map(|account| account.uid.as_raw());
        runtime.block_on(Externals::default().find(&external.at, uid))
    };
    let warning = |(group, at, one, external): (usize, usize, &EngineConfiguration, &External)| {
        let (what, hint) = match look(external, one.user.as_deref()).err()? {
            NotFound::Starts(_) => return None,
            NotFound::Absent(why) => (format!("{} does not run now: {why}", one.name), "it is waited for"),
            NotFound::Refused(why) => {
                (format!("{} can't be found: {why}", one.name), "mend that, or name another place")
            }
            NotFound::NotAsked(why) => {
                (format!("{} could not be looked for: {why}", one.name), "run check where mpswarden runs")
            }
        };
        let key = format!("group[{group}].engine[{at}].external.{}", external.at.key());
        Some(configuration.warning_of(&key, what, hint))
    };
    theirs.into_iter().filter_map(warning).collect()
}

/// Writes it to stderr, without what would drive a terminal, and lives on where that is closed.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", lines(line));
}
