//! Which phase a domain is in, and what belongs to that phase alone. Plain data: what moves a domain from one phase to
//! another stands in `restart`, `settling` and `stopping`.

pub(crate) mod restart;
pub(crate) mod settling;

use crate::decide::domain::teardown::Teardown;

pub(crate) use crate::decide::domain::phase::restart::Restart;
pub(crate) use crate::decide::domain::phase::settling::Settling;

/// What a domain is about.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Nothing acts before every source has reported once.
    Waiting,
    /// All of it is being (re)started.
    Restart(Box<Restart>),
    /// The same, while a step of the restart is taken: the restart is in the hands of who takes it.
    InRestart,
    /// Engines run; each goes its own way until something hits them all.
    Running(Option<Settling>),
    /// It is being stopped in order.
    Stopping(Teardown),
    /// It was stopped in order.
    Stopped,
}

/// What becomes of a group once it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterStop {
    /// The group stays stopped.
    Stays,
    /// The group starts again: an operator changed their mind meanwhile.
    Starts,
    /// The configuration has it no more: it is forgotten.
    IsForgotten,
}
