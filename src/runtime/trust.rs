//! What is refused before anything is made: directories of others.

use crate::config::Configuration;
use crate::files::{self, Holds};
use crate::model::GroupLaunch;

use super::refusal::Refusal;

/// At the start.
pub(super) fn refuse(configuration: &Configuration, launches: &[GroupLaunch]) -> Result<(), Refusal> {
    files::check_directory("state_directory", &configuration.state_directory, Holds::Files).map_err(Refusal::denied)?;
    refuse_directories(launches)
}

/// Directories in which others may put links and files in the place of ours.
pub(super) fn refuse_directories(launches: &[GroupLaunch]) -> Result<(), Refusal> {
    launches.iter().try_for_each(|launch| {
        let (pipe, log) = (&launch.control.pipe_directory, &launch.control.log_directory);
        files::check_directory("log_directory", log, Holds::Files)
            .and_then(|()| files::check_directory("pipe_directory", pipe, Holds::Sockets))
            .map_err(|why| Refusal::denied(format!("group `{}`: {why}", launch.name.home())))
    })
}
