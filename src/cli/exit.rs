//! The exit codes, in the words of sysexits.h. Decides nothing.

use std::process::ExitCode;

use crate::config::Problems;

/// The ways in which mpswarden ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExitStatus {
    /// Done, or stopped in order.
    #[default]
    Success,
    /// A wrong command line.
    Usage,
    /// No NVML, GPU or MPS binaries, or an occupied pipe directory.
    Unavailable,
    /// A fault of mpswarden itself.
    Software,
    /// Others have to restart all that they run here, and it was asked to end then.
    OthersTurn,
    /// Not allowed.
    Permission,
    /// A wrong configuration.
    Configuration,
}

impl ExitStatus {
    /// What a configuration with these problems ends with: 78, or 69 where only this machine lacks something.
    pub fn of(problems: &Problems) -> ExitStatus {
        match problems.are_of_this_machine() {
            true => ExitStatus::Unavailable,
            false => ExitStatus::Configuration,
        }
    }

    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            ExitStatus::Success => 0,
            ExitStatus::Usage => 64,
            ExitStatus::Unavailable => 69,
            ExitStatus::Software => 70,
            ExitStatus::Permission => 77,
            ExitStatus::Configuration => 78,
            ExitStatus::OthersTurn => 88,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(status.code())
    }
}
