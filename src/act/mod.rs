//! Verbs: carry out one action and answer with exactly one outcome. One file a verb.

mod control_daemon;
mod control_of_others;
mod engine;
mod environment;
mod executor;
mod external;
mod find_control;
mod find_engine;
mod gone;
mod hooks;
mod kill;
mod launches;
mod save;
mod server;
mod shared;
mod stop;
mod terminate;

pub use executor::Executor;
pub use hooks::{Call, Hooks};
pub use launches::Launches;
pub use save::saved_memory;
pub use shared::{OwnerMark, PrepareError, prepare};

#[cfg(test)]
mod external_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
