//! Wiring: builds everything, spawns everything, runs the core loop, drains. It decides nothing.

mod audience;
mod build;
mod control;
mod core_loop;
mod daemons;
#[cfg(feature = "demo")]
mod demo;
mod descriptors;
mod discovery;
mod doors;
mod followers;
mod gates;
mod historian;
mod hooks;
mod incident_keeper;
mod look_io;
mod news;
#[cfg(not(feature = "demo"))]
mod no_demo;
mod others_turn;
mod outputs;
mod prepare;
mod probes;
mod refusal;
mod reload;
mod run;
mod setup;
mod signals;
mod study;
mod study_compare;
#[cfg(feature = "demo")]
mod study_demo;
mod study_order;
mod trust;

#[cfg(feature = "demo")]
pub use demo::demo;
#[cfg(not(feature = "demo"))]
pub use no_demo::{demo, study_demo};
pub use run::run;
pub use study::study;
pub use study_compare::compare_studies;
#[cfg(feature = "demo")]
pub use study_demo::study_demo;
