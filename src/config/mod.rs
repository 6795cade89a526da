//! The TOML shape with its defaults, its check, the policy made from it, and the command line.

pub mod arguments;
mod baselines;
mod changes;
mod check;
mod client_arguments;
mod configuration;
mod effective;
mod exit;
mod guess;
mod incident_arguments;
mod keys;
mod load;
mod problem;
mod reader;
mod resolve;
mod shareable;
mod study_arguments;
mod suggest;
mod units;
mod values;
mod warnings;

pub use arguments::{
    Arguments, Command, DemoOptions, DriverLike, EnginesLike, GpuKind, INJECTIONS, Injection, LogFormat, LogOptions,
    RunOptions,
};
pub use baselines::{read_baselines, write_baselines};
pub use changes::Changes;
pub use client_arguments::{ClientCommand, OrderOptions};
pub use configuration::{
    Configuration, EngineConfiguration, GpuChoice, GpuNaming, GroupConfiguration, Hooks, MetricsUrl, MpsConfiguration,
    Web,
};
pub use exit::ExitStatus;
pub use guess::guess_kind;
pub use incident_arguments::IncidentOptions;
pub use keys::{known_keys, parse};
pub use load::{load, load_for_study};
pub use problem::{Problem, Problems};
pub use resolve::Resolved;
pub use study_arguments::{KeepBaselines, StudyOptions};
pub use suggest::nearest;
