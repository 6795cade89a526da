//! The TOML shape with its defaults, its check, and the policy made from it.

mod baselines;
mod changes;
mod check;
mod configuration;
mod daemons;
mod discover;
mod effective;
mod external;
mod found;
mod guess;
mod keys;
mod launch_number;
mod load;
mod machine;
mod problem;
mod reader;
mod resolve;
mod shareable;
mod starter;
mod suggest;
pub(crate) mod units;
mod values;
mod warnings;

pub use baselines::{read_baselines, write_baselines};
pub use changes::Changes;
pub use configuration::{
    Configuration, DEFAULT_LISTEN, EngineConfiguration, GpuChoice, GpuNaming, GroupConfiguration, Hooks, MetricsUrl,
    MpsConfiguration, RunBy, Web,
};
pub use daemons::{FoundDaemon, group_of, named};
pub use discover::{DirectoryPattern, Discover, EACH_PART, FoundEngineSettings};
pub use found::{launch_of_found, policy_of_found};
pub use guess::guess_kind;
pub use keys::{DEFAULT_NVML_LIBRARY, LOGS_OF_OTHERS, MPS_CONTROL, known_keys, parse};
pub use load::{Examined, examine, load, load_for_study};
pub use problem::{Place, Problem, Problems, Weight};
pub use resolve::Resolved;
pub use starter::{RunningEngine, starter};
pub use suggest::nearest;
pub use values::listen_address;
