//! The command line: its arguments, what is asked of a running watchdog, and what a terminal shows. It decides nothing.

mod arguments;
mod attached;
mod bundle;
mod check;
mod choice;
mod client;
mod client_arguments;
#[cfg(feature = "demo")]
mod demo_arguments;
#[cfg(feature = "demo")]
mod demo_faults;
#[cfg(feature = "demo")]
mod demo_text;
mod exit;
mod figures;
mod goals;
mod incident_arguments;
mod incident_text;
mod incidents;
mod init;
mod install_gate;
mod known_secrets;
mod manual;
mod names;
#[cfg(not(feature = "demo"))]
mod no_demo_arguments;
mod order;
mod sharing_text;
mod status_text;
mod study_arguments;
mod terminal;
mod watch;

pub use arguments::{Arguments, CheckOptions, Command, LogFormat, LogOptions, RunOptions};
pub use check::{check, read};
pub use choice::{Numbered, numbered};
pub use client::{client, socket_of_environment};
pub use client_arguments::{ClientCommand, OrderOptions, StatusOptions};
#[cfg(feature = "demo")]
pub use demo_arguments::{DemoMode, DemoOptions, DriverLike, EnginesLike, GpuKind, Injection};
#[cfg(feature = "demo")]
pub use demo_faults::{KNOWN_FAULTS, KnownFault, Victim};
#[cfg(feature = "demo")]
pub use demo_text::{DemoPlaces, begins, ended};
pub use exit::ExitStatus;
pub use incident_arguments::IncidentOptions;
pub use incident_text::{incident_text, incidents_text};
pub use init::{InitOptions, init};
pub use install_gate::install_gate;
pub use manual::{completions, manual, manuals};
#[cfg(not(feature = "demo"))]
pub use no_demo_arguments::DemoOptions;
pub use order::Ordering;
pub use status_text::status_text;
pub use study_arguments::{CompareOptions, KeepBaselines, NamedStudy, StudyCommand, StudyOptions};
pub use terminal::{Ended, Terminal, complain, say};
