//! What is refused before anything is made: directories of others, and a file that is no kernel log.

use crate::config::Configuration;
use crate::files::{self, Holds};
use crate::host::kernel_log;
use crate::model::GroupLaunch;

use super::refusal::Refusal;

/// Refuses at the start what others may change.
pub(super) fn refuse(configuration: &Configuration, launches: &[GroupLaunch]) -> Result<(), Refusal> {
    files::check_directory("state_directory", &configuration.state_directory, Holds::Files).map_err(Refusal::denied)?;
    refuse_directories(launches)?;
    refuse_kernel_log(configuration)
}

/// Directories in which others may put links and files in the place of ours.
pub(super) fn refuse_directories(launches: &[GroupLaunch]) -> Result<(), Refusal> {
    // Those of others are only looked at, as what others may change.
    launches.iter().filter(|launch| !launch.control.custody.is_others()).try_for_each(|launch| {
        let (pipe, log) = (&launch.control.pipe_directory, &launch.control.log_directory);
        files::check_directory("log_directory", log, Holds::Files)
            .and_then(|()| files::check_directory("pipe_directory", pipe, Holds::Sockets))
            .map_err(|why| Refusal::denied(format!("group `{}`: {why}", launch.domain.group)))
    })
}

/// It would be followed indefinitely and say nothing.
fn refuse_kernel_log(configuration: &Configuration) -> Result<(), Refusal> {
    let path = &configuration.kernel_log;
    let Some(line) = kernel_log::is_no_kernel_log(path) else { return Ok(()) };
    let what = format!("{} is in no form of a kernel log that is known: its last line is {line:?}", path.display());
    let hint = "set kernel_log to /dev/kmsg, or to a file that syslog, journalctl -k or dmesg writes";
    Err(Refusal::configuration(configuration.problem_of("kernel_log", what, hint)))
}
