//! Why the watchdog does not start: the exit status and a sentence that names the thing and the cure.

use std::fmt;
use std::io;

use crate::cli::ExitStatus;

/// A reason to exit before the first engine starts.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: ExitStatus,
    pub why: String,
}

impl Refusal {
    /// Something that must be there is not: 69.
    pub(super) fn unavailable(why: impl fmt::Display) -> Self {
        Refusal { status: ExitStatus::Unavailable, why: why.to_string() }
    }

    /// The command line asks for what can't be: 64.
    pub(super) fn usage(why: impl fmt::Display) -> Self {
        Refusal { status: ExitStatus::Usage, why: why.to_string() }
    }

    /// A file asks for what can't be: 78.
    pub(super) fn configuration(why: impl fmt::Display) -> Self {
        Refusal { status: ExitStatus::Configuration, why: why.to_string() }
    }

    /// A permission is missing: 77.
    pub(super) fn denied(why: impl fmt::Display) -> Self {
        Refusal { status: ExitStatus::Permission, why: why.to_string() }
    }

    /// The system refused what `why` says: 77 where permission is missing, else 69.
    pub(super) fn io_of(why: impl fmt::Display, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Refusal::denied(why);
        }
        Refusal::unavailable(why)
    }

    /// The system refused `doing`: 77 where permission is missing, else 69.
    pub(super) fn io(doing: &str, error: &io::Error) -> Self {
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let cure = if denied { "; run as root, or give this user the right" } else { "" };
        let status = if denied { ExitStatus::Permission } else { ExitStatus::Unavailable };
        Refusal { status, why: format!("cannot {doing}: {error}{cure}") }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
