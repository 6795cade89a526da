//! Whose a process is, and what may be done to it. Each control daemon and each engine has its own: it is no mode of
//! the whole program.

use serde::{Deserialize, Serialize};

use super::words::words;

words!(
    /// Who starts and ends a control daemon or an engine, as the outside knows it.
    ManagedBy {
        /// mpswarden does.
        Mpswarden = "mpswarden",
        /// Others do, and mpswarden looks after it.
        Others = "others",
    }
);

/// Whose a control daemon or an engine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Custody {
    /// The watchdog started it: it ends it and starts it again.
    #[default]
    Own,
    /// An earlier run of the watchdog started it: the same may be done to it, and its exit status may stay unknown.
    Adopted,
    /// Others started it.
    Others(Powers),
}

/// What may be done to a process that others started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Powers {
    /// Nothing: the watchdog says what is needed of whom.
    Look,
    /// It may be signalled; its supervisor starts it again by itself.
    Signal,
    /// Those who run it are asked to end it and to start it again: its supervisor, or commands of theirs.
    Supervisor,
}

impl Custody {
    /// Who starts and ends it, as the outside knows it.
    pub fn managed_by(self) -> ManagedBy {
        if self.is_others() { ManagedBy::Others } else { ManagedBy::Mpswarden }
    }

    /// Whether others started it, and may start it again.
    pub fn is_others(self) -> bool {
        matches!(self, Custody::Others(_))
    }

    /// Whether the watchdog may bring about its end, by itself or by its supervisor.
    pub fn may_end(self) -> bool {
        match self {
            Custody::Own | Custody::Adopted | Custody::Others(Powers::Signal | Powers::Supervisor) => true,
            Custody::Others(Powers::Look) => false,
        }
    }

    /// Whether the watchdog may bring about its start, by itself or by its supervisor.
    pub fn may_start(self) -> bool {
        match self {
            Custody::Own | Custody::Adopted | Custody::Others(Powers::Supervisor) => true,
            Custody::Others(Powers::Look | Powers::Signal) => false,
        }
    }
}
